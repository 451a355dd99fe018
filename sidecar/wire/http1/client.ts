// The client role: one upstream connection, one request at a time.

import { randomBytes } from 'node:crypto';
import { ProxyError } from '../error.ts';
import type { HeaderList } from '../headers.ts';
import { headerValue, removeHeader } from '../headers.ts';
import type { SocketEvents, WireSocket } from '../socket.ts';
import type { Head, HttpStream, StreamEvents } from '../stream.ts';
import { BodyWriter, declaredLength } from './body.ts';
import type { ParserSink } from './parse.ts';
import { Http1Parser } from './parse.ts';
import type { Rejection } from './reject.ts';
import { rejectionError } from './reject.ts';
import { requestHead } from './serialize.ts';

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
}

/** An upstream HTTP/1.1 connection. `open` only while `idle`. */
export class Http1ClientConnection implements SocketEvents, ParserSink {
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
    // Bytes nobody asked for belong to no request: whatever they are, the next response must not be read after them.
    if (this.stream === null || !this.stream.headWritten) this.socket.destroy();
    else {
      this.stream.gotBytes = true;
      this.check(this.parser.execute(chunk));
    }
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

  /** Goes on delivering, outside of the stream's own call. */
  resumeLater(stream: ClientStream): void {
    queueMicrotask(() => {
      if (this.stream !== stream || this.parser.paused) return;
      this.check(this.parser.continue());
      this.takeFin(stream);
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
    const stream = this.stream;
    this.stream = null;
    this.isOver = true;
    this.socket.destroy();
    if (stream !== null) stream.fail(rejectionError(rejection, 'upstream'));
  }
}

/** One request and its response. */
class ClientStream implements HttpStream {
  events: StreamEvents;
  method = '';
  headWritten = false;
  gotBytes = false;
  upgradeAsked = false;
  isTunnel = false;
  requestDone = false;
  responseDone = false;
  finIsPending = false;
  private readonly connection: Http1ClientConnection;
  private readonly socket: WireSocket;
  private readonly parser: Http1Parser;
  private readonly body: BodyWriter;
  private readonly isReused: boolean;
  private sentBefore = 0;
  private isSaturated = false;
  private isDead = false;

  constructor(
    connection: Http1ClientConnection,
    socket: WireSocket,
    parser: Http1Parser,
    events: StreamEvents,
    isReused: boolean,
  ) {
    this.connection = connection;
    this.socket = socket;
    this.parser = parser;
    this.events = events;
    this.isReused = isReused;
    this.body = new BodyWriter(socket);
  }

  writeHead(head: Head, end: boolean): void {
    if (this.isDead) return;
    this.method = head.method;
    this.upgradeAsked = head.protocol !== '';
    this.headWritten = true;
    this.sentBefore = this.socket.socket.bytesWritten;
    // Extended CONNECT (RFC 8441) is an Upgrade here.
    const method = this.upgradeAsked && head.method === 'CONNECT' ? 'GET' : head.method;
    if (head.protocol === 'websocket' && headerValue(head.headers, 'sec-websocket-key') === undefined) {
      head.headers.push('sec-websocket-key', randomBytes(16).toString('base64'));
    }
    const length = declaredLength(head.headers);
    if (method === 'CONNECT' || this.upgradeAsked) this.body.start('tunnel', 0);
    else if (length >= 0) this.body.start('length', length);
    else if (end) this.body.start('none', 0);
    else this.body.start('chunked', 0);
    if (end && length < 0 && (method === 'POST' || method === 'PUT' || method === 'PATCH')) {
      head.headers.push('content-length', '0');
    }
    this.parser.expect(this.method === 'CONNECT' && this.upgradeAsked ? 'GET' : this.method, this.upgradeAsked);
    this.socket.write(requestHead(head, method, this.body.framing, head.protocol));
    if (end) this.finish(null);
  }

  writeData(chunk: Uint8Array, end: boolean): boolean {
    if (this.isDead || this.requestDone || (this.responseDone && !this.isTunnel)) return true;
    const hasRoom = this.body.write(chunk);
    if (!hasRoom) this.isSaturated = true;
    if (end || this.body.isBroken) this.finish(null);
    return hasRoom;
  }

  writeEnd(trailers: HeaderList | null): void {
    if (!this.isDead && !this.requestDone) this.finish(trailers);
  }

  reset(_error: ProxyError): void {
    this.isDead = true;
    this.connection.drop(this);
  }

  pause(): void {
    if (this.isDead || this.responseDone) return;
    this.parser.paused = true;
    this.socket.pause();
  }

  resume(): void {
    if (this.isDead || this.responseDone || !this.parser.paused) return;
    this.parser.paused = false;
    this.socket.resume();
    this.connection.resumeLater(this);
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

  /** What a close in mid-request means, and whether the request may be sent again. */
  closedError(cause: Error | null): ProxyError {
    const neverSent = !this.headWritten || this.socket.socket.bytesWritten === this.sentBefore;
    const retry = this.gotBytes ? 'no' : neverSent ? 'yes' : this.isReused ? 'reusedOnly' : 'no';
    const when = this.gotBytes ? 'in the middle of a response' : 'before a response';
    return new ProxyError('connectionClosed', 'upstream', `upstream closed the connection ${when}`, retry, cause);
  }

  /** The caller of an extended CONNECT hears 200 where HTTP/1.1 says 101 (RFC 8441 §5). */
  translate(head: Head): Head {
    if (head.status !== 101 || this.method !== 'CONNECT') return head;
    removeHeader(head.headers, 'sec-websocket-accept');
    head.status = 200;
    head.protocol = '';
    return head;
  }

  private finish(trailers: HeaderList | null): void {
    this.body.end(trailers);
    if (this.body.isBroken) {
      // The upstream would take the next request's bytes for this body, or wait: the connection goes; onReset follows with its close.
      this.socket.destroy();
      return;
    }
    this.requestDone = true;
    if (this.body.framing === 'tunnel' && this.isTunnel) this.socket.end();
    this.connection.requestEnded(this);
  }
}
