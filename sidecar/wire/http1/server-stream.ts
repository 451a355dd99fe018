// One request of a downstream connection and its response: what is written, in which framing, and whether the
// connection may carry another request behind it.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { ProxyError } from '../error.ts';
import type { HeaderList } from '../headers.ts';
import { headerValue } from '../headers.ts';
import type { ByteConnection } from '../socket.ts';
import type { Head, HttpStream, StreamEvents } from '../stream.ts';
import { BodyWriter, BROKEN_BODY, declaredLength, WRITTEN_BEFORE_HEAD } from './body.ts';
import type { Http1Parser } from './parse.ts';
import { responseHead, unsafeHead } from './serialize.ts';

/** What a stream needs of its connection. */
export interface ServerStreamHost {
  /** Whether the response being written is the connection's last. */
  readonly isLast: boolean;
  /** An upgrade was answered with 101, or CONNECT with 2xx. */
  startTunnel(stream: ServerStream): void;
  /** Goes on parsing, outside of the stream's own call. */
  continueLater(stream: ServerStream): void;
  /** The stream was abandoned. */
  drop(stream: ServerStream): void;
  /** Ends the connection behind what was written. */
  cut(): void;
  /** The response, or the request, has ended. */
  settle(stream: ServerStream): void;
}

const NO_EVENTS: StreamEvents = { onHead() {}, onData() {}, onEnd() {}, onDrain() {}, onReset() {} };

/** One request and its response. */
export class ServerStream implements HttpStream {
  readonly isDirect = true;
  events: StreamEvents = NO_EVENTS;
  headWritten = false;
  requestDone: boolean;
  responseDone = false;
  isTunnel = false;
  /** The response's end is the connection's. */
  mustClose = false;
  /** Why our side abandons the connection; what the owner hears with its close. */
  failure: ProxyError | null = null;
  private readonly connection: ServerStreamHost;
  private readonly socket: ByteConnection;
  private readonly parser: Http1Parser;
  private readonly body: BodyWriter;
  private readonly method: string;
  private readonly protocol: string;
  private readonly webSocketKey: string;
  private isSaturated = false;
  private isDead = false;

  constructor(connection: ServerStreamHost, socket: ByteConnection, parser: Http1Parser, head: Head, end: boolean) {
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
    if (this.isDead || this.headWritten || this.failure !== null) return;
    if (head.status < 200 && head.status !== 101) {
      // HTTP/1.0 knows no interim responses (RFC 9110 §15.2).
      if (this.parser.isHttp11) this.write(responseHead(head, 'none', false, false, ''), head.headers);
      return;
    }
    this.headWritten = true;
    if (head.status === 101 || (this.method === 'CONNECT' && head.status < 300)) this.writeTunnelHead(head);
    else this.writePlainHead(head, end);
    if (end && this.failure === null) this.finish(null);
  }

  writeData(chunk: Uint8Array, end: boolean): boolean {
    if (this.isDead || this.responseDone || this.failure !== null) return true;
    if (!this.headWritten) assert.fail(WRITTEN_BEFORE_HEAD);
    const hasRoom = this.body.write(chunk);
    if (!hasRoom) this.isSaturated = true;
    if (end || this.body.isBroken) this.finish(null);
    return hasRoom;
  }

  writeEnd(trailers: HeaderList | null): void {
    if (this.isDead || this.responseDone || this.failure !== null) return;
    if (!this.headWritten) assert.fail(WRITTEN_BEFORE_HEAD);
    this.finish(trailers);
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
    if (!this.write(responseHead(head, 'tunnel', false, false, upgrade), head.headers)) return;
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
    // A request whose body is still coming may yet end before its response does: only then is the connection kept.
    const mayGoOn = this.requestDone || (!end && this.method !== 'CONNECT');
    this.mustClose = head.closes || this.connection.isLast || !mayGoOn || this.body.framing === 'close';
    const isEmpty = end && !hasNoBody && length < 0;
    this.write(responseHead(head, this.body.framing, isEmpty, this.mustClose, ''), head.headers);
  }

  private write(text: string | null, headers: HeaderList): boolean {
    if (text !== null) this.socket.write(text);
    else this.abandon(unsafeHead(headers));
    return text !== null;
  }

  private abandon(error: ProxyError): void {
    this.failure = error;
    this.connection.cut();
  }

  private finish(trailers: HeaderList | null): void {
    this.body.end(trailers);
    if (this.body.isBroken) {
      // Only the connection's end tells the client that the body is not what the head said; onReset follows with its close.
      this.abandon(BROKEN_BODY);
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
