// The client role: one upstream connection, one request at a time.

import { ProxyError } from '../error.ts';
import type { HeaderList } from '../headers.ts';
import type { SocketEvents, WireSocket } from '../socket.ts';
import type { Head, HttpStream, StreamEvents } from '../stream.ts';
import { ClientStream, type ClientStreamHost } from './client-stream.ts';
import type { ParserSink } from './parse.ts';
import { Http1Parser } from './parse.ts';
import type { Rejection } from './reject.ts';
import { rejectionError } from './reject.ts';

const CLOSED_BEFORE_SENT = new ProxyError(
  'connectionClosed',
  'upstream',
  'upstream connection closed before the request was sent',
  'yes',
);

/** What the pool hears: the connection is free for the next request, or gone (once, last). */
interface Http1ClientOptions {
  onClose(): void;
  onIdle(): void;
  /** The upstream's bytes were refused; the reason is a token for a metric. The stream hears of it, too. */
  onMalformed?(reason: string): void;
}

/** An upstream HTTP/1.1 connection. `open` only while `idle`. */
export class Http1ClientConnection implements SocketEvents, ParserSink, ClientStreamHost {
  private readonly socket: WireSocket;
  private readonly options: Http1ClientOptions;
  private readonly parser: Http1Parser;
  private stream: ClientStream | null = null;
  private served = 0;
  private isOver = false;

  constructor(socket: WireSocket, options: Http1ClientOptions) {
    this.socket = socket;
    this.options = options;
    this.parser = new Http1Parser('response', this, '');
    socket.events = this;
  }

  /** Whether a request may be sent now. */
  get idle(): boolean {
    return this.stream === null && !this.isOver && !this.socket.isClosed;
  }

  /** Starts a request. On a connection that just closed the stream is reset with retry `yes`. */
  open(events: StreamEvents): HttpStream {
    const isFree = this.idle;
    const stream = new ClientStream(this, this.socket, this.parser, events, this.served > 0);
    if (isFree) {
      this.stream = stream;
      this.parser.paused = false;
    } else {
      queueMicrotask(() => stream.fail(CLOSED_BEFORE_SENT));
    }
    return stream;
  }

  onBytes(chunk: Uint8Array): void {
    const stream = this.stream;
    // Bytes nobody asked for belong to no request: whatever they are, the next response must not be read after them.
    if (stream === null || !(stream.gotBytes || stream.hasLeft)) {
      this.socket.destroy();
      return;
    }
    stream.gotBytes = true;
    this.check(this.parser.execute(chunk));
  }

  onDrain(): void {
    this.stream?.drained();
  }

  onEnd(): void {
    const stream = this.stream;
    if (stream === null) {
      this.socket.destroy();
      return;
    }
    stream.finIsPending = true;
    this.takeFin(stream);
  }

  onClose(error: Error | null): void {
    this.isOver = true;
    const stream = this.stream;
    this.stream = null;
    if (stream !== null) stream.fail(stream.closedError(error));
    this.options.onClose();
  }

  onHead(head: Head, end: boolean): void {
    const stream = this.stream;
    if (stream === null) return;
    const isFinal = head.status >= 200 || head.status === 101;
    if (isFinal) {
      stream.isTunnel = this.parser.isRaw && (head.status === 101 || stream.method === 'CONNECT');
      // An upgrade that was not taken: the request had no body on the wire, so it is complete.
      if (stream.upgradeAsked && !stream.isTunnel) stream.requestDone = true;
    }
    stream.events.onHead(stream.translate(head), end);
    if (end) this.responseEnded(stream);
  }

  onData(chunk: Uint8Array, end: boolean): void {
    const stream = this.stream;
    if (stream === null) return;
    stream.events.onData(chunk, end);
    if (end) this.responseEnded(stream);
  }

  onMessageEnd(trailers: HeaderList | null): void {
    const stream = this.stream;
    if (stream === null) return;
    stream.events.onEnd(trailers);
    this.responseEnded(stream);
  }

  /** The stream wrote its end. */
  requestEnded(stream: ClientStream): void {
    if (this.stream === stream) this.settle(stream);
  }

  /** The head was refused before a byte of it was written. */
  unsent(stream: ClientStream): void {
    queueMicrotask(() => {
      if (this.stream !== stream) return;
      this.stream = null;
      this.socket.guard(() => {
        stream.fail(stream.closedError(null));
        if (this.idle) this.options.onIdle();
      });
    });
  }

  /** Goes on delivering, outside of the stream's own call. */
  resumeLater(stream: ClientStream): void {
    queueMicrotask(() => {
      if (this.stream !== stream || this.parser.paused) return;
      this.socket.guard(() => {
        this.check(this.parser.continue());
        this.takeFin(stream);
      });
    });
  }

  /** The stream was abandoned: nobody can tell where its bytes end. */
  drop(stream: ClientStream): void {
    if (this.stream !== stream) return;
    this.stream = null;
    this.isOver = true;
    this.socket.destroy();
  }

  private takeFin(stream: ClientStream): void {
    if (!stream.finIsPending || this.stream !== stream || this.parser.buffered > 0) return;
    stream.finIsPending = false;
    if (!this.parser.isRaw) {
      this.socket.destroy();
      return;
    }
    stream.events.onEnd(null);
    this.responseEnded(stream);
  }

  private responseEnded(stream: ClientStream): void {
    stream.responseDone = true;
    if (this.stream === stream) this.settle(stream);
  }

  private settle(stream: ClientStream): void {
    if (!stream.responseDone || (stream.isTunnel && !stream.requestDone)) return;
    this.stream = null;
    this.served++;
    // An early answer leaves half a request on the wire; bytes after the answer are nobody's. Neither can be reused.
    const isReusable = stream.requestDone && this.parser.keepAlive && this.parser.buffered === 0 && !stream.isTunnel;
    if (isReusable && !this.socket.isClosed) {
      this.parser.paused = false;
      this.socket.resume();
      this.options.onIdle();
      return;
    }
    this.isOver = true;
    if (stream.isTunnel) this.socket.end();
    else this.socket.destroy();
  }

  private check(rejection: Rejection | null): void {
    if (rejection === null) return;
    this.options.onMalformed?.(rejection.reason);
    const stream = this.stream;
    this.stream = null;
    this.isOver = true;
    this.socket.destroy();
    if (stream !== null) stream.fail(rejectionError(rejection, 'upstream'));
  }
}
