// The connection, shared by both roles: the life of its streams, and how a stream or the connection ends when the peer
// breaks a rule (RFC 9113 §5). What comes in is read by incoming.ts; a role adds who opens streams and what a header block means.

import { performance } from 'node:perf_hooks';
import type { GuardName } from '../../base/guards.ts';
import { ProxyError } from '../error.ts';
import type { HeaderList } from '../headers.ts';
import type { ByteConnection } from '../socket.ts';
import type { Head } from '../stream.ts';
import { ConnectionTimer, type Waiting } from '../timers.ts';
import { FloodGuard } from './flood.ts';
import * as frames from './frames.ts';
import { CODE, FRAME, SETTING } from './frames.ts';
import { HeldHeads } from './held-heads.ts';
import { Incoming } from './incoming.ts';
import type { FloodKind } from './limits.ts';
import * as limits from './limits.ts';
import { type Http2Timeouts, Pinger, type PingHost } from './ping.ts';
import { ReceiveWindow, ResetMemory } from './receive-window.ts';
import type { Rejection } from './reject.ts';
import { Sender, type SenderHost } from './sender.ts';
import { Http2Stream, type StreamHost } from './stream.ts';
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
  onGuard(name: GuardName): void;
  onClose(): void;
}

/** One connection. */
export class Http2Session implements StreamHost, SenderHost, PingHost {
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
  private readonly guard = new FloodGuard(() => performance.now());
  private readonly incoming: Incoming;
  private readonly timer: ConnectionTimer;
  readonly pinger: Pinger;
  /** Streams that we reset, whose late frames are ignored. */
  readonly resets = new ResetMemory();
  readonly receiveWindow: ReceiveWindow;
  private readonly heldHeads = new HeldHeads(this);

  constructor(socket: ByteConnection, role: SessionRole, timeouts: Http2Timeouts) {
    this.socket = socket;
    this.role = role;
    this.sender = new Sender(this, socket, this.guard);
    this.incoming = new Incoming(this);
    this.receiveWindow = new ReceiveWindow(socket);
    this.pinger = new Pinger(this, timeouts);
    this.timer = new ConnectionTimer(socket, timeouts, (waiting) => this.onTimeout(waiting));
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
    this.incoming.push(chunk);
    this.watch();
    if (this.socket.bufferedBytes > limits.UNSENT_BYTES_MAX) this.calm('unsent');
  }

  /** Sets the timer to what the connection waits for now: PINGs and settings keep nothing alive. */
  watch(): void {
    if (this.closed) return;
    if (this.incoming.isPartial) this.timer.wait('head');
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
    if (this.role.isServer || !this.heldHeads.takes(stream, head, end)) this.sender.sendHead(stream, head, end);
  }

  /** The peer's settings are known: what waited for them is sent, or fails. */
  releaseHeads(): void {
    this.heldHeads.release();
  }

  /** Whether the peer's first settings have come. */
  get settled(): boolean {
    return this.incoming.settled;
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

  /** The caller sends or takes a body too slowly; its owner hears `detail`, and it is 408 where that can still be said. */
  refuseSlow(id: number, detail: string): void {
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    this.resets.add(id);
    this.socket.write(frames.wordFrame(FRAME.RST_STREAM, id, CODE.ENHANCE_YOUR_CALM));
    this.forget(stream);
    stream.fail(new ProxyError('idleTimeout', this.side(), detail));
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
  calm(name: GuardName): false {
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
    return this.incoming.listTooLarge;
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
    if (this.role.isServer) this.earnAnswer();
    if (stream.remoteEnded) this.forget(stream);
    else if (this.role.isServer && !stream.isConnect) this.endEarly(stream);
  }

  /** A whole answer pays for one request that is given up, and for a reset that crosses it on the way. */
  private earnAnswer(): void {
    this.guard.earn('rapidReset', 1);
    this.guard.earn('ignored', 1);
  }

  /** The response is whole before its request: nobody reads the rest, so the client is asked to stop (RFC 9113 §8.1). */
  private endEarly(stream: Http2Stream): void {
    stream.die();
    this.sendReset(stream, CODE.NO_ERROR);
  }

  /** The stream is over. */
  forget(stream: Http2Stream): void {
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
}
