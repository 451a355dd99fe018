// The server role: requests of one downstream connection, answered in the order they came.

import { ProxyError } from '../error.ts';
import type { HeaderList } from '../headers.ts';
import type { ByteConnection, SocketEvents } from '../socket.ts';
import type { StreamAcceptor } from '../stream.ts';
import { Head } from '../stream.ts';
import { ConnectionTimer, type Waiting, type WireTimeouts } from '../timers.ts';
import * as limits from './limits.ts';
import type { ParserSink } from './parse.ts';
import { Http1Parser } from './parse.ts';
import type { Rejection } from './reject.ts';
import { REJECT, rejectionError } from './reject.ts';
import { responseHead } from './serialize.ts';
import { ServerStream, type ServerStreamHost } from './server-stream.ts';

/** What the listener says and hears of a connection. */
interface Http1ServerOptions extends WireTimeouts {
  /** The scheme of requests in origin form. */
  scheme: 'http' | 'https';
  /** Bytes were refused; the reason is a token for a metric. The connection answers and closes by itself. */
  onMalformed(reason: string): void;
  /**
   * A client's FIN behind a whole request cancels it; default false, since a client may half-close and wait for its
   * answer (RFC 9112 §9.6). With false a departed client is noticed when something is written to it. True where the
   * work is dear and clients never half-close, as with AI models.
   */
  finCancels?: boolean;
  /** The connection is gone, once, last. */
  onClose(): void;
}

/** Serves a connection. `accept` is called for each request before its head. The socket's server needs `allowHalfOpen`. */
export function serveHttp1(
  socket: ByteConnection,
  accept: StreamAcceptor,
  options: Http1ServerOptions,
): Http1ServerConnection {
  return new Http1ServerConnection(socket, accept, options);
}

/** One downstream HTTP/1.1 connection. A FIN in the middle of a request means that the client went away, and cancels it; behind a whole one it ends only the connection. */
export class Http1ServerConnection implements SocketEvents, ParserSink, ServerStreamHost {
  private readonly socket: ByteConnection;
  private readonly accept: StreamAcceptor;
  private readonly options: Http1ServerOptions;
  private readonly parser: Http1Parser;
  private stream: ServerStream | null = null;
  private isDraining = false;
  private isRefusing = false;
  private isPipelineFull = false;
  private finIsPending = false;
  private lingerBytes = 0;
  private bodyBytes = 0;
  /** The request whose body was under way at the last `pace`, and what of it had come. */
  private pacedStream: ServerStream | null = null;
  private pacedBytes = 0;
  private readonly timer: ConnectionTimer;

  constructor(socket: ByteConnection, accept: StreamAcceptor, options: Http1ServerOptions) {
    this.socket = socket;
    this.accept = accept;
    this.options = options;
    this.parser = new Http1Parser('request', this, options.scheme);
    this.timer = new ConnectionTimer(socket, options, (waiting) => this.onTimeout(waiting));
    socket.events = this;
    this.timer.wait('idle');
  }

  /** Whether no request is in flight and no byte of one has come. */
  get idle(): boolean {
    return this.stream === null && this.parser.isFresh;
  }

  /** Requests under way. */
  get activeStreams(): number {
    return this.idle ? 0 : 1;
  }

  /** Bytes that wait to be read. */
  get heldBytes(): number {
    return this.parser.buffered;
  }

  /**
   * To be called at even times: refuses the request whose body has brought less than `bytesMin` since the last time,
   * though nothing here kept it back, and says how many that were. @param all chunked bodies, too, which may pause for a
   * good reason.
   */
  pace(bytesMin: number, all: boolean): number {
    const { stream } = this;
    const isDue = stream !== null && !stream.requestDone && !stream.isTunnel && !this.parser.paused;
    if (!isDue || !(all || this.parser.isCounted)) {
      this.pacedStream = null;
      return 0;
    }
    if (stream === this.pacedStream && this.bodyBytes - this.pacedBytes < bytesMin) {
      this.check(REJECT.bodyTimeout);
      return 1;
    }
    this.pacedStream = stream;
    this.pacedBytes = this.bodyBytes;
    return 0;
  }

  /** `connection: close` goes out with the next response; an idle connection ends at once. */
  drain(): void {
    this.isDraining = true;
    if (this.idle) this.linger();
  }

  /** Whether the response being written is the connection's last. */
  get isLast(): boolean {
    // HTTP/1.0 keep-alive is not offered: its clients take a body's end from the connection's (RFC 9112 §C.2.2).
    if (this.isDraining || !this.parser.keepAlive || !this.parser.isHttp11) return true;
    return this.finIsPending && this.parser.buffered === 0;
  }

  onBytes(chunk: Uint8Array): void {
    if (this.isRefusing) {
      this.lingerBytes += chunk.length;
      if (this.lingerBytes > limits.LINGER_BYTES_MAX) this.socket.destroy();
      return;
    }
    this.check(this.parser.execute(chunk));
    this.watch();
    if (this.stream === null || this.parser.buffered <= limits.PIPELINED_BYTES_MAX) return;
    this.isPipelineFull = true;
    this.socket.pause();
  }

  onDrain(): void {
    this.stream?.drained();
  }

  onEnd(): void {
    if (this.isRefusing) {
      this.socket.end();
      return;
    }
    this.finIsPending = true;
    this.takeFin();
  }

  onClose(error: Error | null): void {
    this.timer.stop();
    const stream = this.stream;
    this.stream = null;
    this.isRefusing = true;
    if (stream !== null) {
      const gone = (): ProxyError =>
        new ProxyError('cancelled', 'downstream', 'the client closed the connection', 'no', error);
      stream.fail(stream.failure ?? gone());
    }
    this.options.onClose();
  }

  onHead(head: Head, end: boolean): void {
    if (this.isRefusing) return;
    const stream = new ServerStream(this, this.socket, this.parser, head, end);
    this.stream = stream;
    stream.events = this.accept(stream);
    stream.events.onHead(head, end);
  }

  onData(chunk: Uint8Array, end: boolean): void {
    const stream = this.stream;
    if (stream === null) return;
    if (end) stream.requestDone = true;
    this.bodyBytes += chunk.length;
    stream.events.onData(chunk, end);
    if (end) this.settle(stream);
  }

  onMessageEnd(trailers: HeaderList | null): void {
    const stream = this.stream;
    if (stream === null) return;
    stream.requestDone = true;
    stream.events.onEnd(trailers);
    this.settle(stream);
  }

  /** An upgrade was answered with 101, or CONNECT with 2xx. */
  startTunnel(stream: ServerStream): void {
    this.parser.tunnel();
    this.unfill();
    this.continueLater(stream);
  }

  /** Goes on parsing, outside of the stream's own call. */
  continueLater(stream: ServerStream | null): void {
    queueMicrotask(() => {
      if (this.stream !== stream || this.isRefusing) return;
      this.socket.guard(() => {
        this.check(this.parser.continue());
        this.watch();
        this.takeFin();
      });
    });
  }

  /** Sets the timer to what the connection waits for now. */
  private watch(): void {
    if (this.isRefusing) return;
    if (this.stream !== null) this.timer.wait('busy');
    else this.timer.wait(this.parser.isFresh ? 'idle' : 'head');
  }

  private onTimeout(waiting: Waiting): void {
    if (waiting === 'close') this.socket.destroy();
    else if (waiting === 'head') this.check(REJECT.headTimeout);
    else this.linger();
  }

  /** The stream was abandoned. */
  drop(stream: ServerStream): void {
    if (this.stream !== stream) return;
    this.stream = null;
    this.cut();
  }

  /**
   * Ends the connection behind what was written: a head and half a body are sent, and the missing end says that they
   * are not all. A client that does not read holds them no longer than any other that is left.
   */
  cut(): void {
    this.isRefusing = true;
    this.socket.destroySoon();
    this.timer.closeIn(limits.LINGER_MS);
  }

  /** The response, or the request, has ended. */
  settle(stream: ServerStream): void {
    if (this.stream !== stream || !stream.responseDone) return;
    if (stream.isTunnel) {
      if (stream.requestDone) this.stream = null;
      return;
    }
    this.stream = null;
    this.parser.paused = false;
    this.unfill();
    this.socket.resume();
    if (stream.mustClose || !stream.requestDone || this.isDraining) {
      this.linger();
      return;
    }
    this.parser.next();
    this.continueLater(null);
  }

  private unfill(): void {
    if (!this.isPipelineFull) return;
    this.isPipelineFull = false;
    this.socket.resume();
  }

  private takeFin(): void {
    if (!this.finIsPending || this.isRefusing) return;
    const stream = this.stream;
    if (stream === null) {
      if (this.parser.isFresh) this.socket.end();
      // What was answered before half a head still goes out.
      else if (!this.parser.isDone) this.cut();
    } else if (!stream.isTunnel) {
      // Behind a whole request, or one that waits for its answer to go on, FIN says only that no other follows.
      const isWhole = this.parser.isDone || this.parser.buffered > 0;
      if (!isWhole) this.cut();
      else if (this.options.finCancels === true) this.socket.destroy();
    } else if (this.parser.buffered === 0 && !stream.requestDone) {
      stream.requestDone = true;
      stream.events.onEnd(null);
      this.settle(stream);
    }
  }

  private check(rejection: Rejection | null): void {
    if (rejection === null) return;
    this.options.onMalformed(rejection.reason);
    const stream = this.stream;
    this.stream = null;
    if (stream !== null) stream.fail(rejectionError(rejection, 'downstream'));
    if (stream?.headWritten === true) {
      this.cut();
      return;
    }
    // In ASCII: heads are written as Latin-1, and a body beside them is no place for another encoding.
    const text = `${rejection.reason} (${rejection.section.replace('§', 'section ')})\n`;
    const type = ['content-type', 'text/plain; charset=utf-8', 'content-length', String(text.length)];
    const head = Head.response(rejection.status, type);
    this.socket.write((responseHead(head, 'length', false, true, '') as string) + text);
    this.linger();
  }

  /** Ends our side, and reads on for a while so that the answer is not lost to a reset (RFC 9112 §9.6). */
  private linger(): void {
    if (this.isRefusing) return;
    this.isRefusing = true;
    this.socket.resume();
    this.socket.end();
    this.timer.closeIn(limits.LINGER_MS);
  }
}
