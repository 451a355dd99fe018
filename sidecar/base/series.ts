// Who owns which slot of the counter memory. Main alone decides; workers ask once per new label set. A metric has a
// maximum of label sets, and what comes after shares one called `overflow`, so that labels made from requests
// cannot fill the memory.

import assert from 'node:assert/strict';
import { allColumns, type CounterMemory, counterColumn, sumSlot } from './counters.ts';
import { LIMITS } from './limits.ts';

/** A metric as registered; gauges go down again when work ends, histograms have bucket `bounds`. */
export interface Metric {
  readonly name: string;
  readonly kind: 'counter' | 'gauge' | 'histogram';
  /** Upper bounds of buckets, ascending; empty unless a histogram. */
  readonly bounds: readonly number[];
  /** Label sets, `overflow` not counted. */
  readonly seriesMax: number;
}

/** A label set of a metric and its first slot. `labels` is whatever text the caller keys by. */
export interface Series {
  readonly metric: Metric;
  readonly labels: string;
  readonly slot: number;
}

/** The labels of the series that is shared when a metric has too many. */
export const OVERFLOW_LABELS = 'overflow';

interface Owned extends Series {
  lastTotal: number;
  changedMs: number;
}

interface Registered {
  readonly metric: Metric;
  readonly overflow: Owned;
  readonly series: Map<string, Owned>;
}

/** The table; lives on the main thread. */
export class SeriesTable {
  private readonly memory: CounterMemory;
  private readonly all: Float64Array;
  private readonly idleMs: number;
  private readonly metrics = new Map<string, Registered>();
  /** Freed runs of slots by length. */
  private readonly free = new Map<number, number[]>();
  private nextSlot = 0;

  /** Series without change for `idleMs` (default 10 min) are given back by `sweep`. */
  constructor(memory: CounterMemory, idleMs: number = LIMITS.seriesIdleMs) {
    this.memory = memory;
    this.all = allColumns(memory);
    this.idleMs = idleMs;
  }

  /** Registers a metric and its overflow series. Once per name, at start: too little memory is a bug. */
  register(
    name: string,
    kind: Metric['kind'],
    bounds: readonly number[] = [],
    seriesMax: number = LIMITS.seriesMax,
  ): Metric {
    assert(!this.metrics.has(name), `metric ${name} is registered twice`);
    const metric: Metric = { name, kind, bounds, seriesMax };
    const slot = this.allocate(width(metric));
    assert(slot >= 0, `the counter memory is too small for metric ${name}`);
    this.metrics.set(name, { metric, overflow: own(metric, OVERFLOW_LABELS, slot, 0), series: new Map() });
    return metric;
  }

  /** The series of `labels`, made if new; the overflow series when the metric or the memory is full. */
  acquire(metric: Metric, labels: string, nowMs: number): Series {
    const registered = this.registered(metric);
    const known = registered.series.get(labels);
    if (known !== undefined) {
      known.changedMs = nowMs;
      return known;
    }
    const slot = registered.series.size < metric.seriesMax ? this.allocate(width(metric)) : -1;
    if (slot < 0) return registered.overflow;
    const series = own(metric, labels, slot, nowMs);
    registered.series.set(labels, series);
    return series;
  }

  /** Every series of `metric`; overflow, last, only once something was counted there. */
  seriesOf(metric: Metric): Series[] {
    const { series, overflow } = this.registered(metric);
    const list: Series[] = [...series.values()];
    if (this.total(overflow) !== 0) list.push(overflow);
    return list;
  }

  /** The sums over all columns: one number, or for histograms the counts per bucket, above the last, and the sum of values. */
  read(series: Series): number[] {
    return Array.from({ length: width(series.metric) }, (_, i) => sumSlot(this.memory, this.all, series.slot + i));
  }

  /**
   * Takes idle series out of the table and returns them; a gauge above zero is not idle. Their slots stay unused
   * until `reuse`, to be called when every worker has forgotten them: before that a worker may still add.
   */
  sweep(nowMs: number): Series[] {
    const idle: Series[] = [];
    for (const { metric, series } of this.metrics.values()) {
      for (const one of series.values()) {
        const total = this.total(one);
        if (total !== one.lastTotal || (metric.kind === 'gauge' && total !== 0)) {
          one.lastTotal = total;
          one.changedMs = nowMs;
        } else if (nowMs - one.changedMs >= this.idleMs) {
          series.delete(one.labels);
          idle.push(one);
        }
      }
    }
    return idle;
  }

  /** Zeroes the slots of what `sweep` returned and hands them out again. No thread may hold them any more. */
  reuse(swept: readonly Series[]): void {
    for (const { metric, slot } of swept) {
      const length = width(metric);
      for (let i = 0; i < length; i += 1) {
        for (let at = slot + i; at < this.all.length; at += this.memory.slots) this.all[at] = 0;
      }
      const runs = this.free.get(length);
      if (runs === undefined) this.free.set(length, [slot]);
      else runs.push(slot);
    }
  }

  /**
   * Empties the column of a worker that died: what it had in flight is gone, what it counted moves to main's column,
   * since a counter that goes down looks like a restart. Call it on the thread that owns column 0, before the
   * worker's successor starts.
   */
  retire(column: number): void {
    assert(column !== 0, "main's own column is never retired");
    const dead = counterColumn(this.memory, column);
    const main = counterColumn(this.memory, 0);
    for (const { metric, overflow, series } of this.metrics.values()) {
      if (metric.kind === 'gauge') continue;
      for (const one of [overflow, ...series.values()]) {
        const end = one.slot + width(metric);
        for (let slot = one.slot; slot < end; slot += 1) main[slot] = (main[slot] as number) + (dead[slot] as number);
      }
    }
    dead.fill(0);
  }

  private registered(metric: Metric): Registered {
    const registered = this.metrics.get(metric.name);
    assert(registered !== undefined, `metric ${metric.name} is not registered`);
    return registered;
  }

  /** Something that changes with every count: the number itself, or the observations of a histogram. */
  private total(series: Series): number {
    const length = series.metric.kind === 'histogram' ? series.metric.bounds.length + 1 : 1;
    let total = 0;
    for (let i = 0; i < length; i += 1) total += sumSlot(this.memory, this.all, series.slot + i);
    return total;
  }

  private allocate(length: number): number {
    const reused = this.free.get(length)?.pop();
    if (reused !== undefined) return reused;
    if (this.nextSlot + length > this.memory.slots) return -1;
    const slot = this.nextSlot;
    this.nextSlot += length;
    return slot;
  }
}

function own(metric: Metric, labels: string, slot: number, nowMs: number): Owned {
  return { metric, labels, slot, lastTotal: 0, changedMs: nowMs };
}

function width(metric: Metric): number {
  return metric.kind === 'histogram' ? metric.bounds.length + 2 : 1;
}
