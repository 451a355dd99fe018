// The connection, shared by both roles: settings, windows, the life of streams, and every rule whose breach ends
// a stream or the connection (RFC 9113 §5, §6). A role adds who opens streams and what a header block means.

import { performance } from 'node:perf_hooks';
import { ProxyError } from '../error.ts';
import type { HeaderList } from '../headers.ts';
import type { ByteConnection } from '../socket.ts';
import type { Head } from '../stream.ts';
import { ConnectionTimer, type Waiting, type WireTimeouts } from '../timers.ts';
import { FloodGuard } from './flood.ts';
import * as frames from './frames.ts';
import { CODE, FLAG, FRAME, SETTING } from './frames.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import type { FloodKind } from './limits.ts';
import * as limits from './limits.ts';
import { trailerFields } from './message.ts';
import { ReceiveWindow, ResetMemory } from './receive-window.ts';
import { countBody, Http2Stream, type StreamHost } from './stream.ts';
import { StreamTable } from './stream-table.ts';

const WINDOW_MAX = 0x7fffffff;

/** Written into and copied out again before anything else runs. */
const dataHeader = Buffer.alloc(frames.HEADER_BYTES);

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
  onGuard(name: string): void;
  onClose(): void;
}

/** One connection. */
export class Http2Session implements StreamHost {
  readonly streams = new StreamTable();
  /** The highest stream the peer opened (server), or we did (client). */
  lastStreamId = 0;
  peerStreamsMax = limits.CONCURRENT_STREAMS;
  /** Whether the peer takes extended CONNECT (RFC 8441 §3). */
  peerConnectProtocol = false;
  closed = false;
  readonly socket: ByteConnection;
  private readonly role: SessionRole;
  private readonly encoder = new HpackEncoder();
  private readonly decoder = new HpackDecoder();
  private readonly guard = new FloodGuard(() => performance.now());
  private readonly reader: frames.FrameReader;
  private readonly timer: ConnectionTimer;
  private readonly waiting = new Set<Http2Stream>();
  private readonly resets = new ResetMemory();
  private readonly receiveWindow: ReceiveWindow;
  private sendWindow = 65535;
  private peerWindow = 65535;
  private peerFrameBytes = limits.FRAME_BYTES_MAX;
  private settled = false;
  private socketFull = false;
  private blockId = 0;
  private blockFlags = 0;
  private block: Uint8Array[] = [];
  private blockBytes = 0;

  constructor(socket: ByteConnection, role: SessionRole, timeouts: WireTimeouts) {
    this.socket = socket;
    this.role = role;
    this.receiveWindow = new ReceiveWindow(socket);
    this.timer = new ConnectionTimer(socket, timeouts, (waiting) => this.onTimeout(waiting));
    this.reader = new frames.FrameReader(
      (type, flags, id, bytes, from, to) => this.onFrame(type, flags, id, bytes, from, to),
      () => this.fail(CODE.FRAME_SIZE_ERROR, 'a frame exceeds 16,384 bytes'),
    );
  }

  /** Announces our settings; `extra` are the role's own. */
  start(extra: readonly number[]): void {
    const own = [
      SETTING.INITIAL_WINDOW_SIZE,
      limits.STREAM_WINDOW_BYTES,
      SETTING.MAX_HEADER_LIST_SIZE,
      limits.HEADER_LIST_BYTES_MAX,
    ];
    this.socket.write(frames.settingsFrame(own.concat(extra)));
    this.socket.write(frames.wordFrame(FRAME.WINDOW_UPDATE, 0, limits.CONNECTION_WINDOW_BYTES - 65535));
  }

  /** Bytes of the connection, behind the preface. */
  receive(chunk: Uint8Array): void {
    if (this.closed) return;
    this.reader.push(chunk);
    this.watch();
    if (this.socket.bufferedBytes > limits.UNSENT_BYTES_MAX) this.calm('unsent');
  }

  /** Sets the timer to what the connection waits for now: PINGs and settings keep nothing alive. */
  watch(): void {
    if (this.closed) return;
    if (!this.settled || this.blockId !== 0 || this.reader.holdsHeaders) this.timer.wait('head');
    else this.timer.wait(this.streams.size > 0 ? 'busy' : 'idle');
  }

  private onTimeout(waiting: Waiting): void {
    if (waiting === 'idle') this.role.onIdle();
    else this.calm('headTimeout');
  }

  /** The socket has room again. */
  onSocketDrain(): void {
    this.socketFull = false;
    this.pumpAll();
  }

  /** The connection is gone: every open stream fails. */
  onSocketClose(): void {
    this.timer.stop();
    if (this.closed && this.streams.size === 0) return this.role.onClose();
    this.closed = true;
    this.failStreams('the connection closed before the stream ended');
    this.role.onClose();
  }

  addStream(stream: Http2Stream): void {
    this.streams.add(stream);
    if (this.streams.size === 1) this.watch();
    this.lastStreamId = stream.id;
  }

  newStream(id: number, events: Http2Stream['events']): Http2Stream {
    return new Http2Stream(this, id, events, this.peerWindow);
  }

  sendHead(stream: Http2Stream, head: Head, end: boolean): void {
    stream.headSent = true;
    this.encoder.start();
    if (head.status > 0) this.encoder.field(':status', String(head.status));
    else {
      stream.isHeadRequest = head.method === 'HEAD';
      stream.isConnect = head.method === 'CONNECT' || head.protocol !== '';
      if (head.protocol !== '' && head.method !== 'CONNECT') stream.upgrade = head.protocol;
      this.requestPseudo(head);
    }
    this.encoder.fields(head.headers);
    this.sendBlock(stream, end);
  }

  pump(stream: Http2Stream): void {
    while (stream.queue.length > 0) {
      if (this.closed || !this.sendChunk(stream)) {
        this.waiting.add(stream);
        return;
      }
    }
    this.waiting.delete(stream);
    if (!stream.endQueued || stream.localEnded || stream.dead || this.closed) return;
    if (stream.trailers === null) {
      this.writeDataHeader(FLAG.END_STREAM, stream.id, 0);
      this.endLocal(stream);
      return;
    }
    this.encoder.start();
    this.encoder.fields(stream.trailers);
    this.sendBlock(stream, true);
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
    if (stream.remoteEnded || stream.dead || stream.unreported < limits.STREAM_WINDOW_BYTES / 2) return;
    this.socket.write(frames.wordFrame(FRAME.WINDOW_UPDATE, stream.id, stream.unreported));
    stream.receiveWindow += stream.unreported;
    stream.unreported = 0;
  }

  held(bytes: number): void {
    if (!this.closed) this.receiveWindow.hold(bytes);
  }

  contain(error: Error): void {
    this.socket.destroy(error);
  }

  sendGoaway(lastStreamId: number, code: number): void {
    this.socket.write(frames.goawayFrame(lastStreamId, code));
  }

  /** A stream error: RST_STREAM, and the stream's owner hears of it. */
  streamError(id: number, code: number, reason: string): void {
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

  /** A connection error: GOAWAY with the code, then the connection is dropped. */
  fail(code: number, reason: string): void {
    if (this.closed) return;
    this.closed = true;
    this.timer.stop();
    this.sendGoaway(this.role.isServer ? this.lastStreamId : 0, code);
    this.failStreams(reason);
    // GOAWAY goes out.
    this.socket.destroySoon();
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

  private requestPseudo(head: Head): void {
    // An HTTP/1.1 Upgrade is an extended CONNECT here (RFC 8441 §5).
    this.encoder.field(':method', head.protocol !== '' ? 'CONNECT' : head.method);
    const plainConnect = head.method === 'CONNECT' && head.protocol === '';
    if (!plainConnect) this.encoder.field(':scheme', head.scheme);
    this.encoder.field(':authority', head.authority);
    if (!plainConnect) this.encoder.field(':path', head.path);
    if (head.protocol !== '') this.encoder.field(':protocol', head.protocol);
  }

  private sendBlock(stream: Http2Stream, end: boolean): void {
    const { encoder } = this;
    const { length } = encoder;
    if (length > this.peerFrameBytes) {
      // Slow path: more than 16 KiB of coded headers.
      this.noteRoom(this.socket.write(frames.headersFrames(stream.id, encoder.finish(), end, this.peerFrameBytes)));
    } else {
      const frame = encoder.framed;
      const flags = end ? FLAG.END_HEADERS | FLAG.END_STREAM : FLAG.END_HEADERS;
      frames.putHeader(frame, FRAME.HEADERS, flags, stream.id, length);
      this.noteRoom(this.socket.writeCopy(frame, frames.HEADER_BYTES + length));
    }
    if (!end) return;
    stream.endQueued = true;
    this.endLocal(stream);
  }

  private writeDataHeader(flags: number, id: number, length: number): void {
    frames.putHeader(dataHeader, FRAME.DATA, flags, id, length);
    this.noteRoom(this.socket.writeCopy(dataHeader, frames.HEADER_BYTES));
  }

  private noteRoom(room: boolean): void {
    if (!room) this.socketFull = true;
  }

  /** Sends at most one frame of the queue; false when windows or socket say stop. */
  private sendChunk(stream: Http2Stream): boolean {
    const room = Math.min(stream.sendWindow, this.sendWindow);
    if (room <= 0 || this.socketFull) return false;
    const chunk = stream.queue[0] as Uint8Array;
    const size = Math.min(chunk.length, room, this.peerFrameBytes);
    const whole = size === chunk.length;
    if (whole) stream.queue.shift();
    else stream.queue[0] = chunk.subarray(size);
    const end = whole && stream.queue.length === 0 && stream.endQueued && stream.trailers === null;
    stream.queuedBytes -= size;
    stream.sendWindow -= size;
    this.sendWindow -= size;
    this.guard.earn('windowUpdate', limits.WINDOW_UPDATES_PER_DATA);
    this.writeDataHeader(end ? FLAG.END_STREAM : 0, stream.id, size);
    this.noteRoom(this.socket.write(whole ? chunk : chunk.subarray(0, size)));
    if (end) this.endLocal(stream);
    return true;
  }

  /** A frame for each waiting stream in turn, until none can go on. */
  private pumpAll(): void {
    let moved = true;
    while (moved && !this.socketFull && this.sendWindow > 0) {
      moved = false;
      for (const stream of this.waiting) if (stream.queue.length > 0 && this.sendChunk(stream)) moved = true;
    }
    for (const stream of Array.from(this.waiting)) {
      if (stream.queue.length === 0) this.pump(stream);
      stream.drained();
    }
  }

  private endLocal(stream: Http2Stream): void {
    stream.localEnded = true;
    if (stream.remoteEnded) this.forget(stream);
  }

  private forget(stream: Http2Stream): void {
    this.waiting.delete(stream);
    if (!this.streams.delete(stream.id)) return;
    if (this.streams.size === 0) this.watch();
    this.role.onRoom();
  }

  private side(): 'downstream' | 'upstream' {
    return this.role.isServer ? 'downstream' : 'upstream';
  }

  private failStreams(reason: string): void {
    const open = this.streams.list();
    this.streams.clear();
    this.waiting.clear();
    for (const stream of open) {
      const retry = !this.role.isServer && !stream.headReceived ? 'reusedOnly' : 'no';
      stream.fail(new ProxyError('connectionClosed', this.side(), reason, retry));
    }
  }

  private calm(name: string): false {
    if (!this.closed) this.role.onGuard(name);
    this.fail(CODE.ENHANCE_YOUR_CALM, `the peer exceeded the ${name} limit`);
    return false;
  }

  private spend(kind: FloodKind): boolean {
    return this.guard.take(kind) || this.calm(kind);
  }

  private protocolError(reason: string): boolean {
    this.fail(CODE.PROTOCOL_ERROR, reason);
    return false;
  }

  private onFrame(type: number, flags: number, id: number, bytes: Uint8Array, from: number, to: number): boolean {
    if (!this.settled) {
      if (type !== FRAME.SETTINGS || (flags & FLAG.ACK) !== 0)
        return this.protocolError('the first frame is not SETTINGS');
      this.settled = true;
    }
    if (this.blockId !== 0 && (type !== FRAME.CONTINUATION || id !== this.blockId)) {
      return this.protocolError('a frame inside a header block');
    }
    if (type === FRAME.HEADERS) this.onHeaders(flags, id, bytes, from, to);
    else this.dispatch(type, flags, id, bytes.subarray(from, to));
    return !this.closed;
  }

  private dispatch(type: number, flags: number, id: number, payload: Uint8Array): void {
    switch (type) {
      case FRAME.DATA:
        return this.onData(flags, id, payload);
      case FRAME.CONTINUATION:
        return this.onContinuation(flags, id, payload);
      case FRAME.PRIORITY:
        return this.onPriority(id, payload);
      case FRAME.RST_STREAM:
        return this.onReset(id, payload);
      case FRAME.SETTINGS:
        return this.onSettings(flags, id, payload);
      case FRAME.PUSH_PROMISE:
        return this.fail(CODE.PROTOCOL_ERROR, 'PUSH_PROMISE is not allowed here');
      case FRAME.PING:
        return this.onPing(flags, id, payload);
      case FRAME.GOAWAY:
        return this.onGoaway(id, payload);
      case FRAME.WINDOW_UPDATE:
        return this.onWindowUpdate(id, payload);
      default:
        this.spend('ignored');
    }
  }

  /** Whether the stream was never opened. */
  private isIdle(id: number): boolean {
    return id > this.lastStreamId || id % 2 === 0;
  }

  private onData(flags: number, id: number, payload: Uint8Array): void {
    if (id === 0 || this.isIdle(id)) return this.fail(CODE.PROTOCOL_ERROR, 'DATA on an idle stream');
    const data = frames.withoutPadding(flags, payload);
    if (data === null) return this.fail(CODE.PROTOCOL_ERROR, 'padding exceeds the frame');
    // Credited on receipt, whatever becomes of it: a stalled stream must not stop its siblings.
    if (!this.receiveWindow.take(payload.length)) {
      return this.fail(CODE.FLOW_CONTROL_ERROR, 'DATA exceeds the connection window');
    }
    const end = (flags & FLAG.END_STREAM) !== 0;
    if (data.length === 0 && !end && !this.spend('emptyData')) return;
    const stream = this.streams.get(id);
    if (stream === undefined || stream.remoteEnded) {
      if (!this.resets.has(id)) this.streamError(id, CODE.STREAM_CLOSED, 'DATA on a closed stream');
      else if (payload.length === 0) this.spend('ignored');
      return;
    }
    stream.receiveWindow -= payload.length;
    if (stream.receiveWindow < 0)
      return this.streamError(id, CODE.FLOW_CONTROL_ERROR, 'DATA exceeds the stream window');
    if (!stream.headReceived || !countBody(stream, data.length, end)) {
      return this.streamError(id, CODE.PROTOCOL_ERROR, 'the body differs from content-length or precedes the head');
    }
    if (end) this.endRemote(stream);
    stream.receive(data, end, payload.length);
  }

  private onHeaders(flags: number, id: number, bytes: Uint8Array, from: number, to: number): void {
    if (id === 0) return this.fail(CODE.PROTOCOL_ERROR, 'HEADERS on stream 0');
    if ((flags & (FLAG.PADDED | FLAG.PRIORITY)) === 0 && (flags & FLAG.END_HEADERS) !== 0)
      return this.onBlock(id, flags, bytes, from, to);
    let fragment = frames.withoutPadding(flags, bytes.subarray(from, to));
    if (fragment !== null && (flags & FLAG.PRIORITY) !== 0) {
      if (fragment.length < 5) fragment = null;
      else {
        if ((frames.readUint32(fragment, 0) & 0x7fffffff) === id)
          return this.fail(CODE.PROTOCOL_ERROR, 'a stream depends on itself');
        fragment = fragment.subarray(5);
      }
    }
    if (fragment === null) return this.fail(CODE.PROTOCOL_ERROR, 'padding or priority exceeds the frame');
    if ((flags & FLAG.END_HEADERS) !== 0) return this.onBlock(id, flags, fragment, 0, fragment.length);
    this.blockId = id;
    this.blockFlags = flags;
    this.block = [fragment];
    this.blockBytes = fragment.length;
  }

  private onContinuation(flags: number, id: number, payload: Uint8Array): void {
    if (this.blockId === 0) return this.fail(CODE.PROTOCOL_ERROR, 'CONTINUATION without HEADERS');
    this.block.push(payload);
    this.blockBytes += payload.length;
    if (this.block.length > limits.CONTINUATIONS_MAX + 1 || this.blockBytes > limits.HEADER_BLOCK_BYTES_MAX) {
      this.calm('continuation');
      return;
    }
    if ((flags & FLAG.END_HEADERS) === 0) return;
    const whole = Buffer.concat(this.block);
    this.block = [];
    this.blockId = 0;
    this.onBlock(id, this.blockFlags, whole, 0, whole.length);
  }

  private onBlock(id: number, flags: number, bytes: Uint8Array, from: number, to: number): void {
    const list = this.decoder.decode(bytes, from, to);
    if (list === null) return this.fail(CODE.COMPRESSION_ERROR, 'a header block does not decode');
    const end = (flags & FLAG.END_STREAM) !== 0;
    const stream = this.streams.get(id);
    if (stream === undefined && !(this.role.isServer && id % 2 === 1 && id > this.lastStreamId)) {
      if (this.resets.has(id)) this.spend('ignored');
      else if (this.isIdle(id)) this.fail(CODE.PROTOCOL_ERROR, 'HEADERS on a stream that cannot be opened');
      else this.fail(CODE.STREAM_CLOSED, 'HEADERS on a closed stream');
      return;
    }
    if (stream?.remoteEnded) return this.streamError(id, CODE.STREAM_CLOSED, 'HEADERS after the end');
    if (stream?.headReceived) return this.onTrailers(stream, list, end);
    this.role.onHeaders(id, stream, list, end);
  }

  private onTrailers(stream: Http2Stream, list: HeaderList, end: boolean): void {
    const fields = trailerFields(list);
    if (typeof fields === 'string') return this.streamError(stream.id, CODE.PROTOCOL_ERROR, fields);
    if (!end || this.decoder.tooLarge || !countBody(stream, 0, true)) {
      return this.streamError(
        stream.id,
        CODE.PROTOCOL_ERROR,
        'trailers do not end the stream, are too large, or the body is short',
      );
    }
    this.endRemote(stream);
    stream.receiveEnd(fields.trailers.length > 0 ? fields.trailers : null);
  }

  private onPriority(id: number, payload: Uint8Array): void {
    if (id === 0) return this.fail(CODE.PROTOCOL_ERROR, 'PRIORITY on stream 0');
    if (payload.length !== 5) return this.fail(CODE.FRAME_SIZE_ERROR, 'PRIORITY is not 5 bytes');
    if ((frames.readUint32(payload, 0) & 0x7fffffff) === id)
      return this.streamError(id, CODE.PROTOCOL_ERROR, 'a stream depends on itself');
    this.spend('priority');
  }

  private onReset(id: number, payload: Uint8Array): void {
    if (payload.length !== 4) return this.fail(CODE.FRAME_SIZE_ERROR, 'RST_STREAM is not 4 bytes');
    if (id === 0 || this.isIdle(id)) return this.fail(CODE.PROTOCOL_ERROR, 'RST_STREAM on an idle stream');
    if (!this.spend('rapidReset')) return;
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    this.forget(stream);
    stream.fail(this.resetError(frames.readUint32(payload, 0)));
  }

  private resetError(code: number): ProxyError {
    const reason = `the peer reset the stream with HTTP/2 error code ${code}`;
    if (!this.role.isServer && code === CODE.REFUSED_STREAM)
      return new ProxyError('refused', 'upstream', reason, 'yes', null, code);
    const cancelled = this.role.isServer && (code === CODE.CANCEL || code === CODE.NO_ERROR);
    return new ProxyError(cancelled ? 'cancelled' : 'streamReset', this.side(), reason, 'no', null, code);
  }

  private onSettings(flags: number, id: number, payload: Uint8Array): void {
    if (id !== 0) return this.fail(CODE.PROTOCOL_ERROR, 'SETTINGS on a stream');
    const ack = (flags & FLAG.ACK) !== 0;
    if (ack ? payload.length !== 0 : payload.length % 6 !== 0)
      return this.fail(CODE.FRAME_SIZE_ERROR, 'SETTINGS has a wrong length');
    if (!this.spend('settings') || ack) return;
    for (let at = 0; at < payload.length && !this.closed; at += 6) {
      this.onSetting(((payload[at] as number) << 8) | (payload[at + 1] as number), frames.readUint32(payload, at + 2));
    }
    if (this.closed) return;
    this.socket.write(frames.settingsAckFrame());
    this.pumpAll();
    this.role.onRoom();
  }

  private onSetting(setting: number, value: number): void {
    switch (setting) {
      case SETTING.HEADER_TABLE_SIZE:
        return this.encoder.setTableSize(value);
      case SETTING.ENABLE_PUSH:
        if (value > 1) this.fail(CODE.PROTOCOL_ERROR, 'ENABLE_PUSH is neither 0 nor 1');
        return;
      case SETTING.MAX_CONCURRENT_STREAMS:
        this.peerStreamsMax = value;
        return;
      case SETTING.INITIAL_WINDOW_SIZE:
        return this.onInitialWindow(value);
      case SETTING.ENABLE_CONNECT_PROTOCOL:
        this.peerConnectProtocol = value === 1;
        return;
      case SETTING.MAX_FRAME_SIZE:
        if (value < 16384 || value > 0xffffff) return this.fail(CODE.PROTOCOL_ERROR, 'MAX_FRAME_SIZE is out of range');
        this.peerFrameBytes = Math.min(value, limits.STREAM_QUEUE_BYTES);
        return;
      default:
    }
  }

  private onInitialWindow(value: number): void {
    if (value > WINDOW_MAX) return this.fail(CODE.FLOW_CONTROL_ERROR, 'INITIAL_WINDOW_SIZE is out of range');
    const change = value - this.peerWindow;
    this.peerWindow = value;
    for (const stream of this.streams.list()) {
      stream.sendWindow += change;
      if (stream.sendWindow > WINDOW_MAX) return this.fail(CODE.FLOW_CONTROL_ERROR, 'a stream window overflows');
    }
  }

  private onPing(flags: number, id: number, payload: Uint8Array): void {
    if (id !== 0) return this.fail(CODE.PROTOCOL_ERROR, 'PING on a stream');
    if (payload.length !== 8) return this.fail(CODE.FRAME_SIZE_ERROR, 'PING is not 8 bytes');
    if (!this.spend('ping')) return;
    if ((flags & FLAG.ACK) !== 0) return this.role.onPingAck(payload);
    this.socket.write(frames.pingFrame(true, payload));
  }

  private onGoaway(id: number, payload: Uint8Array): void {
    if (id !== 0) return this.fail(CODE.PROTOCOL_ERROR, 'GOAWAY on a stream');
    if (payload.length < 8) return this.fail(CODE.FRAME_SIZE_ERROR, 'GOAWAY is shorter than 8 bytes');
    if (this.spend('settings')) this.role.onGoaway(frames.readUint32(payload, 0) & WINDOW_MAX);
  }

  private onWindowUpdate(id: number, payload: Uint8Array): void {
    if (payload.length !== 4) return this.fail(CODE.FRAME_SIZE_ERROR, 'WINDOW_UPDATE is not 4 bytes');
    if (id !== 0 && this.isIdle(id)) return this.fail(CODE.PROTOCOL_ERROR, 'WINDOW_UPDATE on an idle stream');
    if (!this.spend('windowUpdate')) return;
    const bytes = frames.readUint32(payload, 0) & WINDOW_MAX;
    if (id === 0) {
      if (bytes === 0) return this.fail(CODE.PROTOCOL_ERROR, 'WINDOW_UPDATE of 0');
      this.sendWindow += bytes;
      if (this.sendWindow > WINDOW_MAX) return this.fail(CODE.FLOW_CONTROL_ERROR, 'the connection window overflows');
      return this.pumpAll();
    }
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    if (bytes === 0) return this.streamError(id, CODE.PROTOCOL_ERROR, 'WINDOW_UPDATE of 0');
    stream.sendWindow += bytes;
    if (stream.sendWindow > WINDOW_MAX)
      return this.streamError(id, CODE.FLOW_CONTROL_ERROR, 'the stream window overflows');
    if (stream.queue.length > 0) this.pump(stream);
    stream.drained();
  }
}
