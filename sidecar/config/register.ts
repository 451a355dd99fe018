// The registration stream: this workload is an endpoint of its Services for as long as it lives. It is a stream of its
// own, since a sidecar that may not register still needs its config.

import { create } from '@bufbuild/protobuf';
import { type ClientDuplexStream, makeGenericClientConstructor, type ServiceError, status } from '@grpc/grpc-js';
import {
  type RegisterRequest,
  RegisterRequestSchema,
  type RegisterResponse,
  WorkloadService,
} from '../../proto/gen/weft/mesh/v1/workload_pb.js';
import { grpcDefinition } from '../../proto/kit/grpc-definition.ts';

export const WorkloadClient = makeGenericClientConstructor(grpcDefinition(WorkloadService), 'workload');

/** What this workload says of itself. */
export interface Registration {
  readonly workloadId: string;
  readonly address: string;
  readonly inboundPort: number;
  readonly apps: readonly { readonly service: string; readonly servicePort: number }[];
  readonly labels: Readonly<Record<string, string>>;
}

type Call = ClientDuplexStream<RegisterRequest, RegisterResponse>;

/** A registration under way. */
export interface Registering {
  /** The reason for which the stream ended. */
  readonly ended: Promise<string>;
  /** Withdraws the endpoint; resolves when the control plane has taken it, or the stream has ended. */
  drain(): Promise<void>;
}

/** Registers over a fresh `call`. @param onTaken hears the endpoints it became. */
export function register(call: Call, registration: Registration, onTaken: (endpoints: string[]) => void): Registering {
  let onDrained: (() => void) | null = null;
  const ended = new Promise<string>((resolve) => {
    call.on('data', (response: RegisterResponse) => {
      if (onDrained !== null) onDrained();
      else onTaken(response.endpoints);
    });
    call.on('error', (error: ServiceError) => resolve(`${error.details || error.message} (${status[error.code]})`));
    call.on('end', () => resolve('the control plane ended the stream'));
  });
  const say = (draining: boolean): void => {
    call.write(
      create(RegisterRequestSchema, {
        ...registration,
        apps: registration.apps.map((app) => ({ ...app })),
        labels: { ...registration.labels },
        draining,
      }),
    );
  };
  say(false);
  return {
    ended,
    drain: async () => {
      const drained = new Promise<void>((resolve) => {
        onDrained = resolve;
      });
      say(true);
      await Promise.race([drained, ended]);
    },
  };
}
