// One connection's bytes, coalesced: everything written during a turn of the event loop leaves as one write,
// flushed in setImmediate. On HTTP/2 that choice alone is worth 3.4x; setImmediate beats process.nextTick by up
// to 1.4x because a turn gathers the frames of every connection that was readable in it.

import type { Socket } from 'node:net';
import { threadHeld } from '../base/held.ts';
import { noteMoved } from '../base/minor-collection.ts';
import { asBuffer } from './bytes.ts';
import type { ProxiedAddresses } from './proxy-protocol.ts';
import { readFrom } from './reads.ts';
import { slabOf } from './slab.ts';

/** What a codec hears of its connection. */
export interface SocketEvents {
  /** Bytes that arrived; the memory belongs to the receiver. */
  onBytes(chunk: Uint8Array): void;
  /** Queued bytes fell below the high-water mark after `write` had returned false. */
  onDrain(): void;
  /** The peer sent FIN: it will write no more, but may still read (half-close). */
  onEnd(): void;
  /** The connection is gone, once, last. The error is null after an orderly close. */
  onClose(error: Error | null): void;
}

/**
 * Queued bytes above which `write` says false. 256 KiB: a few full HTTP/2 windows of small responses, and far
 * below the 1 MiB a connection may hold in Envoy.
 */
export const SOCKET_HIGH_WATER_BYTES = 256 * 1024;

/** Pieces up to this size are copied into one buffer; larger ones are written by reference, since copying costs more than a vector entry. */
const COPY_BYTES_MAX = 4 * 1024;

/** As COPY_BYTES_MAX, for bytes that pass through: a queue of smaller pieces would cost more memory than it holds bytes. */
const PASS_COPY_BYTES_MAX = 512;

/** Where the small pieces of a turn are gathered: sixty small HTTP/2 messages. A socket holds one only while it is dirty. */
const GATHER_BYTES = 16 * 1024;
/** Idle gather buffers kept by the thread: 1 MiB, and more than the sockets of most turns. */
const GATHERS_MAX = 64;
const gathers: Buffer[] = [];
/** Bodies up to this size join the text of their HTTP/1 head: one string is written faster than two pieces are gathered. */
const TEXT_BYTES_MAX = 1024;
/** Copies up to this size go byte by byte. */
const LOOP_BYTES_MAX = 64;

/** The events of a connection that nobody has taken yet. */
export const SILENT: SocketEvents = { onBytes() {}, onDrain() {}, onEnd() {}, onClose() {} };

const dirty: WireSocket[] = [];
let flushArmed = false;

function flushAll(): void {
  flushArmed = false;
  // A flush may make other sockets dirty; they go with the next turn.
  const batch = dirty.splice(0, dirty.length);
  for (let i = 0; i < batch.length; i++) (batch[i] as WireSocket).flush();
}

/** A connection as codecs use it: a socket, or the bytes inside a CONNECT. */
export interface ByteConnection {
  events: SocketEvents;
  readonly isClosed: boolean;
  /** Bytes accepted and not yet taken by the kernel. */
  readonly bufferedBytes: number;
  /** Bytes that the kernel has taken, ever. */
  readonly takenBytes: number;
  /** Queues bytes (a string is latin1, as HTTP/1 heads are). The piece is taken either way; false: wait for onDrain. */
  write(piece: string | Uint8Array): boolean;
  /** As `write`, for bytes that pass through: by reference, but for small ones while others wait. */
  pass(piece: Uint8Array): boolean;
  /** As `write`, of `bytes[0, length)`, which the caller may use again at once. */
  writeCopy(bytes: Buffer, length: number): boolean;
  /** Sends FIN after everything queued. Reading goes on until the peer ends, too. */
  end(): void;
  /** Drops the connection and what is queued. onClose follows. */
  destroy(error?: Error | null): void;
  /** Sends what is queued, then drops the connection whether or not the peer closes its side. */
  destroySoon(): void;
  pause(): void;
  resume(): void;
  /** Runs codec code outside of a socket event: a throw ends this connection and never the worker. */
  guard(run: () => void): void;
}

/** A connection as codecs see it: over TCP, TLS or a unix socket alike. Created around an accepted or connected socket with `allowHalfOpen`. */
export class WireSocket implements ByteConnection {
  events: SocketEvents = SILENT;
  /** The socket underneath: for addresses and TLS facts, never for reading or writing. */
  readonly socket: Socket;
  /** What is queued, in this order: whole pieces, then a text (latin1) or what was gathered, never both. */
  private pieces: Uint8Array[] = [];
  private text = '';
  private gather: Buffer | null = null;
  private gathered = 0;
  private queuedBytes = 0;
  private inFlightBytes = 0;
  /** Bytes that the kernel has taken, ever. */
  takenBytes = 0;
  private isDirty = false;
  private saturated = false;
  private ending = false;
  private closed = false;
  private failure: Error | null = null;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    const reader = readFrom(socket, (chunk) => this.receive(chunk));
    socket.on('end', () => this.guard(() => this.events.onEnd()));
    socket.on('error', (error: Error) => {
      this.failure = error;
    });
    socket.on('close', () => {
      this.closed = true;
      reader.release();
      threadHeld.add(-this.bufferedBytes);
      this.dropQueue();
      this.guard(() => this.events.onClose(this.failure));
    });
  }

  get bufferedBytes(): number {
    return this.queuedBytes + this.inFlightBytes;
  }

  get isClosed(): boolean {
    return this.closed || this.socket.destroyed;
  }

  write(piece: string | Uint8Array): boolean {
    if (this.closed || this.ending) return true;
    if (typeof piece === 'string') this.queueText(piece);
    else if (piece.length > COPY_BYTES_MAX) {
      this.seal();
      this.append(piece);
    } else if (this.text !== '' && piece.length <= TEXT_BYTES_MAX) {
      this.text += asBuffer(piece).toString('latin1');
      slabOf(piece)?.noteWritten(piece.length);
    } else {
      const at = this.room(piece.length);
      (this.gather as Buffer).set(piece, at);
      slabOf(piece)?.noteWritten(piece.length);
    }
    return this.queued(piece.length);
  }

  pass(piece: Uint8Array): boolean {
    if (this.closed || this.ending) return true;
    if (piece.length <= PASS_COPY_BYTES_MAX && this.bufferedBytes > 0) return this.write(piece);
    this.seal();
    this.append(piece);
    return this.queued(piece.length);
  }

  writeCopy(bytes: Buffer, length: number): boolean {
    // Slow path: a header block that fills a frame does not fit into a gather buffer.
    if (length > GATHER_BYTES) return this.write(Buffer.from(bytes.subarray(0, length)));
    if (this.closed || this.ending) return true;
    const at = this.room(length);
    const gather = this.gather as Buffer;
    // A call into the runtime costs more than a few bytes one by one.
    if (length > LOOP_BYTES_MAX) bytes.copy(gather, at, 0, length);
    else for (let i = 0; i < length; i++) gather[at + i] = bytes[i] as number;
    return this.queued(length);
  }

  end(): void {
    if (this.ending || this.closed) return;
    this.ending = true;
    this.markDirty();
  }

  destroy(error: Error | null = null): void {
    if (this.failure === null) this.failure = error;
    this.socket.destroy();
  }

  destroySoon(): void {
    this.flush();
    this.socket.destroySoon();
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  /** Hands the turn's pieces to the socket as one write. For the turn's end; codecs that leave call `destroySoon`. */
  flush(): void {
    this.isDirty = false;
    if (this.closed) return;
    if (this.queuedBytes > 0) this.writeOut();
    if (this.ending) this.socket.end();
  }

  private writeOut(): void {
    const bytes = this.queuedBytes;
    this.queuedBytes = 0;
    this.inFlightBytes += bytes;
    const { text, pieces } = this;
    const done = (error?: Error | null): void => {
      if (!error) noteWritten(pieces);
      this.onWritten(bytes);
    };
    if (pieces.length === 0 && text !== '') {
      this.text = '';
      this.socket.write(text, 'latin1', done);
      return;
    }
    this.seal();
    if (pieces.length === 1) this.socket.write(pieces[0] as Uint8Array, done);
    else this.writeAll(pieces, done);
    this.pieces = [];
  }

  private writeAll(pieces: Uint8Array[], done: () => void): void {
    this.socket.cork();
    const last = pieces.length - 1;
    for (let i = 0; i < last; i++) this.socket.write(pieces[i] as Uint8Array);
    this.socket.write(pieces[last] as Uint8Array, done);
    this.socket.uncork();
  }

  /** What lies behind the last piece makes it longer: reads of a turn leave as one. */
  private append(piece: Uint8Array): void {
    const { pieces } = this;
    const last = pieces.at(-1);
    if (last !== undefined && last.buffer === piece.buffer && last.byteOffset + last.length === piece.byteOffset) {
      pieces[pieces.length - 1] = Buffer.from(last.buffer, last.byteOffset, last.length + piece.length);
    } else pieces.push(piece);
  }

  private queueText(text: string): void {
    if (this.gather === null) {
      this.text = this.text === '' ? text : this.text + text;
      return;
    }
    if (text.length > COPY_BYTES_MAX) {
      this.seal();
      this.text = text;
      return;
    }
    const at = this.room(text.length);
    (this.gather as Buffer).write(text, at, 'latin1');
  }

  /** Where `bytes` more are to be put in `gather`. */
  private room(bytes: number): number {
    if (this.gather !== null && this.gathered + bytes > GATHER_BYTES) this.seal();
    const { text } = this;
    if (text.length + bytes > GATHER_BYTES) this.seal();
    if (this.gather === null) {
      this.gather = gathers.pop() ?? Buffer.allocUnsafeSlow(GATHER_BYTES);
      if (this.text !== '') {
        this.gathered = this.gather.write(text, 0, 'latin1');
        this.text = '';
      }
    }
    const at = this.gathered;
    this.gathered = at + bytes;
    return at;
  }

  /** Makes a piece of the text or of what was gathered; the gather buffer goes to the next socket. */
  private seal(): void {
    const { gather } = this;
    if (gather !== null) {
      const piece = Buffer.allocUnsafe(this.gathered);
      gather.copy(piece, 0, 0, this.gathered);
      this.pieces.push(piece);
      this.dropGather();
    } else if (this.text !== '') {
      this.pieces.push(Buffer.from(this.text, 'latin1'));
      this.text = '';
    }
  }

  private dropGather(): void {
    if (this.gather !== null && gathers.length < GATHERS_MAX) gathers.push(this.gather);
    this.gather = null;
    this.gathered = 0;
  }

  private dropQueue(): void {
    this.pieces = [];
    this.text = '';
    this.queuedBytes = 0;
    this.inFlightBytes = 0;
    this.dropGather();
  }

  private queued(bytes: number): boolean {
    this.queuedBytes += bytes;
    threadHeld.add(bytes);
    if (!this.isDirty) this.markDirty();
    if (this.queuedBytes + this.inFlightBytes < SOCKET_HIGH_WATER_BYTES) return true;
    this.saturated = true;
    return false;
  }

  private onWritten(bytes: number): void {
    this.takenBytes += bytes;
    if (this.closed) return;
    this.inFlightBytes -= bytes;
    threadHeld.add(-bytes);
    if (!this.saturated || this.bufferedBytes >= SOCKET_HIGH_WATER_BYTES / 2) return;
    this.saturated = false;
    this.guard(() => this.events.onDrain());
  }

  private markDirty(): void {
    if (this.isDirty) return;
    this.isDirty = true;
    dirty.push(this);
    if (flushArmed) return;
    flushArmed = true;
    setImmediate(flushAll);
  }

  /** Takes what was read: as `guard`, without a closure. */
  receive(chunk: Buffer): void {
    try {
      this.events.onBytes(chunk);
    } catch (error) {
      contain(this, error as Error);
    }
  }

  guard(run: () => void): void {
    guard(this, run);
  }
}

/** The kernel has them: slabs may be used again, everything else is garbage. */
function noteWritten(pieces: readonly Uint8Array[]): void {
  for (let i = 0; i < pieces.length; i++) {
    const piece = pieces[i] as Uint8Array;
    const slab = slabOf(piece);
    if (slab === undefined) noteMoved(piece.length);
    else slab.noteWritten(piece.length);
  }
}

/** Both ends of a socket, the source being the side that connected; null once it is gone, or over a unix socket. */
export function addressesOf(socket: Socket, role: 'accepted' | 'connected'): ProxiedAddresses | null {
  const { localAddress, localPort, remoteAddress, remotePort } = socket;
  if (localAddress === undefined || localPort === undefined) return null;
  if (remoteAddress === undefined || remotePort === undefined) return null;
  return role === 'connected'
    ? { source: localAddress, sourcePort: localPort, destination: remoteAddress, destinationPort: remotePort }
    : { source: remoteAddress, sourcePort: remotePort, destination: localAddress, destinationPort: localPort };
}

const NOTHING = (): void => {};

let onSocketThrow: (error: Error) => void = NOTHING;

/** Says who counts and logs a throw that was contained to its connection. One per thread; set once at start. */
export function reportSocketThrows(report: (error: Error) => void): void {
  onSocketThrow = report;
}

/** What `guard` does for every kind of connection. */
export function guard(connection: ByteConnection, run: () => void): void {
  try {
    run();
  } catch (error) {
    contain(connection, error as Error);
  }
}

function contain(connection: ByteConnection, error: Error): void {
  onSocketThrow(error);
  connection.destroy(error);
}
