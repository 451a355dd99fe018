// A connection whose protocol the mesh does not read: one CONNECT towards an endpoint of the Service, bytes both ways.

import type { ListenerConfig } from '../base/messages.ts';
import type { Destination } from '../config/snapshot.ts';
import { hostOf, NO_LABELS, opaqueRule } from '../proxy/decide.ts';
import type { Origin } from '../proxy/origin.ts';
import { exchangeTo, ProxiedRequest, RequestServer } from '../proxy/serve.ts';
import { ProxyError } from '../wire/error.ts';
import type { HeaderList } from '../wire/headers.ts';
import type { ByteConnection } from '../wire/socket.ts';
import { Head, type HttpStream, type StreamEvents } from '../wire/stream.ts';
import type { WorkerContext } from './context.ts';

const SILENT: StreamEvents = { onHead() {}, onData() {}, onEnd() {}, onDrain() {}, onReset() {} };

/** The caller's side: has no head to send, so a refusal can only be a close. */
class OpaqueCaller implements HttpStream {
  readonly isDirect = true;
  events: StreamEvents = SILENT;
  private readonly wire: ByteConnection;
  private readonly farewell: Uint8Array | null;
  private dead = false;

  /** @param farewell what a refusal says before the connection is closed, if anything. */
  constructor(wire: ByteConnection, onClose: () => void, farewell: Uint8Array | null) {
    this.wire = wire;
    this.farewell = farewell;
    wire.events = {
      onBytes: (chunk) => this.events.onData(chunk, false),
      onDrain: () => this.events.onDrain(),
      onEnd: () => this.events.onEnd(null),
      onClose: (error) => {
        onClose();
        if (this.dead) return;
        this.dead = true;
        this.events.onReset(new ProxyError('cancelled', 'downstream', 'the client closed the connection', 'no', error));
      },
    };
  }

  writeHead(head: Head, _end: boolean): void {
    if (head.status >= 300) this.drop();
  }

  writeData(chunk: Uint8Array, end: boolean): boolean {
    const room = chunk.length === 0 || this.wire.pass(chunk);
    if (end) this.wire.end();
    return room;
  }

  writeEnd(_trailers: HeaderList | null): void {
    this.wire.end();
  }

  reset(_error: ProxyError): void {
    this.drop();
  }

  pause(): void {
    this.wire.pause();
  }

  resume(): void {
    this.wire.resume();
  }

  private drop(): void {
    this.dead = true;
    if (this.farewell === null) return this.wire.destroy();
    this.wire.write(this.farewell);
    this.wire.destroySoon();
  }
}

/** Relays a connection of the own application to an opaque port. */
export function relayOpaque(
  context: WorkerContext,
  origin: Origin,
  wire: ByteConnection,
  destination: Destination,
): void {
  const caller = trackedCaller(context, wire, origin.service === '' ? 'outbound' : 'local');
  const decision = { rule: opaqueRule(destination), destination, labels: NO_LABELS };
  const exchange = exchangeTo(context, origin, caller, () => decision);
  caller.events = exchange;
  exchange.onHead(connectTo(destination.service, destination.port), false);
}

/** Relays a connection that came in to the application, if its Service's Authorization lets an opaque one in. */
export function admitOpaque(context: WorkerContext, origin: Origin, wire: ByteConnection): void {
  const caller = trackedCaller(context, wire, 'inbound');
  const request = new ProxiedRequest(caller, new RequestServer(context, origin));
  caller.events = request;
  request.onHead(connectTo(origin.service, origin.port), false);
}

/** Closes a connection that can be sent nowhere, told of as any other. @param name that it asked for; empty: not known. */
export function refuseOpaque(
  context: WorkerContext,
  origin: Origin,
  wire: ByteConnection,
  name: string,
  error: ProxyError,
  farewell: Uint8Array,
): void {
  const caller = trackedCaller(context, wire, origin.service === '' ? 'outbound' : 'local', farewell);
  const exchange = exchangeTo(context, origin, caller, () => error);
  caller.events = exchange;
  exchange.onHead(Head.request('CONNECT', '', name, '', []), false);
}

function trackedCaller(
  context: WorkerContext,
  wire: ByteConnection,
  listener: ListenerConfig['kind'],
  farewell: Uint8Array | null = null,
): OpaqueCaller {
  const untrack = context.track({
    listener,
    get heldBytes() {
      return wire.bufferedBytes;
    },
    isIdle: false,
    // Who reads or says nothing for its idle time is ended by that.
    look() {},
    // Nothing in an opaque stream says "go away": it lives until the deadline.
    drain() {},
    destroy: () => wire.destroy(),
  });
  return new OpaqueCaller(wire, untrack, farewell);
}

function connectTo(service: string, port: number): Head {
  return Head.request('CONNECT', '', `${hostOf(service)}:${port}`, '', []);
}
