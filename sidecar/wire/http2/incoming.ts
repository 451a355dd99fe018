// What comes in on a connection: the order of its frames, and what those that carry a message mean for their stream
// (RFC 9113 §5.1, §6.1, §6.2, §6.4). Those that only steer are in control-frames.ts.

import type { GuardName } from '../../base/guards.ts';
import type { HeaderList } from '../headers.ts';
import { slabOf } from '../slab.ts';
import * as control from './control-frames.ts';
import * as frames from './frames.ts';
import { FLAG, FRAME } from './frames.ts';
import { type BlockHost, HeaderBlocks } from './header-blocks.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import * as limits from './limits.ts';
import { trailerFields } from './message.ts';
import { FRAMING, MESSAGE, type Rejection } from './reject.ts';
import { peerReset } from './reset-codes.ts';
import type { Http2Session } from './session.ts';
import { countBody, type Http2Stream } from './stream.ts';

/** Reads one connection. */
export class Incoming implements BlockHost {
  /** The peer's first SETTINGS have come. */
  settled = false;
  private readonly session: Http2Session;
  private readonly decoder = new HpackDecoder();
  private readonly blocks = new HeaderBlocks(this);
  private readonly reader: frames.FrameReader;
  /** The slab's memory that is read just now, and how much of it streams were given. */
  private source: ArrayBufferLike | null = null;
  private given = 0;
  /** Empty DATA frames since the last frame that said something. */
  private emptyRun = 0;

  constructor(session: Http2Session) {
    this.session = session;
    this.reader = new frames.FrameReader(
      (type, flags, id, bytes, from, to) => this.onFrame(type, flags, id, bytes, from, to),
      () => session.fail(FRAMING.tooLong),
    );
  }

  /** Whether the peer owes the rest of a head, or its settings. */
  get isPartial(): boolean {
    return !this.settled || this.blocks.openId !== 0 || this.reader.holdsHeaders;
  }

  /** Why the last block's list is cut: it exceeded the decoded limits. */
  get listTooLarge(): boolean {
    return this.decoder.tooLarge;
  }

  push(chunk: Uint8Array): void {
    const slab = slabOf(chunk);
    if (slab === undefined) return this.reader.push(chunk);
    this.source = chunk.buffer;
    this.given = 0;
    this.reader.push(chunk);
    slab.noteParsed(chunk.length - this.given);
    this.source = null;
  }

  fail(rejection: Rejection): void {
    this.session.fail(rejection);
  }

  calm(name: GuardName): void {
    this.session.calm(name);
  }

  private onFrame(type: number, flags: number, id: number, bytes: Uint8Array, from: number, to: number): boolean {
    if (!this.settled) {
      if (type !== FRAME.SETTINGS || (flags & FLAG.ACK) !== 0) {
        this.session.fail(FRAMING.firstFrame);
        return false;
      }
      this.settled = true;
    }
    const { openId } = this.blocks;
    if (openId !== 0 && (type !== FRAME.CONTINUATION || id !== openId)) this.session.fail(FRAMING.blockCut);
    else if (type === FRAME.HEADERS) this.blocks.onHeaders(flags, id, bytes, from, to);
    else this.dispatch(type, flags, id, bytes.subarray(from, to));
    return !this.session.closed;
  }

  private dispatch(type: number, flags: number, id: number, payload: Uint8Array): void {
    switch (type) {
      case FRAME.DATA:
        return this.onData(flags, id, payload);
      case FRAME.CONTINUATION:
        return this.blocks.onContinuation(flags, id, payload);
      case FRAME.PRIORITY:
        return control.onPriority(this.session, id, payload);
      case FRAME.RST_STREAM:
        return this.onReset(id, payload);
      case FRAME.SETTINGS:
        return control.onSettings(this.session, flags, id, payload);
      case FRAME.PUSH_PROMISE:
        return this.session.fail(FRAMING.push);
      case FRAME.PING:
        return control.onPing(this.session, flags, id, payload);
      case FRAME.PRIORITY_UPDATE:
        return control.onPriorityUpdate(this.session, id, payload);
      case FRAME.GOAWAY:
        return control.onGoaway(this.session, id, payload);
      case FRAME.WINDOW_UPDATE:
        return control.onWindowUpdate(this.session, id, payload);
      default:
        this.session.spend('ignored');
    }
  }

  private onData(flags: number, id: number, payload: Uint8Array): void {
    if (id === 0 || this.session.isIdle(id)) return this.session.fail(FRAMING.dataIdle);
    const data = frames.withoutPadding(flags, payload);
    if (data === null) return this.session.fail(payload.length === 0 ? FRAMING.tooShort : FRAMING.padding);
    // Credited on receipt, whatever becomes of it: a stalled stream must not stop its siblings.
    if (!this.session.receiveWindow.take(payload.length)) return this.session.fail(FRAMING.connectionWindow);
    const end = (flags & FLAG.END_STREAM) !== 0;
    if (data.length > 0 || end) this.emptyRun = 0;
    else if (++this.emptyRun > limits.EMPTY_DATA_RUN_MAX) {
      this.session.calm('emptyData');
      return;
    }
    const stream = this.session.streams.get(id);
    if (stream === undefined || stream.remoteEnded) {
      if (!this.session.resets.has(id)) this.session.streamError(id, FRAMING.dataClosed);
      else if (payload.length === 0) this.session.spend('ignored');
      return;
    }
    stream.receiveWindow -= payload.length;
    if (stream.receiveWindow < 0) return this.session.streamError(id, FRAMING.streamWindow);
    if (!stream.headReceived) return this.session.streamError(id, MESSAGE.bodyFirst);
    if (!countBody(stream, data.length, end)) return this.session.streamError(id, MESSAGE.body);
    if (end) this.session.endRemote(stream);
    if (data.buffer === this.source) this.given += data.length;
    stream.receive(data, end, payload.length);
  }

  /** A whole header block. */
  onBlock(id: number, flags: number, bytes: Uint8Array, from: number, to: number): void {
    this.emptyRun = 0;
    const list = this.decoder.decode(bytes, from, to);
    if (list === null) return this.session.fail(FRAMING.compression);
    const end = (flags & FLAG.END_STREAM) !== 0;
    const stream = this.session.streams.get(id);
    if (stream === undefined && !(this.session.role.isServer && id % 2 === 1 && id > this.session.lastStreamId)) {
      if (this.session.resets.has(id)) this.session.spend('ignored');
      else if (this.session.isIdle(id)) this.session.fail(FRAMING.headersId);
      else this.session.fail(FRAMING.headersClosed);
      return;
    }
    if (stream?.remoteEnded) return this.session.streamError(id, FRAMING.headersClosed);
    if (stream?.headReceived) return this.onTrailers(stream, list, end);
    this.session.role.onHeaders(id, stream, list, end);
  }

  private onTrailers(stream: Http2Stream, list: HeaderList, end: boolean): void {
    const { id } = stream;
    const trailers: HeaderList = [];
    const refused = trailerFields(list, trailers);
    if (refused !== null) return this.session.streamError(id, refused);
    if (!end) return this.session.streamError(id, MESSAGE.trailersOpen);
    if (this.decoder.tooLarge) return this.session.streamError(id, MESSAGE.trailersLarge);
    if (!countBody(stream, 0, true)) return this.session.streamError(id, MESSAGE.body);
    this.session.endRemote(stream);
    stream.receiveEnd(trailers.length > 0 ? trailers : null);
  }

  private onReset(id: number, payload: Uint8Array): void {
    if (payload.length !== 4) return this.session.fail(FRAMING.resetLength);
    if (id === 0 || this.session.isIdle(id)) return this.session.fail(FRAMING.resetIdle);
    const { role } = this.session;
    const stream = this.session.streams.get(id);
    if (stream === undefined) {
      this.session.spend('ignored');
      return;
    }
    // Who has an answer did not ask for nothing; callers of a whole sidecar that leave in mid-body are no attack (as Envoy).
    const isAnswered = role.isServer ? stream.isAnswered : stream.headReceived;
    if (!isAnswered && !this.session.spend('rapidReset')) return;
    this.session.forget(stream);
    stream.fail(peerReset(role.isServer, frames.readUint32(payload, 0)));
  }
}
