// From syntax tree to Thompson NFA. Characters are first grouped into classes that the pattern cannot tell apart,
// so that a DFA state needs one link per class and not one per code point.

import type { Node, Range } from './regex-parse.ts';

/** Reads one character of a set. */
export const CHARS = 0;
/** Goes two ways. Also stands for a jump, both ways being the same. */
export const SPLIT = 1;
/** Passes at the start of the text only. */
export const START = 2;
/** Passes at the end of the text only. */
export const END = 3;
/** The pattern is complete; accepted only at the end of the text. */
export const ACCEPT = 4;

/** Instructions a pattern may have: bounds the time per character. RE2 has no such low default; Envoy's was 100. */
const INSTRUCTIONS_MAX = 1_000;
/** Nodes visited while repeating; stops counts of counts of nothing, which give no instructions. */
const VISITS_MAX = 20_000;

/** Parallel arrays; an instruction falls through to the next unless it is a split. */
export interface Program {
  readonly ops: readonly number[];
  /** Of a split: one way. Of CHARS: the index of its set. */
  readonly targets: readonly number[];
  /** Of a split: the other way. */
  readonly others: readonly number[];
  /** Per set: 1 at each class that belongs to it. */
  readonly sets: readonly Uint8Array[];
  /** The class of a code point. */
  classOf(point: number): number;
}

/** Assembles `node`; null when the program would be too large. */
export function assemble(node: Node): Program | null {
  const assembler = new Assembler();
  if (!assembler.emit(node)) return null;
  assembler.push(ACCEPT, 0, 0);
  return assembler.finish();
}

class Assembler {
  private readonly ops: number[] = [];
  private readonly targets: number[] = [];
  private readonly others: number[] = [];
  private readonly ranges: (readonly Range[])[] = [];
  private readonly setOf = new Map<readonly Range[], number>();
  private visits = 0;

  push(op: number, target: number, other: number): number {
    this.targets.push(target);
    this.others.push(other);
    return this.ops.push(op) - 1;
  }

  /** False when a bound is passed. */
  emit(node: Node): boolean {
    this.visits += 1;
    if (this.ops.length >= INSTRUCTIONS_MAX || this.visits > VISITS_MAX) return false;
    switch (node.kind) {
      case 'chars':
        this.push(CHARS, this.set(node.ranges), 0);
        return true;
      case 'start':
        this.push(START, 0, 0);
        return true;
      case 'end':
        this.push(END, 0, 0);
        return true;
      case 'sequence':
        return node.items.every((item) => this.emit(item));
      case 'choice':
        return this.emitChoice(node.items);
      case 'repeat':
        return this.emitRepeat(node.item, node.min, node.max);
    }
  }

  finish(): Program {
    const { starts, classOf } = classify(this.ranges);
    const sets = this.ranges.map((ranges) =>
      Uint8Array.from(starts, (start) => (ranges.some(([from, to]) => from <= start && start <= to) ? 1 : 0)),
    );
    return { ops: this.ops, targets: this.targets, others: this.others, sets, classOf };
  }

  private emitChoice(items: readonly Node[]): boolean {
    const exits: number[] = [];
    for (const [index, item] of items.entries()) {
      const last = index === items.length - 1;
      const split = last ? -1 : this.push(SPLIT, this.ops.length + 1, 0);
      if (!this.emit(item)) return false;
      if (last) continue;
      exits.push(this.push(SPLIT, 0, 0));
      this.others[split] = this.ops.length;
    }
    for (const exit of exits) {
      this.targets[exit] = this.ops.length;
      this.others[exit] = this.ops.length;
    }
    return true;
  }

  private emitRepeat(item: Node, min: number, max: number): boolean {
    for (let i = 0; i < min; i += 1) if (!this.emit(item)) return false;
    if (max === Number.POSITIVE_INFINITY) {
      const split = this.push(SPLIT, this.ops.length + 1, 0);
      if (!this.emit(item)) return false;
      this.push(SPLIT, split, split);
      this.others[split] = this.ops.length;
      return true;
    }
    const splits: number[] = [];
    for (let i = min; i < max; i += 1) {
      splits.push(this.push(SPLIT, this.ops.length + 1, 0));
      if (!this.emit(item)) return false;
    }
    for (const split of splits) this.others[split] = this.ops.length;
    return true;
  }

  private set(ranges: readonly Range[]): number {
    let index = this.setOf.get(ranges);
    if (index === undefined) {
      index = this.ranges.push(ranges) - 1;
      this.setOf.set(ranges, index);
    }
    return index;
  }
}

/** Cuts the code points wherever some set begins or ends; a class is what lies between two cuts. */
function classify(sets: readonly (readonly Range[])[]): { starts: number[]; classOf(point: number): number } {
  const cuts = new Set([0]);
  for (const ranges of sets) {
    for (const [from, to] of ranges) {
      cuts.add(from);
      cuts.add(to + 1);
    }
  }
  const starts = [...cuts].sort((a, b) => a - b);
  const search = (point: number): number => {
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((starts[middle] as number) <= point) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const ascii = Uint16Array.from({ length: 128 }, (_, point) => search(point));
  return { starts, classOf: (point) => (point < 128 ? (ascii[point] as number) : search(point)) };
}
