// HTTP/2 as a client: one connection that lends stream slots to a pool until the peer says GOAWAY.

import type { GuardName } from '../../base/guards.ts';
import type { HeaderList } from '../headers.ts';
import { removeHeader } from '../headers.ts';
import type { ByteConnection } from '../socket.ts';
import { Head, type HttpStream, type StreamEvents } from '../stream.ts';
import { CODE, SETTING } from './frames.ts';
import { INTERIM_HEADS_MAX } from './limits.ts';
import { contentLength, responseHead } from './message.ts';
import type { Http2Timeouts } from './ping.ts';
import { MESSAGE } from './reject.ts';
import { Http2Session, type SessionRole } from './session.ts';
import { countBody, type Http2Stream } from './stream.ts';

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
/** No stream is opened from this id on: the last is 2^31 - 1, and 16 remain so that none is ever computed beyond it. */
const STREAM_ID_LAST = 0x7ffffff0;

/** What a pool hears of its connection. */
export interface Http2ClientEvents extends Http2Timeouts {
  /** The connection is gone, once. */
  onClose(): void;
  /** A stream slot may be free, or `usable` has changed. */
  onRoom(): void;
  /** The upstream broke the protocol; its stream fails, or the connection with all of them. `reason` is a token for a metric. */
  onMalformed?(reason: string): void;
  /** The upstream exceeded a flood limit; its streams fail and the connection ends with ENHANCE_YOUR_CALM. */
  onGuard?(name: GuardName): void;
}

/** A connection to one upstream. */
export class Http2ClientConnection implements SessionRole {
  readonly isServer = false;
  private readonly session: Http2Session;
  private readonly listener: Http2ClientEvents;
  private leaving = false;
  private nextId = 1;

  constructor(socket: ByteConnection, listener: Http2ClientEvents) {
    this.listener = listener;
    this.session = new Http2Session(socket, this, listener);
    const session = this.session;
    socket.events = {
      onBytes: (chunk) => session.receive(chunk),
      onDrain: () => session.onSocketDrain(),
      onEnd: () => socket.end(),
      onClose: () => session.onSocketClose(),
    };
    socket.write(PREFACE);
    session.watch();
    session.start([SETTING.ENABLE_PUSH, 0]);
  }

  /** Streams open now. */
  get activeStreams(): number {
    return this.session.streams.size;
  }

  /** Whether new streams may be opened at all, slots aside. */
  get usable(): boolean {
    return !this.leaving && !this.session.closed && !this.session.socket.isClosed;
  }

  /** Whether a stream can be opened now. */
  get hasRoom(): boolean {
    return this.usable && this.session.streams.size < this.session.peerStreamsMax;
  }

  /** A stream for one request, or null: no slot is free, or the connection is not usable. Write its head before opening the next: ids must reach the peer in order (RFC 9113 §5.1.1). */
  open(events: StreamEvents): HttpStream | null {
    if (!this.hasRoom) return null;
    const stream = this.session.newStream(this.nextId, events);
    this.session.addStream(stream);
    this.nextId += 2;
    // No id is left (RFC 9113 §5.1.1): the connection ends behind its last stream, and the pool makes another.
    if (this.nextId >= STREAM_ID_LAST) this.leaving = true;
    return stream;
  }

  /** Opens nothing more; the connection ends behind its last stream. */
  close(): void {
    if (this.leaving) return;
    this.leaving = true;
    this.session.sendGoaway(0, CODE.NO_ERROR);
    this.endIfIdle();
  }

  onHeaders(id: number, stream: Http2Stream | undefined, list: HeaderList, end: boolean): void {
    if (stream === undefined) return;
    const session = this.session;
    if (session.listTooLarge) return session.streamError(id, MESSAGE.tooLarge);
    const head = responseHead(list);
    if (!(head instanceof Head)) return session.streamError(id, head);
    if (head.status < 200) {
      if (end) return session.streamError(id, MESSAGE.interimEnd);
      if (++stream.interimHeads > INTERIM_HEADS_MAX) return session.streamError(id, MESSAGE.interimHeads);
      stream.events.onHead(head, false);
      return;
    }
    stream.headReceived = true;
    const isTunnel = stream.isConnect && head.status < 300;
    // A 2xx to CONNECT has no length, whatever it says (RFC 9110 §9.3.6).
    if (isTunnel) removeHeader(head.headers, 'content-length');
    if (isTunnel && stream.upgrade !== '') {
      head.status = 101;
      head.protocol = stream.upgrade;
    }
    const length = contentLength(head.headers);
    const bodiless = stream.isHeadRequest || head.status === 304 || head.status === 204;
    stream.expectedBytes = bodiless ? 0 : length;
    if (length === -2) return session.streamError(id, MESSAGE.length);
    if (!countBody(stream, 0, end)) return session.streamError(id, MESSAGE.body);
    if (end) session.endRemote(stream);
    stream.events.onHead(head, end);
  }

  onRoom(): void {
    this.endIfIdle();
    this.listener.onRoom();
  }

  onPingAck(): void {
    // The session has taken its own.
  }

  onGoaway(lastStreamId: number): void {
    this.leaving = true;
    this.session.failAbove(lastStreamId);
    this.onRoom();
  }

  onIdle(): void {
    this.close();
  }

  onMalformed(reason: string): void {
    this.listener.onMalformed?.(reason);
  }

  onGuard(name: GuardName): void {
    this.listener.onGuard?.(name);
  }

  onClose(): void {
    this.listener.onClose();
  }

  private endIfIdle(): void {
    // Nothing is expected any more: a peer that never closes its side must not hold the pool's place.
    if (this.leaving && this.session.streams.size === 0) this.session.socket.destroySoon();
  }
}
