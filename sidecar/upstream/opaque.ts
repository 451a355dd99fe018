// An application that speaks neither HTTP/1 nor HTTP/2: its TCP connection under the face of a stream. A CONNECT is
// answered at once, since the connection exists; after that bytes pass both ways and each side may end first.

import { ProxyError } from '../wire/error.ts';
import type { HeaderList } from '../wire/headers.ts';
import { type ProxySource, proxyHeader } from '../wire/proxy-protocol.ts';
import { addressesOf, type WireSocket } from '../wire/socket.ts';
import { Head, type HttpStream, type StreamEvents } from '../wire/stream.ts';

/** Whom a PROXY header tells of, by the head that asks for the connection: nothing that a caller sent can get in here. */
const sources = new WeakMap<Head, ProxySource>();

/** Says whom the connection that `head` asks for is made for, should its endpoint want to know. */
export function tellSource(head: Head, source: ProxySource): void {
  sources.set(head, source);
}

/** The one stream of a TCP connection. */
export class OpaqueStream implements HttpStream {
  readonly isDirect = true;
  events: StreamEvents;
  private readonly wire: WireSocket;
  private readonly sendProxy: 0 | 1 | 2;
  private dead = false;

  /** @param sendProxy version of the PROXY header to begin with; 0: none. */
  constructor(wire: WireSocket, events: StreamEvents, sendProxy: 0 | 1 | 2) {
    this.sendProxy = sendProxy;
    this.wire = wire;
    this.events = events;
    wire.events = {
      onBytes: (chunk) => this.events.onData(chunk, false),
      onDrain: () => this.events.onDrain(),
      onEnd: () => this.events.onEnd(null),
      onClose: (error) => this.onClose(error),
    };
  }

  writeHead(head: Head, end: boolean): void {
    if (this.sendProxy !== 0) {
      // Of the own application's calls its address is all there is to tell.
      const own = { addresses: addressesOf(this.wire.socket, 'connected'), spiffeId: '' };
      this.wire.write(proxyHeader(this.sendProxy, sources.get(head) ?? own));
    }
    // The caller ended its side before there was this connection.
    if (end) this.wire.end();
    queueMicrotask(() => {
      if (!this.dead) this.events.onHead(Head.response(200, []), false);
    });
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
    this.dead = true;
    this.wire.destroy();
  }

  pause(): void {
    this.wire.pause();
  }

  resume(): void {
    this.wire.resume();
  }

  private onClose(error: Error | null): void {
    if (this.dead) return;
    this.dead = true;
    const detail = error === null ? 'the application closed the connection' : error.message;
    this.events.onReset(new ProxyError('connectionClosed', 'upstream', detail, 'no', error));
  }
}
