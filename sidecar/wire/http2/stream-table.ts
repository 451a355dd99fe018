// The open streams of a connection by id: open addressing with linear probing. Not a Map: each table that a Map
// outgrows or tidies points to its successor, so that one dead table in V8's old space keeps all later ones and
// every request they ever held until the next full collection. With a stream per request that was half of all memory.

import type { Http2Stream } from './stream.ts';

/** A power of two. */
const SLOTS_MIN = 16;

/** Streams by id, at most half full. */
export class StreamTable {
  size = 0;
  private slots: (Http2Stream | null)[] = new Array(SLOTS_MIN).fill(null);

  get(id: number): Http2Stream | undefined {
    const { slots } = this;
    const mask = slots.length - 1;
    for (let at = home(id, mask); ; at = (at + 1) & mask) {
      const stream = slots[at] as Http2Stream | null;
      if (stream === null) return undefined;
      if (stream.id === id) return stream;
    }
  }

  has(id: number): boolean {
    return this.get(id) !== undefined;
  }

  /** Adds a stream whose id is not in the table. */
  add(stream: Http2Stream): void {
    if ((this.size + 1) * 2 > this.slots.length) this.grow();
    this.size++;
    this.put(stream);
  }

  /** Says whether it was there. */
  delete(id: number): boolean {
    const { slots } = this;
    const mask = slots.length - 1;
    let hole = home(id, mask);
    for (; ; hole = (hole + 1) & mask) {
      const stream = slots[hole] as Http2Stream | null;
      if (stream === null) return false;
      if (stream.id === id) break;
    }
    // Whatever was pushed beyond the hole by it moves back, so that no probe ends early (Knuth 6.4, algorithm R).
    for (let at = (hole + 1) & mask; ; at = (at + 1) & mask) {
      const stream = slots[at] as Http2Stream | null;
      if (stream === null) break;
      if (((at - home(stream.id, mask)) & mask) < ((at - hole) & mask)) continue;
      slots[hole] = stream;
      hole = at;
    }
    slots[hole] = null;
    this.size--;
    return true;
  }

  clear(): void {
    this.slots = new Array(SLOTS_MIN).fill(null);
    this.size = 0;
  }

  /** A copy, which holds while streams come and go. */
  list(): Http2Stream[] {
    return this.slots.filter((stream) => stream !== null);
  }

  private grow(): void {
    const old = this.slots;
    this.slots = new Array(old.length * 2).fill(null);
    for (const stream of old) if (stream !== null) this.put(stream);
  }

  private put(stream: Http2Stream): void {
    const { slots } = this;
    const mask = slots.length - 1;
    let at = home(stream.id, mask);
    while (slots[at] !== null) at = (at + 1) & mask;
    slots[at] = stream;
  }
}

/** Ids of one side have one parity. A peer that chooses ids to collide makes a look-up as long as its streams are many, which the limits bound. */
function home(id: number, mask: number): number {
  return (id >>> 1) & mask;
}
