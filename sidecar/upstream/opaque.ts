// An application that speaks neither HTTP/1 nor HTTP/2: its TCP connection under the face of a stream. A CONNECT is
// answered at once, since the connection exists; after that bytes pass both ways and each side may end first.

import { ProxyError } from '../wire/error.ts';
import type { HeaderList } from '../wire/headers.ts';
import type { ByteConnection } from '../wire/socket.ts';
import { Head, type HttpStream, type StreamEvents } from '../wire/stream.ts';

/** The one stream of a TCP connection. */
export class OpaqueStream implements HttpStream {
  events: StreamEvents;
  private readonly wire: ByteConnection;
  private dead = false;

  constructor(wire: ByteConnection, events: StreamEvents) {
    this.wire = wire;
    this.events = events;
    wire.events = {
      onBytes: (chunk) => this.events.onData(chunk, false),
      onDrain: () => this.events.onDrain(),
      onEnd: () => this.events.onEnd(null),
      onClose: (error) => this.onClose(error),
    };
  }

  writeHead(_head: Head, end: boolean): void {
    // The caller ended its side before there was this connection.
    if (end) this.wire.end();
    queueMicrotask(() => {
      if (!this.dead) this.events.onHead(Head.response(200, []), false);
    });
  }

  writeData(chunk: Uint8Array, end: boolean): boolean {
    const room = chunk.length === 0 || this.wire.write(chunk);
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
