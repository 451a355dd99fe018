// The server role: requests of one downstream connection, answered in the order they came.

import { createHash } from 'node:crypto';
import { ProxyError } from '../error.ts';
import type { HeaderList } from '../headers.ts';
import { headerValue } from '../headers.ts';
import type { SocketEvents, WireSocket } from '../socket.ts';
import type { HttpStream, StreamAcceptor, StreamEvents } from '../stream.ts';
import { Head } from '../stream.ts';
import { BodyWriter, declaredLength } from './body.ts';
import * as limits from './limits.ts';
import type { ParserSink } from './parse.ts';
import { Http1Parser } from './parse.ts';
import type { Rejection } from './reject.ts';
import { rejectionError } from './reject.ts';
import { responseHead } from './serialize.ts';

/** What the listener says and hears of a connection. */
interface Http1ServerOptions {
  /** The scheme of requests in origin form. */
  scheme: 'http' | 'https';
  /** Bytes were refused; the reason is a token for a metric. The connection answers and closes by itself. */
  onMalformed(reason: string): void;
  /** The connection is gone, once, last. */
  onClose(): void;
}

/** Serves a connection. `accept` is called for each request before its head. The socket's server needs `allowHalfOpen`. */
export function serveHttp1(
  socket: WireSocket,
  accept: StreamAcceptor,
  options: Http1ServerOptions,
): Http1ServerConnection {
  return new Http1ServerConnection(socket, accept, options);
}

/** One downstream HTTP/1.1 connection. A FIN in the middle of a request means that the client went away, and cancels it. */
export class Http1ServerConnection implements SocketEvents, ParserSink {
  private readonly socket: WireSocket;
  private readonly accept: StreamAcceptor;
  private readonly options: Http1ServerOptions;
  private readonly parser: Http1Parser;
  private stream: ServerStream | null = null;
  private isDraining = false;
  private isRefusing = false;
  private isPipelineFull = false;
  private finIsPending = false;
  private lingerBytes = 0;
  private lingerTimer: NodeJS.Timeout | null = null;

  constructor(socket: WireSocket, accept: StreamAcceptor, options: Http1ServerOptions) {
    this.socket = socket;
    this.accept = accept;
    this.options = options;
    this.parser = new Http1Parser('request', this, options.scheme);
    socket.events = this;
  }

  /** Whether no request is in flight and no byte of one has come. */
  get idle(): boolean {
    return this.stream === null && this.parser.isFresh;
  }

  /** `connection: close` goes out with the next response; an idle connection ends at once. */
  drain(): void {
    this.isDraining = true;
    if (this.idle) this.linger();
  }

  /** Whether the response being written is the connection's last. */
  get isLast(): boolean {
    // HTTP/1.0 keep-alive is not offered: its clients take a body's end from the connection's (RFC 9112 §C.2.2).
    return this.isDraining || !this.parser.keepAlive || !this.parser.isHttp11;
  }

  onBytes(chunk: Uint8Array): void {
    if (this.isRefusing) {
      this.lingerBytes += chunk.length;
      if (this.lingerBytes > limits.LINGER_BYTES_MAX) this.socket.destroy();
      return;
    }
    this.check(this.parser.execute(chunk));
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
    if (this.lingerTimer !== null) clearTimeout(this.lingerTimer);
    const stream = this.stream;
    this.stream = null;
    this.isRefusing = true;
    stream?.fail(new ProxyError('cancelled', 'downstream', 'the client closed the connection', 'no', error));
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
      this.check(this.parser.continue());
      this.takeFin();
    });
  }

  /** The stream was abandoned. */
  drop(stream: ServerStream): void {
    if (this.stream !== stream) return;
    this.stream = null;
    this.isRefusing = true;
    this.socket.destroy();
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
      else if (!this.parser.isDone) this.socket.destroy();
    } else if (!stream.isTunnel) {
      this.socket.destroy();
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
      this.isRefusing = true;
      this.socket.destroy();
      return;
    }
    const text = `${rejection.reason} (${rejection.section})\n`;
    const head = Head.response(rejection.status, ['content-type', 'text/plain', 'content-length', String(text.length)]);
    this.socket.write(responseHead(head, 'length', false, true, '') + text);
    this.linger();
  }

  /** Ends our side, and reads on for a while so that the answer is not lost to a reset (RFC 9112 §9.6). */
  private linger(): void {
    if (this.isRefusing) return;
    this.isRefusing = true;
    this.socket.resume();
    this.socket.end();
    this.lingerTimer = setTimeout(() => this.socket.destroy(), limits.LINGER_MS);
    this.lingerTimer.unref();
  }
}

const NO_EVENTS: StreamEvents = { onHead() {}, onData() {}, onEnd() {}, onDrain() {}, onReset() {} };

/** One request and its response. */
class ServerStream implements HttpStream {
  events: StreamEvents = NO_EVENTS;
  headWritten = false;
  requestDone: boolean;
  responseDone = false;
  isTunnel = false;
  /** The response's end is the connection's. */
  mustClose = false;
  private readonly connection: Http1ServerConnection;
  private readonly socket: WireSocket;
  private readonly parser: Http1Parser;
  private readonly body: BodyWriter;
  private readonly method: string;
  private readonly protocol: string;
  private readonly webSocketKey: string;
  private isSaturated = false;
  private isDead = false;

  constructor(connection: Http1ServerConnection, socket: WireSocket, parser: Http1Parser, head: Head, end: boolean) {
    this.connection = connection;
    this.socket = socket;
    this.parser = parser;
    this.method = head.method;
    this.protocol = head.protocol;
    this.webSocketKey = head.protocol === '' ? '' : (headerValue(head.headers, 'sec-websocket-key') ?? '');
    this.requestDone = end;
    this.body = new BodyWriter(socket);
  }

  writeHead(head: Head, end: boolean): void {
    if (this.isDead || this.headWritten) return;
    if (head.status < 200 && head.status !== 101) {
      // HTTP/1.0 knows no interim responses (RFC 9110 §15.2).
      if (this.parser.isHttp11) this.socket.write(responseHead(head, 'none', false, false, ''));
      return;
    }
    this.headWritten = true;
    if (head.status === 101 || (this.method === 'CONNECT' && head.status < 300)) this.writeTunnelHead(head);
    else this.writePlainHead(head, end);
    if (end) this.finish(null);
  }

  writeData(chunk: Uint8Array, end: boolean): boolean {
    if (this.isDead || this.responseDone) return true;
    const hasRoom = this.body.write(chunk);
    if (!hasRoom) this.isSaturated = true;
    if (end || this.body.isBroken) this.finish(null);
    return hasRoom;
  }

  writeEnd(trailers: HeaderList | null): void {
    if (!this.isDead && !this.responseDone) this.finish(trailers);
  }

  reset(_error: ProxyError): void {
    this.isDead = true;
    this.connection.drop(this);
  }

  pause(): void {
    if (this.isDead || (this.responseDone && !this.isTunnel)) return;
    this.parser.paused = true;
    this.socket.pause();
  }

  resume(): void {
    if (this.isDead || !this.parser.paused || (this.responseDone && !this.isTunnel)) return;
    this.parser.paused = false;
    this.socket.resume();
    this.connection.continueLater(this);
  }

  drained(): void {
    if (!this.isSaturated || this.isDead) return;
    this.isSaturated = false;
    this.events.onDrain();
  }

  /** The last event. */
  fail(error: ProxyError): void {
    if (this.isDead) return;
    this.isDead = true;
    this.events.onReset(error);
  }

  private writeTunnelHead(head: Head): void {
    this.isTunnel = true;
    this.body.start('tunnel', 0);
    const upgrade = head.status === 101 ? this.protocol : '';
    if (upgrade === 'websocket' && headerValue(head.headers, 'sec-websocket-accept') === undefined) {
      head.headers.push('sec-websocket-accept', webSocketAccept(this.webSocketKey));
    }
    this.socket.write(responseHead(head, 'tunnel', false, false, upgrade));
    this.connection.startTunnel(this);
  }

  private writePlainHead(head: Head, end: boolean): void {
    const hasNoBody = this.method === 'HEAD' || head.status === 204 || head.status === 304;
    const length = declaredLength(head.headers);
    if (hasNoBody) this.body.start('none', 0);
    else if (length >= 0) this.body.start('length', length);
    else if (end) this.body.start('none', 0);
    else this.body.start(this.parser.isHttp11 ? 'chunked' : 'close', 0);
    // An upgrade that is not taken was a request without a body, complete as it stands; a refused CONNECT is not worth keeping.
    if (this.protocol !== '') this.requestDone = true;
    this.mustClose = this.connection.isLast || !this.requestDone || this.body.framing === 'close';
    // A request whose body is still coming may yet end before its response does: only then is the connection kept.
    if (!this.requestDone && !end && this.method !== 'CONNECT')
      this.mustClose = this.connection.isLast || !this.parser.isHttp11;
    this.socket.write(responseHead(head, this.body.framing, end && !hasNoBody && length < 0, this.mustClose, ''));
  }

  private finish(trailers: HeaderList | null): void {
    this.body.end(trailers);
    if (this.body.isBroken || !this.headWritten) {
      // Only the connection's end tells the client that the body is not what the head said; onReset follows with its close.
      this.socket.destroy();
      return;
    }
    this.responseDone = true;
    if (this.isTunnel) this.socket.end();
    this.connection.settle(this);
  }
}

/** RFC 6455 §4.2.2: for an upgrade that was answered by an HTTP/2 upstream, which sends none. */
function webSocketAccept(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}
