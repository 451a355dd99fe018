// A sidecar as the control plane sees it: its own TLS connection with a workload certificate, one delta ADS stream on
// all types, an ACK for each response. And a workload that registers. Both over grpc-js, as the real ones.

import { create, fromBinary } from '@bufbuild/protobuf';
import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { AggregatedDiscoveryService } from '../proto/gen/envoy/service/discovery/v3/ads_pb.js';
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
} from '../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import * as mesh from '../proto/gen/weft/mesh/v1/resources_pb.js';
import {
  type RegisterRequest,
  RegisterRequestSchema,
  type RegisterResponse,
  WorkloadService,
} from '../proto/gen/weft/mesh/v1/workload_pb.js';
import { grpcDefinition } from '../proto/kit/grpc-definition.ts';
import type { Account } from './certificates.ts';

const TYPE_URLS = [
  mesh.ServiceHostsSchema,
  mesh.ServiceSchema,
  mesh.EndpointSchema,
  mesh.RouteSchema,
  mesh.AuthorizationSchema,
  mesh.DescriptorSetSchema,
  mesh.ProviderSchema,
  mesh.ModelSchema,
  mesh.TelemetrySchema,
  mesh.TrustBundleSchema,
].map((schema) => `type.googleapis.com/${schema.typeName}`);
const ENDPOINT_URL = `type.googleapis.com/${mesh.EndpointSchema.typeName}`;

/** The label whose value tells one change from the next. */
const LABEL = 'change';

const delta = grpcDefinition(AggregatedDiscoveryService)['deltaAggregatedResources'];
const register = grpcDefinition(WorkloadService)['register'];

/** One connected sidecar. */
export class SimulatedSidecar {
  /** Whether changes of `orders` are its business. */
  readonly concerned: boolean;
  /** Resolves when every type has been answered once and acknowledged. */
  readonly synced: Promise<void>;
  /** Responses so far, and the bytes of their messages. */
  messages = 0;
  bytes = 0;
  readonly #client: Client;
  readonly #call: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
  readonly #waiting = new Map<string, (atMs: number) => void>();

  constructor(port: number, account: Account, concerned: boolean) {
    this.concerned = concerned;
    this.#client = connect(port, account);
    if (delta === undefined) throw new Error('the discovery service lost its delta method');
    const deserialize = (bytes: Buffer): DeltaDiscoveryResponse => {
      this.messages++;
      this.bytes += bytes.length;
      return delta.responseDeserialize(bytes) as DeltaDiscoveryResponse;
    };
    this.#call = this.#client.makeBidiStreamRequest(delta.path, delta.requestSerialize, deserialize);
    const unanswered = new Set(TYPE_URLS);
    this.synced = new Promise((resolve, reject) => {
      this.#call.on('error', reject);
      this.#call.on('data', (response: DeltaDiscoveryResponse) => {
        this.#take(response);
        unanswered.delete(response.typeUrl);
        if (unanswered.size === 0) resolve();
      });
    });
    // An error after the start shows as a change that is never acknowledged.
    this.synced.catch(() => undefined);
    for (const typeUrl of TYPE_URLS) this.#say({ typeUrl, resourceNamesSubscribe: ['*'] });
  }

  /** Resolves with the time (`performance.now()`) at which the endpoint labelled `version` was acknowledged. */
  acknowledges(version: string): Promise<number> {
    return new Promise((resolve) => this.#waiting.set(version, resolve));
  }

  close(): void {
    this.#call.on('error', () => undefined);
    this.#call.cancel();
    this.#client.close();
  }

  #take(response: DeltaDiscoveryResponse): void {
    this.#say({ typeUrl: response.typeUrl, responseNonce: response.nonce });
    if (response.typeUrl !== ENDPOINT_URL) return;
    for (const { resource } of response.resources) {
      if (resource === undefined) continue;
      const version = fromBinary(mesh.EndpointSchema, resource.value).labels[LABEL] ?? '';
      this.#waiting.get(version)?.(performance.now());
      this.#waiting.delete(version);
    }
  }

  #say(request: { typeUrl: string; resourceNamesSubscribe?: string[]; responseNonce?: string }): void {
    this.#call.write(create(DeltaDiscoveryRequestSchema, request));
  }
}

/** One instance of `orders`, registered by its stream. */
export class SimulatedWorkload {
  readonly #client: Client;
  readonly #call: ClientDuplexStream<RegisterRequest, RegisterResponse>;

  constructor(port: number, account: Account) {
    this.#client = connect(port, account);
    if (register === undefined) throw new Error('the workload service lost its method');
    const { path, requestSerialize, responseDeserialize } = register;
    this.#call = this.#client.makeBidiStreamRequest(
      path,
      requestSerialize,
      (bytes) => responseDeserialize(bytes) as RegisterResponse,
    );
    this.#call.on('error', (error) => console.error(`bench: the registration failed: ${error.message}`));
    this.#call.resume();
  }

  /** Registers once more, with another label. */
  register(version: string): void {
    const address = { workloadId: 'orders-1', address: '127.0.0.1', inboundPort: 15006, apps: [{}] };
    this.#call.write(create(RegisterRequestSchema, { ...address, labels: { [LABEL]: version } }));
  }

  close(): void {
    this.#call.removeAllListeners('error');
    this.#call.on('error', () => undefined);
    this.#call.cancel();
    this.#client.close();
  }
}

/** Own connection: grpc-js would share one between clients of the same account. */
function connect(port: number, { roots, keyPem, chainPem }: Account): Client {
  const tls = credentials.createSsl(Buffer.from(roots), Buffer.from(keyPem), Buffer.from(chainPem));
  return new Client(`127.0.0.1:${port}`, tls, {
    'grpc.use_local_subchannel_pool': 1,
    // Node takes no address in SNI.
    'grpc.ssl_target_name_override': 'localhost',
  });
}
