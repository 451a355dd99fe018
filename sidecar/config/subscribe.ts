// The delta ADS stream of one session: asks for everything of every type, hands changes on, and says to the control
// plane what was taken and what was refused. One resource that does not work never keeps the others back.

import { create } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { type ClientDuplexStream, makeGenericClientConstructor, type ServiceError, status } from '@grpc/grpc-js';
import { AggregatedDiscoveryService } from '../../proto/gen/envoy/service/discovery/v3/ads_pb.js';
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import { StatusSchema } from '../../proto/gen/google/rpc/status_pb.js';
import { RejectionSchema } from '../../proto/gen/weft/api/v1/api_pb.js';
import {
  AuthorizationSchema,
  DescriptorSetSchema,
  EndpointSchema,
  ModelSchema,
  ProviderSchema,
  RevocationSchema,
  RouteSchema,
  ServiceHostsSchema,
  ServiceSchema,
  TelemetrySchema,
  TrustBundleSchema,
} from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { grpcDefinition } from '../../proto/kit/grpc-definition.ts';
import type { ResourceBytes, ResourceError } from '../base/messages.ts';

/** Every type of weft.mesh.v1, what others point to first: the first answers come in this order. */
export const TYPE_URLS: readonly string[] = [
  TrustBundleSchema,
  RevocationSchema,
  DescriptorSetSchema,
  ServiceHostsSchema,
  ServiceSchema,
  EndpointSchema,
  AuthorizationSchema,
  RouteSchema,
  ProviderSchema,
  ModelSchema,
  TelemetrySchema,
].map((schema) => `type.googleapis.com/${schema.typeName}`);

/** The generated definition for a client that also registers (register.ts). */
export const DiscoveryClient = makeGenericClientConstructor(grpcDefinition(AggregatedDiscoveryService), 'discovery');

export interface SubscribeParts {
  /** Names and versions held of a type, so that a new stream sends differences only. */
  versions(typeUrl: string): Record<string, string>;
  /** Puts changes in force; resolves once every worker has, with what was refused. */
  apply(
    upserts: readonly ResourceBytes[],
    removed: readonly { typeUrl: string; name: string }[],
  ): Promise<readonly ResourceError[]>;
  /** Every type was answered, or was held already: this sidecar knows what it needs. */
  onSynced(): void;
}

type Call = ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

/** Runs until the stream ends; resolves with the reason. `call` is a fresh delta stream. */
export function subscribe(call: Call, parts: SubscribeParts): Promise<string> {
  return new Promise((resolve) => {
    const unanswered = new Set<string>();
    // Responses are applied one after the other, in the order in which the control plane sent them.
    let last: Promise<void> = Promise.resolve();
    let open = true;
    const say = (fields: Partial<DeltaDiscoveryRequest>): void => {
      if (open) call.write(create(DeltaDiscoveryRequestSchema, fields as DeltaDiscoveryRequest));
    };
    const end = (reason: string): void => {
      open = false;
      resolve(reason);
    };
    const take = async (response: DeltaDiscoveryResponse): Promise<void> => {
      const { typeUrl, nonce } = response;
      const { upserts, errors } = resourcesOf(response);
      const removed = response.removedResources.map((name) => ({ typeUrl, name }));
      const rejected = [...errors, ...(await parts.apply(upserts, removed))];
      say({ typeUrl, responseNonce: nonce, ...(rejected.length === 0 ? {} : { errorDetail: nack(rejected) }) });
      if (unanswered.delete(typeUrl) && unanswered.size === 0) parts.onSynced();
    };
    call.on('data', (response: DeltaDiscoveryResponse) => {
      last = last
        .then(() => take(response))
        .catch((error: Error) => {
          call.cancel();
          end(`a response could not be taken: ${error.message}`);
        });
    });
    call.on('error', (error: ServiceError) => end(`${error.details || error.message} (${status[error.code]})`));
    call.on('end', () => end('the control plane ended the stream'));
    for (const typeUrl of TYPE_URLS) {
      const initialResourceVersions = parts.versions(typeUrl);
      // What is held already is answered only when it changed.
      if (Object.keys(initialResourceVersions).length === 0) unanswered.add(typeUrl);
      say({ typeUrl, resourceNamesSubscribe: ['*'], initialResourceVersions });
    }
    if (unanswered.size === 0) parts.onSynced();
  });
}

function resourcesOf(response: DeltaDiscoveryResponse): { upserts: ResourceBytes[]; errors: ResourceError[] } {
  const { typeUrl } = response;
  const upserts: ResourceBytes[] = [];
  const errors: ResourceError[] = [];
  for (const { name, version, resource } of response.resources) {
    if (resource === undefined || resource.typeUrl !== typeUrl || name === '') {
      errors.push({ typeUrl, name, error: `holds ${resource?.typeUrl ?? 'nothing'} under this name, not ${typeUrl}` });
    } else upserts.push({ typeUrl, name, version, bytes: resource.value });
  }
  return { upserts, errors };
}

/** google.rpc.Status with one weft.api.v1.Rejection a resource. */
function nack(rejected: readonly ResourceError[]) {
  const details = rejected.map(({ typeUrl, name, error }) =>
    anyPack(RejectionSchema, create(RejectionSchema, { typeUrl, name, reason: error })),
  );
  const message = rejected.map(({ name, error }) => `${name}: ${error}`).join('; ');
  return create(StatusSchema, { code: status.INVALID_ARGUMENT, message, details });
}
