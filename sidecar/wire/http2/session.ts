// The connection, shared by both roles: the life of streams, and every rule whose breach ends a stream or the
// connection (RFC 9113 §5, §6). A role adds who opens streams and what a header block means.

import { performance } from 'node:perf_hooks';
import { ProxyError } from '../error.ts';
import type { HeaderList } from '../headers.ts';
import type { ByteConnection } from '../socket.ts';
import type { Head } from '../stream.ts';
import { ConnectionTimer, type Waiting } from '../timers.ts';
import * as control from './control-frames.ts';
import { FloodGuard } from './flood.ts';
import * as frames from './frames.ts';
import { CODE, FLAG, FRAME, SETTING } from './frames.ts';
import { type BlockHost, HeaderBlocks } from './header-blocks.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import type { FloodKind } from './limits.ts';
import * as limits from './limits.ts';
import { trailerFields } from './message.ts';
import { type Http2Timeouts, Pinger, type PingHost } from './ping.ts';
import { ReceiveWindow, ResetMemory } from './receive-window.ts';
import { FRAMING, MESSAGE, type Rejection } from './reject.ts';
import { peerReset } from './reset-codes.ts';
import { Sender, type SenderHost } from './sender.ts';
import { countBody, Http2Stream, type StreamHost } from './stream.ts';
import { StreamTable } from './stream-table.ts';

/** What a role does. */
export interface SessionRole {
  readonly isServer: boolean;
  /** A complete header block for a stream: the first one, or a response's. The session has read trailers itself. */
  onHeaders(id: number, stream: Http2Stream | undefined, list: HeaderList, end: boolean): void;
  /** The peer's settings changed or a stream closed. */
  onRoom(): void;
  /** A PING came back; it may be one we never sent. */
  onPingAck(opaque: Uint8Array): void;
  onGoaway(lastStreamId: number): void;
  /** No stream for the idle time: leave without losing a request. */
  onIdle(): void;
  /** The peer broke the protocol; the stream or the connection ends. `reason` as in reject.ts. */
  onMalformed(reason: string): void;
  onGuard(name: string): void;
  onClose(): void;
}

/** A head that waits for the peer's settings. */
interface HeldHead {
  readonly stream: Http2Stream;
  readonly head: Head;
  readonly end: boolean;
}

const NO_EXTENDED_CONNECT = new ProxyError(
  'noUpgrade',
  'local',
  'the upstream speaks HTTP/2 without extended CONNECT (SETTINGS_ENABLE_CONNECT_PROTOCOL, RFC 8441); let it offer that, or declare the Service HTTP1',
);

/** One connection. */
export class Http2Session implements StreamHost, SenderHost, BlockHost, PingHost {
  readonly streams = new StreamTable();
  /** The highest stream the peer opened (server), or we did (client). */
  lastStreamId = 0;
  peerStreamsMax = limits.CONCURRENT_STREAMS;
  /** Whether the peer takes extended CONNECT (RFC 8441 §3). */
  peerConnectProtocol = false;
  closed = false;
  readonly socket: ByteConnection;
  readonly role: SessionRole;
  readonly sender: Sender;
  private readonly decoder = new HpackDecoder();
  private readonly guard = new FloodGuard(() => performance.now());
  private readonly reader: frames.FrameReader;
  private readonly blocks: HeaderBlocks;
  private readonly timer: ConnectionTimer;
  readonly pinger: Pinger;
  private readonly resets = new ResetMemory();
  private readonly receiveWindow: ReceiveWindow;
  private settled = false;
  private heldHeads: HeldHead[] | null = null;

  constructor(socket: ByteConnection, role: SessionRole, timeouts: Http2Timeouts) {
    this.socket = socket;
    this.role = role;
    this.sender = new Sender(this, socket, this.guard);
    this.blocks = new HeaderBlocks(this);
    this.receiveWindow = new ReceiveWindow(socket);
    this.pinger = new Pinger(this, timeouts);
    this.timer = new ConnectionTimer(socket, timeouts, (waiting) => this.onTimeout(waiting));
    this.reader = new frames.FrameReader(
      (type, flags, id, bytes, from, to) => this.onFrame(type, flags, id, bytes, from, to),
      () => this.fail(FRAMING.tooLong),
    );
  }

  /** Announces our settings; `extra` are the role's own. */
  start(extra: readonly number[]): void {
    const own = [
      SETTING.INITIAL_WINDOW_SIZE,
      limits.STREAM_WINDOW_BYTES,
      SETTING.MAX_HEADER_LIST_SIZE,
      limits.HEADER_LIST_BYTES_MAX,
      // The tree of RFC 7540 is not followed; RFC 9218 is.
      SETTING.NO_RFC7540_PRIORITIES,
      1,
    ];
    this.socket.write(frames.settingsFrame(own.concat(extra)));
    this.socket.write(frames.wordFrame(FRAME.WINDOW_UPDATE, 0, limits.CONNECTION_WINDOW_BYTES - 65535));
  }

  /** Bytes of the connection, behind the preface. */
  receive(chunk: Uint8Array): void {
    if (this.closed) return;
    this.pinger.receivedBytes += chunk.length;
    this.reader.push(chunk);
    this.watch();
    if (this.socket.bufferedBytes > limits.UNSENT_BYTES_MAX) this.calm('unsent');
  }

  /** Sets the timer to what the connection waits for now: PINGs and settings keep nothing alive. */
  watch(): void {
    if (this.closed) return;
    if (!this.settled || this.blocks.openId !== 0 || this.reader.holdsHeaders) this.timer.wait('head');
    else this.timer.wait(this.streams.size > 0 ? 'busy' : 'idle');
  }

  private onTimeout(waiting: Waiting): void {
    if (waiting === 'idle') this.role.onIdle();
    else this.calm('headTimeout');
  }

  /** The socket has room again. */
  onSocketDrain(): void {
    this.sender.onSocketDrain();
  }

  /** The connection is gone: every open stream fails. */
  onSocketClose(): void {
    this.timer.stop();
    this.pinger.stop();
    if (this.closed && this.streams.size === 0) return this.role.onClose();
    this.closed = true;
    this.failStreams('the connection closed before the stream ended', 'connectionClosed');
    this.role.onClose();
  }

  addStream(stream: Http2Stream): void {
    this.streams.add(stream);
    if (this.streams.size === 1) {
      this.watch();
      this.pinger.watch();
    }
    this.lastStreamId = stream.id;
  }

  newStream(id: number, events: Http2Stream['events']): Http2Stream {
    return new Http2Stream(this, id, events, this.sender.initialWindow, this.receiveWindow.streamBytes);
  }

  sendHead(stream: Http2Stream, head: Head, end: boolean): void {
    const isEarly = this.heldHeads !== null || (head.protocol !== '' && !this.peerConnectProtocol);
    if (isEarly && !this.role.isServer) this.holdHead(stream, head, end);
    else this.sender.sendHead(stream, head, end);
  }

  /**
   * Slow path: an extended CONNECT of which the peer's settings have not said that it is taken (RFC 8441 §3). Heads behind
   * it wait, too, since a stream with a higher id would close its own (RFC 9113 §5.1.1).
   */
  private holdHead(stream: Http2Stream, head: Head, end: boolean): void {
    stream.headHeld = true;
    this.heldHeads ??= [];
    this.heldHeads.push({ stream, head, end });
    if (this.settled && this.heldHeads.length === 1) queueMicrotask(() => this.contained(() => this.releaseHeads()));
  }

  /** The peer's settings are known: what waited is sent, or fails. */
  releaseHeads(): void {
    const held = this.heldHeads;
    if (held === null || this.closed) return;
    this.heldHeads = null;
    for (const { stream, head, end } of held) {
      stream.headHeld = false;
      if (stream.dead) continue;
      if (head.protocol !== '' && !this.peerConnectProtocol) {
        this.forget(stream);
        stream.fail(NO_EXTENDED_CONNECT);
        continue;
      }
      this.sender.sendHead(stream, head, end);
      this.sender.pump(stream);
      stream.drained();
    }
  }

  pump(stream: Http2Stream): void {
    this.sender.pump(stream);
  }

  sendReset(stream: Http2Stream, code: number): void {
    if (!this.streams.has(stream.id)) return;
    this.resets.add(stream.id);
    // A request whose head never left is unknown to the server: RST_STREAM would be a frame on an idle stream.
    if (this.role.isServer || stream.headSent) this.socket.write(frames.wordFrame(FRAME.RST_STREAM, stream.id, code));
    this.forget(stream);
  }

  consumed(stream: Http2Stream, bytes: number): void {
    if (this.closed) return;
    stream.unreported += bytes;
    if (stream.remoteEnded || stream.dead || stream.unreported < this.receiveWindow.streamBytes / 2) return;
    this.socket.write(frames.wordFrame(FRAME.WINDOW_UPDATE, stream.id, stream.unreported));
    stream.receiveWindow += stream.unreported;
    stream.unreported = 0;
    // A reader that keeps up with half a window: only such bodies are worth a PING.
    if (this.receiveWindow.canGrow) this.pinger.probe();
  }

  /** Bytes that wait in streams, to be read and to be sent. */
  get heldBytes(): number {
    let bytes = this.receiveWindow.heldBytes;
    for (const stream of this.streams.list()) bytes += stream.queuedBytes;
    return bytes;
  }

  held(bytes: number): void {
    if (!this.closed) this.receiveWindow.hold(bytes);
  }

  isBusy(): boolean {
    return this.streams.size > 0;
  }

  onRoundTrip(bytes: number, ms: number): void {
    const more = this.receiveWindow.measured(bytes, ms);
    // Counted before the peer has acknowledged: more may come than it takes, never less.
    if (more > 0) for (const stream of this.streams.list()) stream.receiveWindow += more;
  }

  onDead(): void {
    this.role.onGuard('keepalive');
    this.closed = true;
    this.timer.stop();
    const detail = `nothing came for ${limits.KEEPALIVE_TIMEOUT_MS} ms after a PING; is the peer or the network gone?`;
    this.failStreams(detail, 'connectionClosed');
    this.socket.destroy();
  }

  contain(error: Error): void {
    this.socket.destroy(error);
  }

  /** Outside the socket's callbacks nothing else would contain a throw to this connection. */
  private contained(task: () => void): void {
    try {
      task();
    } catch (error) {
      this.contain(error as Error);
    }
  }

  sendGoaway(lastStreamId: number, code: number): void {
    this.socket.write(frames.goawayFrame(lastStreamId, code));
  }

  /** A stream error for what the peer sent: RST_STREAM, and the stream's owner hears of it. */
  streamError(id: number, rejection: Rejection): void {
    this.role.onMalformed(rejection.reason);
    this.resetStream(id, rejection.code, rejection.detail);
  }

  /** A request that we do not take, though nothing is wrong with it. */
  refuse(id: number, reason: string): void {
    this.resetStream(id, CODE.REFUSED_STREAM, reason);
  }

  /** The caller sends a body too slowly: 408 in its owner's eyes. */
  refuseSlow(id: number): void {
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    this.resets.add(id);
    this.socket.write(frames.wordFrame(FRAME.RST_STREAM, id, CODE.ENHANCE_YOUR_CALM));
    this.forget(stream);
    stream.fail(new ProxyError('idleTimeout', this.side(), 'the request body came too slowly'));
  }

  /** GOAWAY named `lastStreamId`: what is above it was not processed, and may go out on another connection (RFC 9113 §6.8). */
  failAbove(lastStreamId: number): void {
    for (const stream of this.streams.list()) {
      if (stream.id <= lastStreamId) continue;
      this.resets.add(stream.id);
      this.forget(stream);
      const detail = 'the peer is going away and did not process the stream';
      stream.fail(new ProxyError('refused', 'upstream', detail, 'yes'));
    }
  }

  /** A connection error for what the peer sent: GOAWAY with the code, then the connection is dropped. */
  fail(rejection: Rejection): void {
    if (this.closed) return;
    this.role.onMalformed(rejection.reason);
    // An upstream that breaks the protocol will do so again: 502, and no other attempt.
    this.leave(rejection.code, rejection.detail, this.role.isServer ? 'connectionClosed' : 'protocolError');
  }

  /** The peer exceeded a limit of cheap work; false, for whoever returns it. */
  calm(name: string): false {
    if (this.closed) return false;
    this.role.onGuard(name);
    // Slow is not wrong: another connection may be served better.
    const isWrong = !this.role.isServer && name !== 'headTimeout';
    const kind = isWrong ? 'protocolError' : 'connectionClosed';
    this.leave(CODE.ENHANCE_YOUR_CALM, `the peer exceeded the ${name} limit`, kind);
    return false;
  }

  /** Takes one token of a budget of the flood guard; false: the connection ended. */
  spend(kind: FloodKind): boolean {
    return this.guard.take(kind) || this.calm(kind);
  }

  /** Why the last block's list is cut: it exceeded the decoded limits. */
  get listTooLarge(): boolean {
    return this.decoder.tooLarge;
  }

  /** Ends the receiving side; closes the stream when both are done. */
  endRemote(stream: Http2Stream): void {
    stream.remoteEnded = true;
    if (stream.localEnded) this.forget(stream);
  }

  /** Whether the stream was never opened. */
  isIdle(id: number): boolean {
    return id > this.lastStreamId || id % 2 === 0;
  }

  /** END_STREAM went out; closes the stream when both sides are done. */
  endLocal(stream: Http2Stream): void {
    stream.localEnded = true;
    if (stream.remoteEnded) this.forget(stream);
    else if (this.role.isServer && !stream.isConnect) this.endEarly(stream);
  }

  /** The response is whole before its request: nobody reads the rest, so the client is asked to stop (RFC 9113 §8.1). */
  private endEarly(stream: Http2Stream): void {
    stream.die();
    this.sendReset(stream, CODE.NO_ERROR);
  }

  private forget(stream: Http2Stream): void {
    this.sender.drop(stream);
    if (!this.streams.delete(stream.id)) return;
    if (this.streams.size === 0) this.watch();
    this.role.onRoom();
  }

  private side(): 'downstream' | 'upstream' {
    return this.role.isServer ? 'downstream' : 'upstream';
  }

  private failStreams(reason: string, kind: 'connectionClosed' | 'protocolError'): void {
    const open = this.streams.list();
    this.streams.clear();
    this.sender.dropAll();
    for (const stream of open) {
      const raced = kind === 'connectionClosed' && !this.role.isServer && !stream.headReceived;
      stream.fail(new ProxyError(kind, this.side(), reason, raced ? 'reusedOnly' : 'no'));
    }
  }

  private resetStream(id: number, code: number, reason: string): void {
    this.resets.add(id);
    this.socket.write(frames.wordFrame(FRAME.RST_STREAM, id, code));
    const stream = this.streams.get(id);
    if (stream !== undefined) {
      this.forget(stream);
      const kind = this.role.isServer ? 'malformed' : 'protocolError';
      stream.fail(new ProxyError(kind, this.side(), reason, 'no', null, code));
    }
    // Streams we are made to reset count like resets of the peer: CVE-2025-8671.
    this.spend('rapidReset');
  }

  private leave(code: number, reason: string, kind: 'connectionClosed' | 'protocolError'): void {
    this.closed = true;
    this.timer.stop();
    this.pinger.stop();
    this.sendGoaway(this.role.isServer ? this.lastStreamId : 0, code);
    this.failStreams(reason, kind);
    // GOAWAY goes out.
    this.socket.destroySoon();
  }

  private onFrame(type: number, flags: number, id: number, bytes: Uint8Array, from: number, to: number): boolean {
    if (!this.settled) {
      if (type !== FRAME.SETTINGS || (flags & FLAG.ACK) !== 0) {
        this.fail(FRAMING.firstFrame);
        return false;
      }
      this.settled = true;
    }
    const { openId } = this.blocks;
    if (openId !== 0 && (type !== FRAME.CONTINUATION || id !== openId)) this.fail(FRAMING.blockCut);
    else if (type === FRAME.HEADERS) this.blocks.onHeaders(flags, id, bytes, from, to);
    else this.dispatch(type, flags, id, bytes.subarray(from, to));
    return !this.closed;
  }

  private dispatch(type: number, flags: number, id: number, payload: Uint8Array): void {
    switch (type) {
      case FRAME.DATA:
        return this.onData(flags, id, payload);
      case FRAME.CONTINUATION:
        return this.blocks.onContinuation(flags, id, payload);
      case FRAME.PRIORITY:
        return control.onPriority(this, id, payload);
      case FRAME.RST_STREAM:
        return this.onReset(id, payload);
      case FRAME.SETTINGS:
        return control.onSettings(this, flags, id, payload);
      case FRAME.PUSH_PROMISE:
        return this.fail(FRAMING.push);
      case FRAME.PING:
        return control.onPing(this, flags, id, payload);
      case FRAME.PRIORITY_UPDATE:
        return control.onPriorityUpdate(this, id, payload);
      case FRAME.GOAWAY:
        return control.onGoaway(this, id, payload);
      case FRAME.WINDOW_UPDATE:
        return control.onWindowUpdate(this, id, payload);
      default:
        this.spend('ignored');
    }
  }

  private onData(flags: number, id: number, payload: Uint8Array): void {
    if (id === 0 || this.isIdle(id)) return this.fail(FRAMING.dataIdle);
    const data = frames.withoutPadding(flags, payload);
    if (data === null) return this.fail(payload.length === 0 ? FRAMING.tooShort : FRAMING.padding);
    // Credited on receipt, whatever becomes of it: a stalled stream must not stop its siblings.
    if (!this.receiveWindow.take(payload.length)) return this.fail(FRAMING.connectionWindow);
    const end = (flags & FLAG.END_STREAM) !== 0;
    if (data.length === 0 && !end && !this.spend('emptyData')) return;
    const stream = this.streams.get(id);
    if (stream === undefined || stream.remoteEnded) {
      if (!this.resets.has(id)) this.streamError(id, FRAMING.dataClosed);
      else if (payload.length === 0) this.spend('ignored');
      return;
    }
    stream.receiveWindow -= payload.length;
    if (stream.receiveWindow < 0) return this.streamError(id, FRAMING.streamWindow);
    if (!stream.headReceived) return this.streamError(id, MESSAGE.bodyFirst);
    if (!countBody(stream, data.length, end)) return this.streamError(id, MESSAGE.body);
    if (end) this.endRemote(stream);
    stream.receive(data, end, payload.length);
  }

  /** A whole header block. */
  onBlock(id: number, flags: number, bytes: Uint8Array, from: number, to: number): void {
    const list = this.decoder.decode(bytes, from, to);
    if (list === null) return this.fail(FRAMING.compression);
    const end = (flags & FLAG.END_STREAM) !== 0;
    const stream = this.streams.get(id);
    if (stream === undefined && !(this.role.isServer && id % 2 === 1 && id > this.lastStreamId)) {
      if (this.resets.has(id)) this.spend('ignored');
      else if (this.isIdle(id)) this.fail(FRAMING.headersId);
      else this.fail(FRAMING.headersClosed);
      return;
    }
    if (stream?.remoteEnded) return this.streamError(id, FRAMING.headersClosed);
    if (stream?.headReceived) return this.onTrailers(stream, list, end);
    this.role.onHeaders(id, stream, list, end);
  }

  private onTrailers(stream: Http2Stream, list: HeaderList, end: boolean): void {
    const { id } = stream;
    const trailers: HeaderList = [];
    const refused = trailerFields(list, trailers);
    if (refused !== null) return this.streamError(id, refused);
    if (!end) return this.streamError(id, MESSAGE.trailersOpen);
    if (this.decoder.tooLarge) return this.streamError(id, MESSAGE.trailersLarge);
    if (!countBody(stream, 0, true)) return this.streamError(id, MESSAGE.body);
    this.endRemote(stream);
    stream.receiveEnd(trailers.length > 0 ? trailers : null);
  }

  private onReset(id: number, payload: Uint8Array): void {
    if (payload.length !== 4) return this.fail(FRAMING.resetLength);
    if (id === 0 || this.isIdle(id)) return this.fail(FRAMING.resetIdle);
    if (!this.spend('rapidReset')) return;
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    this.forget(stream);
    stream.fail(peerReset(this.role.isServer, frames.readUint32(payload, 0)));
  }
}
