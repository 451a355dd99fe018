// Opaque bytes behind the stream contract: a raw connection is a CONNECT that has been answered. So TCP is relayed,
// authorized, balanced and counted by the same code as HTTP, and needs no second data path.

import { ProxyError } from './error.ts';
import type { HeaderList } from './headers.ts';
import type { SocketEvents, WireSocket } from './socket.ts';
import { Head, type HttpStream, type StreamAcceptor, type StreamEvents } from './stream.ts';

const NO_EVENTS: StreamEvents = { onHead() {}, onData() {}, onEnd() {}, onDrain() {}, onReset() {} };

/** One raw connection as one stream. Half-close passes both ways. */
class RawStream implements HttpStream, SocketEvents {
  events: StreamEvents = NO_EVENTS;
  /** Both ends were seen, or the stream was reset. */
  done = false;
  protected readonly socket: WireSocket;
  private readonly side: 'downstream' | 'upstream';
  private readonly onGone: () => void;
  private isSaturated = false;
  private readEnded = false;
  private writeEnded = false;

  constructor(socket: WireSocket, side: 'downstream' | 'upstream', onGone: () => void) {
    this.socket = socket;
    this.side = side;
    this.onGone = onGone;
    // Nothing is read before both sides agreed: servers that speak first (SMTP, MySQL) wait in the kernel.
    socket.pause();
    socket.events = this;
  }

  writeHead(_head: Head, _end: boolean): void {}

  writeData(chunk: Uint8Array, end: boolean): boolean {
    if (this.done || this.writeEnded) return true;
    const hasRoom = chunk.length === 0 || this.socket.write(chunk);
    if (!hasRoom) this.isSaturated = true;
    if (end) this.writeEnd(null);
    return hasRoom;
  }

  writeEnd(_trailers: HeaderList | null): void {
    if (this.writeEnded) return;
    this.writeEnded = true;
    this.socket.end();
    this.done ||= this.readEnded;
  }

  reset(error: ProxyError): void {
    if (this.done) return;
    this.done = true;
    this.socket.destroy(error);
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  onBytes(chunk: Uint8Array): void {
    if (!this.done) this.events.onData(chunk, false);
  }

  onDrain(): void {
    if (!this.isSaturated || this.done) return;
    this.isSaturated = false;
    this.events.onDrain();
  }

  onEnd(): void {
    if (this.done || this.readEnded) return;
    this.readEnded = true;
    this.done = this.writeEnded;
    this.events.onEnd(null);
  }

  onClose(error: Error | null): void {
    const wasDone = this.done;
    this.done = true;
    if (!wasDone) {
      const detail = error === null ? 'the TCP connection closed' : `the TCP connection failed: ${error.message}`;
      this.events.onReset(new ProxyError('connectionClosed', this.side, detail, 'no', error));
    }
    this.onGone();
  }
}

/** A connection to an opaque upstream; it carries one stream in its life. */
export class RawClientConnection extends RawStream {
  private opened = false;

  /** @param onGone the connection is gone, once, last. */
  constructor(socket: WireSocket, onGone: () => void) {
    super(socket, 'upstream', onGone);
  }

  /** Not taken yet, and not gone. */
  get usable(): boolean {
    return !this.opened && !this.socket.isClosed;
  }

  get activeStreams(): number {
    return this.opened && !this.done ? 1 : 0;
  }

  open(events: StreamEvents): HttpStream | null {
    if (!this.usable) return null;
    this.opened = true;
    this.events = events;
    return this;
  }

  /** The connection stands, so CONNECT is answered at once. */
  override writeHead(_head: Head, end: boolean): void {
    if (end) this.writeEnd(null);
    queueMicrotask(() => {
      if (this.done) return;
      this.events.onHead(Head.response(200, []), false);
      this.socket.resume();
    });
  }

  /** Closes it if nobody took it; a stream under way ends by itself. */
  close(): void {
    if (!this.opened) this.socket.destroy();
  }
}

/** A connection from an opaque client, served as one CONNECT. */
class RawServerStream extends RawStream {
  private agreed = false;

  override writeHead(head: Head, end: boolean): void {
    if (head.status < 200) return;
    this.agreed = true;
    // A refusal has no form that an opaque client would understand: the connection closes.
    if (head.status >= 300) {
      this.done = true;
      this.socket.destroy();
      return;
    }
    if (end) this.writeEnd(null);
    this.socket.resume();
  }

  /** Bytes follow only the answer to CONNECT (RFC 9113 §8.5). */
  override resume(): void {
    if (this.agreed) this.socket.resume();
  }
}

/**
 * Serves an accepted connection as one CONNECT to `authority` (`service:port`).
 * @param onGone the connection is gone, once, last.
 */
export function serveRaw(
  socket: WireSocket,
  accept: StreamAcceptor,
  authority: string,
  onGone: () => void,
): HttpStream {
  const stream = new RawServerStream(socket, 'downstream', onGone);
  stream.events = accept(stream);
  stream.events.onHead(new Head('CONNECT', '', authority, '', 0, []), false);
  return stream;
}
