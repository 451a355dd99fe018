// One request on an upstream connection and its response: what is written, in which framing, and what an end of the
// connection means for it.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { ProxyError } from '../error.ts';
import type { HeaderList } from '../headers.ts';
import { headerValue, removeHeader } from '../headers.ts';
import type { WireSocket } from '../socket.ts';
import type { Head, HttpStream, StreamEvents } from '../stream.ts';
import { BodyWriter, BROKEN_BODY, declaredLength, WRITTEN_BEFORE_HEAD } from './body.ts';
import type { Http1Parser } from './parse.ts';
import { requestHead, unsafeHead } from './serialize.ts';

/** What a stream needs of its connection. */
export interface ClientStreamHost {
  /** The stream wrote its end. */
  requestEnded(stream: ClientStream): void;
  /** The head was refused before a byte of it was written: the connection is free again, the stream fails. */
  unsent(stream: ClientStream): void;
  /** Goes on delivering, outside of the stream's own call. */
  resumeLater(stream: ClientStream): void;
  /** The stream was abandoned. */
  drop(stream: ClientStream): void;
}

/** One request and its response. */
export class ClientStream implements HttpStream {
  readonly isDirect = true;
  events: StreamEvents;
  method = '';
  headWritten = false;
  gotBytes = false;
  upgradeAsked = false;
  isTunnel = false;
  requestDone = false;
  responseDone = false;
  finIsPending = false;
  /** Why our side abandons the request; what the owner hears instead of the connection's close. */
  failure: ProxyError | null = null;
  private readonly connection: ClientStreamHost;
  private readonly socket: WireSocket;
  private readonly parser: Http1Parser;
  private readonly body: BodyWriter;
  private readonly isReused: boolean;
  private sentBefore = 0;
  private isSaturated = false;
  private isDead = false;

  constructor(
    connection: ClientStreamHost,
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
    const isExtended = this.upgradeAsked && head.method === 'CONNECT';
    const method = isExtended ? 'GET' : head.method;
    // Only that form needs no key (RFC 8441 §5); an Upgrade without one is wrong, and the application's to refuse.
    if (isExtended && head.protocol === 'websocket' && headerValue(head.headers, 'sec-websocket-key') === undefined) {
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
    const text = requestHead(head, method, this.body.framing, head.protocol);
    if (text === null) {
      this.failure = unsafeHead(head.headers);
      this.connection.unsent(this);
      return;
    }
    this.parser.expect(method, head.protocol.toLowerCase());
    this.socket.write(text);
    if (end) this.finish(null);
  }

  writeData(chunk: Uint8Array, end: boolean): boolean {
    if (this.isDead || this.requestDone || this.failure !== null || (this.responseDone && !this.isTunnel)) return true;
    if (!this.headWritten) assert.fail(WRITTEN_BEFORE_HEAD);
    const hasRoom = this.body.write(chunk);
    if (!hasRoom) this.isSaturated = true;
    if (end || this.body.isBroken) this.finish(null);
    return hasRoom;
  }

  writeEnd(trailers: HeaderList | null): void {
    if (this.isDead || this.requestDone || this.failure !== null) return;
    if (!this.headWritten) assert.fail(WRITTEN_BEFORE_HEAD);
    this.finish(trailers);
  }

  /** Whether a byte of the request has left. What was queued in this turn of the loop has not, and cannot have been answered. */
  get hasLeft(): boolean {
    return this.headWritten && (this.socket.bufferedBytes === 0 || this.socket.socket.bytesWritten !== this.sentBefore);
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
    if (this.failure !== null) return this.failure;
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
      this.failure = BROKEN_BODY;
      this.socket.destroy();
      return;
    }
    this.requestDone = true;
    if (this.body.framing === 'tunnel' && this.isTunnel) this.socket.end();
    this.connection.requestEnded(this);
  }
}
