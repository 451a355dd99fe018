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

/** Answers about the registration itself (workload.proto). */
const REFUSALS: ReadonlySet<status> = new Set([status.PERMISSION_DENIED, status.INVALID_ARGUMENT]);

type Call = ClientDuplexStream<RegisterRequest, RegisterResponse>;

/** Why a registration ended. */
export interface RegistrationEnd {
  readonly reason: string;
  /** The control plane looked at it and will not have it, as things stand; otherwise the way to it was cut. */
  readonly refused: boolean;
}

/** A registration under way. */
export interface Registering {
  readonly ended: Promise<RegistrationEnd>;
  /** Withdraws the endpoint; resolves when the control plane has taken it, or the stream has ended. */
  drain(): Promise<void>;
}

/** Registers over a fresh `call`. @param onTaken hears the endpoints it became. */
export function register(call: Call, registration: Registration, onTaken: (endpoints: string[]) => void): Registering {
  let onDrained: (() => void) | null = null;
  const ended = new Promise<RegistrationEnd>((resolve) => {
    call.on('data', (response: RegisterResponse) => {
      if (onDrained !== null) onDrained();
      else onTaken(response.endpoints);
    });
    call.on('error', (error: ServiceError) => {
      const reason = `${error.details || error.message} (${status[error.code]})`;
      resolve({ reason, refused: REFUSALS.has(error.code) });
    });
    call.on('end', () => resolve({ reason: 'the control plane ended the stream', refused: false }));
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
