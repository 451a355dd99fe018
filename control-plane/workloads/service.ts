// weft.mesh.v1.WorkloadService over grpc-js: a stream of registrations, each replacing the last, from one attested peer.

import { create } from '@bufbuild/protobuf';
import { type ServerDuplexStream, status, type UntypedServiceImplementation } from '@grpc/grpc-js';
import {
  type RegisterRequest,
  type RegisterResponse,
  RegisterResponseSchema,
  WorkloadService,
} from '../../proto/gen/weft/mesh/v1/workload_pb.js';
import { grpcDefinition } from '../../proto/kit/grpc-definition.ts';
import type { Attested } from '../identity/attest.ts';
import { checkRegistration, type Registration } from './registration.ts';
import type { Registry } from './registry.ts';

type RegisterCall = ServerDuplexStream<RegisterRequest, RegisterResponse>;

/** The definition for `server.addService`. */
export const WORKLOAD_DEFINITION = grpcDefinition(WorkloadService);

/** Registrations of one stream that may wait for the disk; a sidecar changes its own a few times in its life. */
const WAITING_MAX = 16;

/** Hears what happens, for status, metrics and logs. */
export interface WorkloadObserver {
  /** With each message that was taken; `peer` is the caller's address. */
  onRegister(registration: Registration, peer: string, endpoints: readonly string[]): void;
  onRefuse(spiffeId: string, error: string): void;
  /** A stream that was taken ended. */
  onClose(peer: string): void;
  onFailure(error: Error): void;
}

/** The service's implementation, and the end of all its streams. */
export interface WorkloadServer {
  readonly implementation: UntypedServiceImplementation;
  /** Withdraws the endpoints of those for whom `refusal` has a reason, and closes their streams. */
  endRefused(refusal: (peer: { readonly serial: string; readonly spiffeId: string }) => string | null): Promise<void>;
  /** Closes every stream with UNAVAILABLE; registrations stay. */
  endAll(reason: string): void;
}

/** Builds the service over `registry`. */
export function workloadService(
  registry: Registry,
  attest: (call: RegisterCall) => Attested,
  observer: WorkloadObserver,
): WorkloadServer {
  /** The stream of each registration: a newer one of the same workload ends the older. */
  const streams = new Map<string, RegisterCall>();
  const open = new Map<RegisterCall, Attested & { readonly ok: true }>();

  function serve(call: RegisterCall): void {
    const peer = attest(call);
    if (!peer.ok) {
      refuse(call, status.UNAUTHENTICATED, peer.error);
      return;
    }
    open.set(call, peer);
    let key = '';
    let waiting = 0;
    let last: Promise<void> = Promise.resolve();
    const close = (): void => {
      if (!open.delete(call)) return;
      if (streams.get(key) === call) streams.delete(key);
      registry.release(call);
      observer.onClose(call.getPeer());
    };
    const fail = (code: status, details: string): void => {
      refuse(call, code, details);
      close();
    };
    const take = async (request: RegisterRequest): Promise<void> => {
      if (!open.has(call)) return;
      const registration = plain(request, peer.spiffeId);
      const nextKey = `${peer.spiffeId} ${registration.workloadId}`;
      if (key !== '' && key !== nextKey) {
        fail(status.INVALID_ARGUMENT, 'workload_id changed within a stream; open a new one');
        return;
      }
      if (request.draining) {
        await registry.drain(call);
        if (open.has(call)) call.write(create(RegisterResponseSchema));
        return;
      }
      const wrong = checkRegistration(registration);
      if (wrong !== null) {
        observer.onRefuse(peer.spiffeId, wrong);
        fail(status.INVALID_ARGUMENT, wrong);
        return;
      }
      key = nextKey;
      const older = streams.get(key);
      const resolved = await registry.register(registration, call);
      if (!resolved.ok) {
        observer.onRefuse(peer.spiffeId, resolved.error);
        fail(status[resolved.code], resolved.error);
        return;
      }
      if (!open.has(call)) {
        // It ended while the disk wrote: the grace time begins now.
        registry.release(call);
        return;
      }
      streams.set(key, call);
      if (older !== undefined && older !== call) {
        refuse(older, status.ABORTED, 'another stream registered the same workload; the newest one counts');
        if (open.delete(older)) observer.onClose(older.getPeer());
      }
      const endpoints = resolved.endpoints.map((endpoint) => endpoint.resource.name);
      observer.onRegister(registration, call.getPeer(), endpoints);
      call.write(create(RegisterResponseSchema, { endpoints }));
    };
    call.on('data', (request: RegisterRequest) => {
      if (waiting >= WAITING_MAX) {
        fail(status.RESOURCE_EXHAUSTED, `${WAITING_MAX} registrations wait; send one when it changed`);
        return;
      }
      waiting++;
      last = last
        .then(() => take(request))
        .catch((error: Error) => {
          observer.onFailure(error);
          fail(status.INTERNAL, 'the registration could not be stored; the log of the control plane says why');
        })
        .finally(() => {
          waiting--;
        });
    });
    call.on('end', () => {
      // What was sent before the end counts, and its answers go out first.
      void last.then(() => {
        if (open.has(call)) call.end();
        close();
      });
    });
    call.on('cancelled', close);
    call.on('error', close);
  }

  return {
    implementation: { register: serve },
    async endRefused(refusal) {
      const refused = [...open].flatMap(([call, peer]) => {
        const why = refusal(peer);
        return why === null ? [] : [{ call, why }];
      });
      // First out of the mesh's sight: a stream that just ends leaves its endpoint a grace time.
      await Promise.all(refused.map(({ call }) => registry.drain(call)));
      for (const { call, why } of refused) refuse(call, status.UNAUTHENTICATED, why);
    },
    endAll(reason) {
      for (const call of [...open.keys()]) refuse(call, status.UNAVAILABLE, reason);
    },
  };
}

function plain(request: RegisterRequest, spiffeId: string): Registration {
  const { workloadId, address, inboundPort } = request;
  const apps = request.apps.map(({ service, servicePort }) => ({ service, servicePort }));
  return { spiffeId, workloadId, address, inboundPort, apps, labels: { ...request.labels } };
}

function refuse(call: RegisterCall, code: status, details: string): void {
  call.emit('error', { code, details });
}
