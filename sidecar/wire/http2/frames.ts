// Frames (RFC 9113 §4, §6): an incremental reader that owns nothing but the rest of a frame, and writers that
// return one slab each.

import { FRAME_BYTES_MAX } from './limits.ts';

/** Frame types, RFC 9113 §6 and RFC 9218 §7.1. */
export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
  PRIORITY_UPDATE: 16,
} as const;

/** Frame flags, RFC 9113 §6; ACK shares its bit with END_STREAM. */
export const FLAG = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 32 } as const;

/** Error codes, RFC 9113 §7. */
export const CODE = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  CONNECT_ERROR: 10,
  ENHANCE_YOUR_CALM: 11,
} as const;

/** Settings, RFC 9113 §6.5.2, RFC 8441 §3 and RFC 9218 §2.1. */
export const SETTING = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
  ENABLE_CONNECT_PROTOCOL: 8,
  NO_RFC7540_PRIORITIES: 9,
} as const;

/** Takes one frame, whose payload is `bytes[from, to)`; false stops the reader for good. `bytes` is valid as long as its receiver keeps it. */
type FrameSink = (
  type: number,
  flags: number,
  streamId: number,
  bytes: Uint8Array,
  from: number,
  to: number,
) => boolean;

/** Bytes before each payload (RFC 9113 §4.1). */
export const HEADER_BYTES = 9;
const NO_BYTES = new Uint8Array(0);

/** Cuts a byte stream into frames, in whatever pieces it comes. */
export class FrameReader {
  private rest: Uint8Array = NO_BYTES;
  /** Filled part of `rest`, which is allocated for the whole frame once its length is known. */
  private filled = 0;
  private stopped = false;
  private readonly sink: FrameSink;
  private readonly onTooLong: () => void;

  /** `onTooLong`: a frame exceeds 16,384 bytes (FRAME_SIZE_ERROR); reading has stopped. */
  constructor(sink: FrameSink, onTooLong: () => void) {
    this.sink = sink;
    this.onTooLong = onTooLong;
  }

  /** Whether the rest of a HEADERS or CONTINUATION frame is still to come. */
  get holdsHeaders(): boolean {
    const type = this.filled > 3 ? this.rest[3] : -1;
    return type === FRAME.HEADERS || type === FRAME.CONTINUATION;
  }

  /** Reads on. Frames inside one chunk are views of it; only a frame over two chunks is copied. */
  push(chunk: Uint8Array): void {
    let at = 0;
    if (this.filled > 0) at = this.complete(chunk);
    while (!this.stopped && chunk.length - at >= HEADER_BYTES) {
      const size = HEADER_BYTES + frameLength(chunk, at);
      if (this.refuses(size)) return;
      if (chunk.length - at < size) break;
      this.deliver(chunk, at, size);
      at += size;
    }
    if (!this.stopped && at < chunk.length) this.keep(chunk, at);
  }

  private complete(chunk: Uint8Array): number {
    let at = 0;
    while (this.filled < HEADER_BYTES && at < chunk.length) this.rest[this.filled++] = chunk[at++] as number;
    if (this.filled < HEADER_BYTES) return at;
    const size = HEADER_BYTES + frameLength(this.rest, 0);
    if (this.refuses(size)) return at;
    if (this.rest.length < size) this.grow(size);
    const take = Math.min(size - this.filled, chunk.length - at);
    this.rest.set(chunk.subarray(at, at + take), this.filled);
    this.filled += take;
    at += take;
    if (this.filled === size) {
      const frame = this.rest;
      this.filled = 0;
      this.rest = NO_BYTES;
      this.deliver(frame, 0, size);
    }
    return at;
  }

  private keep(chunk: Uint8Array, at: number): void {
    const have = chunk.length - at;
    const size = have >= HEADER_BYTES ? HEADER_BYTES + frameLength(chunk, at) : HEADER_BYTES;
    this.rest = Buffer.allocUnsafe(size);
    this.rest.set(chunk.subarray(at));
    this.filled = have;
  }

  private grow(size: number): void {
    const larger = Buffer.allocUnsafe(size);
    larger.set(this.rest.subarray(0, this.filled));
    this.rest = larger;
  }

  private refuses(size: number): boolean {
    if (size <= HEADER_BYTES + FRAME_BYTES_MAX) return false;
    this.stopped = true;
    this.onTooLong();
    return true;
  }

  private deliver(bytes: Uint8Array, at: number, size: number): void {
    const streamId = readUint32(bytes, at + 5) & 0x7fffffff;
    const goesOn = this.sink(
      bytes[at + 3] as number,
      bytes[at + 4] as number,
      streamId,
      bytes,
      at + HEADER_BYTES,
      at + size,
    );
    if (!goesOn) this.stopped = true;
  }
}

function frameLength(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
}

/** An unsigned 32-bit number in network order. */
export function readUint32(bytes: Uint8Array, at: number): number {
  const low = ((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
  return (bytes[at] as number) * 0x1000000 + low;
}

/** The payload without padding, or null when the padding exceeds it (PROTOCOL_ERROR, RFC 9113 §6.1). */
export function withoutPadding(flags: number, payload: Uint8Array): Uint8Array | null {
  if ((flags & FLAG.PADDED) === 0) return payload;
  const padding = payload[0];
  if (padding === undefined || padding >= payload.length) return null;
  return payload.subarray(1, payload.length - padding);
}

/** A 9-byte frame header followed by `room` bytes for the payload. */
export function frame(type: number, flags: number, streamId: number, length: number, room = length): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + room);
  putHeader(bytes, type, flags, streamId, length);
  return bytes;
}

/** Writes a frame's header at the beginning of `bytes`. */
export function putHeader(bytes: Buffer, type: number, flags: number, streamId: number, length: number): void {
  bytes[0] = length >>> 16;
  bytes[1] = length >>> 8;
  bytes[2] = length;
  bytes[3] = type;
  bytes[4] = flags;
  bytes[5] = streamId >>> 24;
  bytes[6] = streamId >>> 16;
  bytes[7] = streamId >>> 8;
  bytes[8] = streamId;
}

/** A header block as HEADERS and as many CONTINUATIONs as the peer's frame size asks for, in one slab. */
export function headersFrames(streamId: number, block: Uint8Array, end: boolean, frameBytesMax: number): Uint8Array {
  const flags = end ? FLAG.END_STREAM : 0;
  if (block.length <= frameBytesMax) {
    const bytes = frame(FRAME.HEADERS, flags | FLAG.END_HEADERS, streamId, block.length);
    bytes.set(block, HEADER_BYTES);
    return bytes;
  }
  // Slow path: more than 16 KiB of coded headers.
  const frames: Uint8Array[] = [];
  for (let at = 0; at < block.length; at += frameBytesMax) {
    const part = block.subarray(at, at + frameBytesMax);
    const last = at + part.length === block.length ? FLAG.END_HEADERS : 0;
    frames.push(
      frame(at === 0 ? FRAME.HEADERS : FRAME.CONTINUATION, at === 0 ? flags | last : last, streamId, part.length, 0),
    );
    frames.push(part);
  }
  return Buffer.concat(frames);
}

/** WINDOW_UPDATE (RFC 9113 §6.9), RST_STREAM (§6.4): four bytes of payload. */
export function wordFrame(type: number, streamId: number, word: number): Uint8Array {
  const bytes = frame(type, 0, streamId, 4);
  bytes.writeUInt32BE(word >>> 0, HEADER_BYTES);
  return bytes;
}

/** SETTINGS with `[id, value, ...]` (RFC 9113 §6.5). */
export function settingsFrame(settings: readonly number[]): Uint8Array {
  const bytes = frame(FRAME.SETTINGS, 0, 0, settings.length * 3);
  for (let i = 0; i < settings.length; i += 2) {
    bytes.writeUInt16BE(settings[i] as number, HEADER_BYTES + i * 3);
    bytes.writeUInt32BE(settings[i + 1] as number, HEADER_BYTES + i * 3 + 2);
  }
  return bytes;
}

/** The answer to SETTINGS (RFC 9113 §6.5.3). */
export function settingsAckFrame(): Uint8Array {
  return frame(FRAME.SETTINGS, FLAG.ACK, 0, 0);
}

/** PING with eight opaque bytes (RFC 9113 §6.7). */
export function pingFrame(ack: boolean, opaque: Uint8Array): Uint8Array {
  const bytes = frame(FRAME.PING, ack ? FLAG.ACK : 0, 0, 8);
  bytes.set(opaque, HEADER_BYTES);
  return bytes;
}

/** GOAWAY (RFC 9113 §6.8), without debug data. */
export function goawayFrame(lastStreamId: number, code: number): Uint8Array {
  const bytes = frame(FRAME.GOAWAY, 0, 0, 8);
  bytes.writeUInt32BE(lastStreamId, HEADER_BYTES);
  bytes.writeUInt32BE(code, HEADER_BYTES + 4);
  return bytes;
}
