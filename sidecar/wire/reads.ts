// Where sockets read to. A 'data' event of Node allocates 64 KiB for each read, however short; here all connections of a
// thread read into one buffer, from which short reads are copied, and a connection in the midst of a body reads into slabs,
// which are handed over as they are.

import type { Socket } from 'node:net';
import { joinReaders, leaveReaders, type Slab, takeSlab } from './slab.ts';

/** All connections but those in a body read into this. As much as libuv asks for. */
const shared = Buffer.allocUnsafeSlow(64 * 1024);

/** Reads of this size and above are of a body, and what follows will be long, too. Half a TLS record. */
const BODY_READ_BYTES = 8 * 1024;
/** The end of a slab is read into while it has room for a TLS record, which else came in two pieces. */
const REST_BYTES_MIN = 16 * 1024;

/**
 * Where a socket keeps what its option `onread` says. Node takes the option for sockets that it connects; those that it
 * accepts have the same places under symbols that are Node's own, found by their names.
 */
interface Places {
  readonly buffer: symbol;
  readonly callback: symbol;
  readonly generator: symbol;
}

type Placed = Socket & Record<symbol, unknown> & { _handle?: { useUserBuffer?(buffer: Uint8Array): void } | null };

/** Undefined until the first socket comes; null: this Node has no such places. */
let places: Places | null | undefined;

/** Where the connection that is read just now reads next; null: where it has read. */
let next: Buffer | null = null;

const READER = Symbol('reader');

/**
 * Gives every chunk of `socket` to `receive`, which owns it. By 'data' events where the socket has no handle of Node's, or
 * this Node no places: slower, and all the same otherwise.
 */
export function readFrom(socket: Socket, receive: (chunk: Buffer) => void): Reader {
  const placed = socket as Placed;
  places ??= placesOf(placed);
  // What was read before, and put back, comes as an event in any case.
  socket.on('data', receive);
  const reader = new Reader(receive);
  const handle = placed._handle;
  if (places === null || typeof handle?.useUserBuffer !== 'function') return reader;
  placed[READER] = reader;
  placed[places.buffer] = shared;
  placed[places.callback] = onRead;
  placed[places.generator] = nextBuffer;
  handle.useUserBuffer(shared);
  return reader;
}

function placesOf(socket: Placed): Places | null {
  const symbols = Object.getOwnPropertySymbols(socket);
  const named = (name: string): symbol | undefined => symbols.find(({ description }) => description === name);
  const [buffer, callback, generator] = [named('kBuffer'), named('kBufferCb'), named('kBufferGen')];
  if (buffer === undefined || callback === undefined || generator === undefined) return null;
  return { buffer, callback, generator };
}

/** Node calls it as a method of the socket, and `nextBuffer` right behind it: neither needs a closure a connection. */
function onRead(this: Placed, bytes: number, buffer: Buffer): boolean {
  next = (this[READER] as Reader).take(bytes, buffer);
  return true;
}

function nextBuffer(): Buffer | null {
  return next;
}

/** What reads for one connection. */
export class Reader {
  private readonly receive: (chunk: Buffer) => void;
  /** What it reads into, when not into `shared`. */
  private slab: Slab | null = null;

  constructor(receive: (chunk: Buffer) => void) {
    this.receive = receive;
  }

  /** Hands over `bytes` that lie at the start of `buffer`. The result is where to read next; null: there again. */
  take(bytes: number, buffer: Buffer): Buffer | null {
    const { slab } = this;
    const isBody = bytes >= BODY_READ_BYTES;
    if (slab === null || !isBody) {
      const chunk = Buffer.allocUnsafe(bytes);
      buffer.copy(chunk, 0, 0, bytes);
      const to = isBody ? this.begin() : this.release();
      this.receive(chunk);
      return to;
    }
    slab.give(bytes);
    const to = buffer.length - bytes >= REST_BYTES_MIN ? buffer.subarray(bytes) : this.turn(slab);
    this.receive(buffer.subarray(0, bytes));
    return to;
  }

  /** The connection is closed, or its body is over: it needs no memory of its own. */
  release(): Buffer | null {
    if (this.slab === null) return null;
    leaveReaders();
    this.slab.fill();
    this.slab = null;
    return shared;
  }

  private begin(): Buffer | null {
    if (!joinReaders()) return null;
    this.slab = takeSlab();
    return this.slab.bytes;
  }

  private turn(full: Slab): Buffer {
    full.fill();
    this.slab = takeSlab();
    return this.slab.bytes;
  }
}
