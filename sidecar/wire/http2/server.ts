// HTTP/2 as a server: the preface, request streams, refusals, and the drain in two steps that loses no request.

import type { GuardName } from '../../base/guards.ts';
import type { HeaderList } from '../headers.ts';
import type { ByteConnection } from '../socket.ts';
import { Head, type StreamAcceptor } from '../stream.ts';
import { ConnectionTimer } from '../timers.ts';
import { CODE, pingFrame, SETTING } from './frames.ts';
import { CONCURRENT_STREAMS, DRAIN_PING_MS } from './limits.ts';
import { contentLength, requestHead } from './message.ts';
import type { Http2Timeouts } from './ping.ts';
import { FRAMING, MESSAGE, type Rejection } from './reject.ts';
import { Http2Session, type SessionRole } from './session.ts';
import { countBody, type Http2Stream, NO_EVENTS } from './stream.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
/** Told apart from a client's own PINGs, and from acknowledgements nobody asked for. */
const DRAIN_PING = Buffer.from('weftgone', 'latin1');
const STREAM_ID_MAX = 0x7fffffff;

/** What a listener decides for a connection. */
export interface Http2ServerOptions extends Http2Timeouts {
  /** The scheme of the connection: `https` behind TLS. It replaces a request's :scheme, which is a claim and no evidence of TLS. */
  scheme: 'http' | 'https';
  /** Request streams at once; default 100. More are refused with REFUSED_STREAM, which a caller may retry. */
  maxConcurrentStreams?: number;
  /** The client broke the protocol; its stream or the connection ends. `reason` is a token for a metric. */
  onMalformed(reason: string): void;
  /** A flood limit was exceeded; the connection ends with ENHANCE_YOUR_CALM. */
  onGuard(name: GuardName): void;
  /** The connection is gone, once. */
  onClose(): void;
}

/** A served connection. */
export class Http2ServerConnection implements SessionRole {
  readonly isServer = true;
  private readonly session: Http2Session;
  private readonly drainTimer: ConnectionTimer;
  private readonly accept: StreamAcceptor;
  private readonly options: Http2ServerOptions;
  private readonly streamsMax: number;
  private prefaceRead = 0;
  /** What the connection had sent when `dropStalled` last looked. */
  private lookedAtBytes = 0;
  private draining: 'no' | 'announced' | 'final' = 'no';

  constructor(socket: ByteConnection, accept: StreamAcceptor, options: Http2ServerOptions) {
    this.accept = accept;
    this.options = options;
    this.streamsMax = options.maxConcurrentStreams ?? CONCURRENT_STREAMS;
    this.session = new Http2Session(socket, this, options);
    this.drainTimer = new ConnectionTimer(socket, options, () => this.goFinal());
    const session = this.session;
    socket.events = {
      onBytes: (chunk) => this.onBytes(chunk),
      onDrain: () => session.onSocketDrain(),
      onEnd: () => socket.end(),
      onClose: () => session.onSocketClose(),
    };
    session.watch();
    session.start([SETTING.MAX_CONCURRENT_STREAMS, this.streamsMax, SETTING.ENABLE_CONNECT_PROTOCOL, 1]);
  }

  /** Request streams open now. */
  get activeStreams(): number {
    return this.session.streams.size;
  }

  /** Bytes that wait to be read, and to be sent. */
  get heldBytes(): number {
    return this.session.heldBytes;
  }

  /** As Http1ServerConnection's; bodies without a length are streams, which may pause for a good reason, as gRPC's do. */
  pace(bytesMin: number): number {
    let slow = 0;
    for (const stream of this.session.streams.list()) {
      const { expectedBytes: left, pacedBytes: before } = stream;
      stream.pacedBytes = stream.remoteEnded || stream.paused ? -1 : left;
      if (left <= 0 || before < 0 || stream.pacedBytes < 0 || before - left >= bytesMin) continue;
      slow++;
      stream.pacedBytes = -1;
      this.session.refuseSlow(stream.id, 'the request body came too slowly');
    }
    return slow;
  }

  /**
   * To be called at even times: resets the answers of which the client's windows, the stream's or the connection's, have
   * let out less than `bytesMin` between any two of the last `looksMax` times, and says how many that were. An answer
   * that is whole has no timeout any more, and what of it waits would be held for ever.
   */
  dropStalled(bytesMin: number, looksMax: number): number {
    const { sender } = this.session;
    const isShut = sender.isShut && sender.sentBytes - this.lookedAtBytes < bytesMin;
    this.lookedAtBytes = sender.sentBytes;
    let dropped = 0;
    for (const stream of this.session.streams.list()) {
      const isHeld = stream.queuedBytes > 0 && (isShut || stream.sendWindow <= 0);
      stream.stalledLooks = isHeld && stream.sentBytes < bytesMin && !stream.isOpaque ? stream.stalledLooks + 1 : 0;
      stream.sentBytes = 0;
      if (stream.stalledLooks < looksMax) continue;
      dropped++;
      this.session.refuseSlow(stream.id, 'the caller gave the response no window');
    }
    return dropped;
  }

  /**
   * Ends the connection without losing a request (RFC 9113 §6.8): GOAWAY for all streams, then, once a PING has
   * come back or a second has passed, GOAWAY with the last one taken; the connection closes behind the last stream. Whoever drains sets
   * the time after which the socket is destroyed.
   */
  drain(): void {
    if (this.draining !== 'no') return;
    this.draining = 'announced';
    this.session.sendGoaway(STREAM_ID_MAX, CODE.NO_ERROR);
    this.session.socket.write(pingFrame(false, DRAIN_PING));
    this.drainTimer.closeIn(DRAIN_PING_MS);
  }

  onPingAck(opaque: Uint8Array): void {
    // An acknowledgement of a PING that was never sent says nothing about what the client has seen.
    if (DRAIN_PING.equals(opaque)) this.goFinal();
  }

  /** The client knows that we are leaving, or had time to: from here on new streams are refused. */
  private goFinal(): void {
    if (this.draining !== 'announced' || this.session.closed) return;
    this.drainTimer.stop();
    this.draining = 'final';
    this.session.sendGoaway(this.session.lastStreamId, CODE.NO_ERROR);
    this.onRoom();
  }

  onRoom(): void {
    if (this.draining === 'final' && this.session.streams.size === 0) this.session.socket.end();
  }

  onGoaway(): void {
    // A client that leaves finishes its streams and closes; nothing to do here.
  }

  onIdle(): void {
    this.drain();
  }

  onMalformed(reason: string): void {
    this.options.onMalformed(reason);
  }

  onGuard(name: GuardName): void {
    this.options.onGuard(name);
  }

  onClose(): void {
    this.drainTimer.stop();
    this.options.onClose();
  }

  onHeaders(id: number, _stream: Http2Stream | undefined, list: HeaderList, end: boolean): void {
    const session = this.session;
    if (this.draining === 'final') {
      // The id counts as seen, so that the rest of the refused request is no frame on an idle stream.
      session.lastStreamId = id;
      session.refuse(id, 'draining');
      return;
    }
    const full = session.streams.size >= this.streamsMax;
    session.lastStreamId = id;
    if (full) return session.refuse(id, 'too many streams');
    const head = session.listTooLarge ? null : requestHead(list);
    if (head === null) return this.refuseLarge(id, end, 431, MESSAGE.tooLarge);
    if (head === MESSAGE.pathTooLong) return this.refuseLarge(id, end, 414, head);
    if (!(head instanceof Head)) return session.streamError(id, head);
    if (head.scheme !== '') head.scheme = this.options.scheme;
    const stream = session.newStream(id, NO_EVENTS);
    stream.expectedBytes = contentLength(head.headers);
    stream.headReceived = true;
    stream.requestFields = head.headers;
    stream.isConnect = head.method === 'CONNECT';
    stream.isOpaque = stream.isConnect && head.protocol === '';
    if (stream.expectedBytes === -2) return session.streamError(id, MESSAGE.length);
    if (!countBody(stream, 0, end)) return session.streamError(id, MESSAGE.body);
    session.addStream(stream);
    stream.events = this.accept(stream);
    if (stream.dead) return;
    if (end) session.endRemote(stream);
    stream.events.onHead(head, end);
  }

  /** Answers without a request: it is understood, and too large to be taken; of a list that was cut there is no head to judge. */
  private refuseLarge(id: number, end: boolean, status: number, { reason }: Rejection): void {
    this.onMalformed(reason);
    const stream = this.session.newStream(id, NO_EVENTS);
    this.session.addStream(stream);
    if (end) this.session.endRemote(stream);
    stream.writeHead(Head.response(status, ['content-length', '0']), true);
  }

  private onBytes(chunk: Uint8Array): void {
    let at = 0;
    while (this.prefaceRead < PREFACE.length && at < chunk.length) {
      if (chunk[at++] !== PREFACE[this.prefaceRead++]) {
        this.session.fail(FRAMING.preface);
        return;
      }
    }
    if (at < chunk.length) this.session.receive(at === 0 ? chunk : chunk.subarray(at));
  }
}

/** Serves HTTP/2 on an accepted connection; every request stream is given to `accept`. */
export function serveHttp2(
  socket: ByteConnection,
  accept: StreamAcceptor,
  options: Http2ServerOptions,
): Http2ServerConnection {
  return new Http2ServerConnection(socket, accept, options);
}
