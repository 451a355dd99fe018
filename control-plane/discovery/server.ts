// The xDS face towards sidecars: delta ADS over grpc-js. It moves messages between a call and its DiscoveryStream,
// and ends what it cannot keep up with: a sidecar that does not read is closed, never buffered without bound.

import { type ServerDuplexStream, status, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { AggregatedDiscoveryService } from '../../proto/gen/envoy/service/discovery/v3/ads_pb.js';
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import { grpcDefinition } from '../../proto/kit/grpc-definition.ts';
import type { Index } from '../index/index.ts';
import { DiscoveryStream, type RejectedResource, type StreamObserver } from './stream.ts';

type DeltaCall = ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

/** The attested SPIFFE id of the caller and its certificate's serial number (empty without one), or why there is none. Never looks at what the caller says of itself. */
export type Attest = (call: DeltaCall) => { spiffeId: string; serial: string } | { error: string };

/** Hears what happens on every stream, for status, logs and metrics. */
export interface DiscoveryObserver {
  /** `peer` is the caller's address, which tells streams of one identity apart; `end` closes it with UNAVAILABLE and a reason. */
  onOpen(stream: DiscoveryStream, peer: string, serial: string, end: (reason: string) => void): void;
  onSend(stream: DiscoveryStream, typeUrl: string, bytes: number): void;
  onAck(stream: DiscoveryStream, typeUrl: string, waitMs: number): void;
  onReject(
    stream: DiscoveryStream,
    typeUrl: string,
    error: { code: number; message: string },
    rejected: readonly RejectedResource[],
  ): void;
  onClose(stream: DiscoveryStream): void;
}

/**
 * Responses that may wait for a sidecar to read. One response is outstanding per type, so a healthy one holds
 * fewer; 64 leaves room for several updates of every type.
 */
export const QUEUED_RESPONSES_MAX = 64;

export const DISCOVERY_DEFINITION = grpcDefinition(AggregatedDiscoveryService);

/** The implementation to give to `server.addService(DISCOVERY_DEFINITION, …)`. */
export function discoveryService(
  index: Index,
  attest: Attest,
  observer: DiscoveryObserver,
): UntypedServiceImplementation {
  return {
    streamAggregatedResources: (call: DeltaCall) =>
      refuse(
        call,
        status.UNIMPLEMENTED,
        'state-of-the-world ADS is not offered to Weft sidecars; use DeltaAggregatedResources',
      ),
    deltaAggregatedResources: (call: DeltaCall) => serve(call, index, attest, observer),
  };
}

function serve(call: DeltaCall, index: Index, attest: Attest, observer: DiscoveryObserver): void {
  const identity = attest(call);
  if ('error' in identity) {
    refuse(call, status.UNAUTHENTICATED, identity.error);
    return;
  }
  const send = (response: DeltaDiscoveryResponse): void => {
    if (call.writableLength >= QUEUED_RESPONSES_MAX) {
      refuse(call, status.RESOURCE_EXHAUSTED, `${QUEUED_RESPONSES_MAX} responses wait unread; connect again`);
      return;
    }
    call.write(response);
    let bytes = 0;
    for (const { resource } of response.resources) bytes += resource?.value.length ?? 0;
    observer.onSend(stream, response.typeUrl, bytes);
  };
  const heard: StreamObserver = {
    onAck: (typeUrl, waitMs) => observer.onAck(stream, typeUrl, waitMs),
    onReject: (typeUrl, error, rejected) => observer.onReject(stream, typeUrl, error, rejected),
  };
  const stream = new DiscoveryStream(index, identity.spiffeId, send, heard);
  let open = true;
  const close = (): void => {
    if (!open) return;
    open = false;
    stream.close();
    observer.onClose(stream);
  };
  observer.onOpen(stream, call.getPeer(), identity.serial, (reason) => {
    if (!open) return;
    refuse(call, status.UNAVAILABLE, reason);
    close();
  });
  call.on('data', (request: DeltaDiscoveryRequest) => {
    const wrong = stream.request(request);
    if (wrong === null) return;
    refuse(call, status.INVALID_ARGUMENT, wrong);
    close();
  });
  call.on('end', () => {
    call.end();
    close();
  });
  call.on('cancelled', close);
  call.on('error', close);
}

function refuse(call: DeltaCall, code: status, details: string): void {
  call.emit('error', { code, details });
}
