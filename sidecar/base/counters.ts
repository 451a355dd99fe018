// Counters, gauges and histograms of all workers in one SharedArrayBuffer. Each worker adds to its own column with a
// plain addition (one writer, so no atomics); main sums the columns at scrape. A number is an aligned Float64:
// exact to 2^53 and never torn on the 64-bit machines that Node runs on.

import assert from 'node:assert/strict';

/** Slots per cache line; columns begin on one so that workers do not share lines. */
const LINE_SLOTS = 8;

/** What a worker is handed to find its column; can be sent by postMessage. */
export interface CounterMemory {
  readonly buffer: SharedArrayBuffer;
  /** Writers. Column 0 is main's, where a dead worker's counts also end up. */
  readonly columns: number;
  /** Numbers in a column. */
  readonly slots: number;
}

/** Zeroed memory for `columns` writers with at least `slots` numbers each (8 bytes a number and column). */
export function createCounterMemory(columns: number, slots: number): CounterMemory {
  assert(columns >= 1 && slots >= 1, 'counter memory needs a column and a slot');
  const rounded = Math.ceil(slots / LINE_SLOTS) * LINE_SLOTS;
  return { buffer: new SharedArrayBuffer(columns * rounded * 8), columns, slots: rounded };
}

/** The numbers of one writer, indexed by slot; add with `column[slot] += n`. Only its own thread may write to it. */
export function counterColumn(memory: CounterMemory, column: number): Float64Array {
  assert(column >= 0 && column < memory.columns, 'no such counter column');
  return new Float64Array(memory.buffer, column * memory.slots * 8, memory.slots);
}

/** The sum of `slot` over all columns: how a worker reads what is in flight everywhere. */
export function sumSlot(memory: CounterMemory, all: Float64Array, slot: number): number {
  let sum = 0;
  for (let at = slot; at < all.length; at += memory.slots) sum += all[at] as number;
  return sum;
}

/** All columns one after the other, for `sumSlot`. */
export function allColumns(memory: CounterMemory): Float64Array {
  return new Float64Array(memory.buffer);
}

/**
 * Adds `value` to the histogram at `slot`: one count per bucket (upper bounds included, ascending), one above the
 * last bound, then the sum of values. Takes `bounds.length + 2` slots.
 */
export function observe(column: Float64Array, slot: number, bounds: readonly number[], value: number): void {
  let bucket = 0;
  while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket += 1;
  column[slot + bucket] = (column[slot + bucket] as number) + 1;
  const sum = slot + bounds.length + 1;
  column[sum] = (column[sum] as number) + value;
}
