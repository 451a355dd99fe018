// The sending half of a connection: header blocks, and DATA within what both windows and the socket allow.

import type { ByteConnection } from '../socket.ts';
import type { Head } from '../stream.ts';
import type { FloodGuard } from './flood.ts';
import * as frames from './frames.ts';
import { FLAG, FRAME } from './frames.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import * as limits from './limits.ts';
import { type Priority, SendQueue } from './send-queue.ts';
import type { Http2Stream } from './stream.ts';

/** The largest window (RFC 9113 §6.9.1). */
export const WINDOW_MAX = 0x7fffffff;

/** Written into and copied out again before anything else runs. */
const dataHeader = Buffer.alloc(frames.HEADER_BYTES);

/** What the sender needs of its connection. */
export interface SenderHost {
  readonly closed: boolean;
  /** END_STREAM went out. */
  endLocal(stream: Http2Stream): void;
}

/** What leaves one connection. */
export class Sender {
  /** What the peer lets a new stream send (RFC 9113 §6.5.2). */
  initialWindow = 65535;
  /** DATA bytes that went out, ever. */
  sentBytes = 0;
  private readonly host: SenderHost;
  private readonly socket: ByteConnection;
  private readonly guard: FloodGuard;
  private readonly encoder = new HpackEncoder();
  private readonly waiting = new SendQueue();
  private window = 65535;
  private frameBytes = limits.FRAME_BYTES_MAX;
  private isFull = false;

  constructor(host: SenderHost, socket: ByteConnection, guard: FloodGuard) {
    this.host = host;
    this.socket = socket;
    this.guard = guard;
  }

  sendHead(stream: Http2Stream, head: Head, end: boolean): void {
    stream.headSent = true;
    this.encoder.start();
    if (head.status > 0) {
      stream.isAnswered = head.status >= 200;
      // A CONNECT that is refused is an ordinary request.
      if (head.status >= 300) stream.isConnect = false;
      this.encoder.field(':status', String(head.status));
    } else {
      stream.isHeadRequest = head.method === 'HEAD';
      stream.isConnect = head.method === 'CONNECT' || head.protocol !== '';
      if (head.protocol !== '' && head.method !== 'CONNECT') stream.upgrade = head.protocol;
      this.requestPseudo(head);
    }
    this.encoder.fields(head.headers);
    this.sendBlock(stream, end);
  }

  /** Sends what windows and socket allow of the stream's queue, and its end. */
  pump(stream: Http2Stream): void {
    const { host } = this;
    if (stream.headHeld) return;
    while (stream.queue.length > 0) {
      if (host.closed || !this.sendChunk(stream)) {
        // Without a window of its own it comes back with its WINDOW_UPDATE.
        if (stream.sendWindow > 0) this.waiting.add(stream);
        return;
      }
    }
    if (stream.isWaiting) this.waiting.remove(stream);
    if (!stream.endQueued || stream.localEnded || stream.dead || host.closed) return;
    if (stream.trailers === null) {
      this.writeDataHeader(FLAG.END_STREAM, stream.id, 0);
      host.endLocal(stream);
      return;
    }
    this.encoder.start();
    this.encoder.fields(stream.trailers);
    this.sendBlock(stream, true);
  }

  /** A frame for each waiting stream in its turn, until the socket or the connection's window stops them. */
  private pumpAll(): void {
    const relieved: Http2Stream[] = [];
    for (let stream = this.waiting.first(); stream !== null; stream = this.waiting.first()) {
      if (this.isFull || this.window <= 0 || this.host.closed) break;
      if (stream.wantsDrain) relieved.push(stream);
      if (!this.sendChunk(stream)) this.waiting.remove(stream);
      else if (stream.queue.length === 0) this.pump(stream);
      else this.waiting.served(stream);
    }
    // Behind the loop: who hears of room writes at once.
    for (const stream of relieved) stream.drained();
  }

  /** Whether the peer has to give the connection a window before anything goes on. */
  get isShut(): boolean {
    return this.window <= 0;
  }

  /** The socket has room again. */
  onSocketDrain(): void {
    this.isFull = false;
    this.pumpAll();
  }

  /** WINDOW_UPDATE of the connection; false: the window overflows. */
  widen(bytes: number): boolean {
    this.window += bytes;
    if (this.window > WINDOW_MAX) return false;
    this.pumpAll();
    return true;
  }

  /** WINDOW_UPDATE of a stream; false: its window overflows. */
  widenStream(stream: Http2Stream, bytes: number): boolean {
    stream.sendWindow += bytes;
    if (stream.sendWindow > WINDOW_MAX) return false;
    this.resume(stream);
    return true;
  }

  /** The stream's window may have grown. */
  resume(stream: Http2Stream): void {
    if (stream.queue.length > 0) this.pump(stream);
    stream.drained();
  }

  /** PRIORITY_UPDATE. */
  prioritize(stream: Http2Stream, priority: Priority): void {
    this.waiting.update(stream, priority);
  }

  /** The peer's MAX_FRAME_SIZE. */
  setFrameBytes(bytes: number): void {
    this.frameBytes = Math.min(bytes, limits.STREAM_QUEUE_BYTES);
  }

  /** The peer's HEADER_TABLE_SIZE. */
  setTableSize(bytes: number): void {
    this.encoder.setTableSize(bytes);
  }

  /** Nothing more is sent on the stream. */
  drop(stream: Http2Stream): void {
    this.waiting.remove(stream);
  }

  /** Nothing more is sent at all. */
  dropAll(): void {
    this.waiting.clear();
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
    if (length > this.frameBytes) {
      // Slow path: more than 16 KiB of coded headers.
      this.noteRoom(this.socket.write(frames.headersFrames(stream.id, encoder.finish(), end, this.frameBytes)));
    } else {
      const frame = encoder.framed;
      const flags = end ? FLAG.END_HEADERS | FLAG.END_STREAM : FLAG.END_HEADERS;
      frames.putHeader(frame, FRAME.HEADERS, flags, stream.id, length);
      this.noteRoom(this.socket.writeCopy(frame, frames.HEADER_BYTES + length));
    }
    if (!end) return;
    stream.endQueued = true;
    this.host.endLocal(stream);
  }

  private writeDataHeader(flags: number, id: number, length: number): void {
    frames.putHeader(dataHeader, FRAME.DATA, flags, id, length);
    this.noteRoom(this.socket.writeCopy(dataHeader, frames.HEADER_BYTES));
  }

  private noteRoom(room: boolean): void {
    if (!room) this.isFull = true;
  }

  /** Sends at most one frame of the queue; false when windows or socket say stop. */
  private sendChunk(stream: Http2Stream): boolean {
    const room = Math.min(stream.sendWindow, this.window);
    if (room <= 0 || this.isFull) return false;
    const chunk = stream.queue[0] as Uint8Array;
    const size = Math.min(chunk.length, room, this.frameBytes);
    const whole = size === chunk.length;
    if (whole) stream.queue.shift();
    else stream.queue[0] = chunk.subarray(size);
    const end = whole && stream.queue.length === 0 && stream.endQueued && stream.trailers === null;
    stream.sent(size);
    this.window -= size;
    this.sentBytes += size;
    this.guard.earn('windowUpdate', limits.WINDOW_UPDATES_PER_DATA);
    this.writeDataHeader(end ? FLAG.END_STREAM : 0, stream.id, size);
    this.noteRoom(this.socket.write(whole ? chunk : chunk.subarray(0, size)));
    if (end) this.host.endLocal(stream);
    return true;
  }
}
