// Memory for the bytes of bodies, used again. V8 counts memory outside of its heap as if it were inside: a buffer of its own
// for each read of a body makes it mark the whole heap many times a second, which is a third of what moving bytes costs.
//
// A chunk belongs to its receiver, who may keep it for ever. So a slab is used again only when each of its bytes is known to
// be held by nobody: read as a head or as framing, or passed on by a relay that keeps nothing and taken by the kernel. Whoever
// says nothing of a chunk is safe; its slab goes to the garbage collector.

import { noteMoved } from '../base/minor-collection.ts';

/** Eight system calls a MiB. With 256 KiB the slabs of a few busy connections no longer fit into a core's caches; 64 KiB cost more calls. */
export const SLAB_BYTES = 128 * 1024;
/** Connections that read into slabs at a time: 8 MiB a thread. Others copy what they read. */
export const READERS_MAX = 64;
/** Slabs that wait for their next use: 2 MiB. */
const FREE_MAX = 16;

const SLAB = Symbol('slab');
type Marked = { [SLAB]?: Slab };

const free: Slab[] = [];
let readers = 0;

/** Memory that one connection reads into, from its start to its end, and others after it. */
export class Slab {
  readonly bytes: Buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
  /** Nothing more is read into it. */
  private isFull = false;
  /** Bytes given to receivers; of them those that were parsed away, and those passed on to be written. */
  private given = 0;
  private parsed = 0;
  private passed = 0;
  /** Bytes that the kernel has taken, whoever passed them. */
  private written = 0;

  constructor() {
    (this.bytes.buffer as Marked)[SLAB] = this;
  }

  /** A receiver gets `bytes` of it. */
  give(bytes: number): void {
    this.given += bytes;
  }

  /** Of what was given, `bytes` are held by nobody: they became strings, numbers or copies. */
  noteParsed(bytes: number): void {
    this.parsed += bytes;
    this.settle();
  }

  /** Of what was given, `bytes` will be written once, and nobody else holds them. */
  notePassed(bytes: number): void {
    this.passed += bytes;
  }

  /** The kernel, or a copy, has `bytes` of it. */
  noteWritten(bytes: number): void {
    this.written += bytes;
    this.settle();
  }

  /** Nothing more is read into it. */
  fill(): void {
    this.isFull = true;
    this.settle();
  }

  private settle(): void {
    if (!this.isFull || this.parsed + this.passed !== this.given || this.written !== this.passed) return;
    this.isFull = false;
    this.given = 0;
    this.parsed = 0;
    this.passed = 0;
    this.written = 0;
    if (free.length < FREE_MAX) free.push(this);
  }
}

/** The slab that a chunk lies in; undefined: memory of its own, or of Node's pool. */
export function slabOf(chunk: Uint8Array): Slab | undefined {
  return (chunk.buffer as Marked)[SLAB];
}

/** One more connection reads into slabs; false: there are enough. */
export function joinReaders(): boolean {
  if (readers >= READERS_MAX) return false;
  readers++;
  return true;
}

export function leaveReaders(): void {
  readers--;
}

/** The slab used last, as its memory is in the caches, or a new one in place of one that became garbage. */
export function takeSlab(): Slab {
  const used = free.pop();
  if (used !== undefined) return used;
  noteMoved(SLAB_BYTES);
  return new Slab();
}
