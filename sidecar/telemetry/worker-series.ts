// A worker's side of the counters: objects that are kept where they are counted, so that a request looks nothing up
// by text. A series that main has not given a slot yet adds up here.

import { allColumns, type CounterMemory, counterColumn, observe, sumSlot } from '../base/counters.ts';
import type { FromWorker } from '../base/messages.ts';
import { METRICS, type MetricKey } from '../base/metrics.ts';

/** Not asked for; asked for. A slot is 0 or more. */
const UNKNOWN = -2;
const ASKED = -1;

/** One label set of a counter or gauge; keep it where it is counted. */
export class Counter {
  slot = UNKNOWN;
  private readonly owner: WorkerSeries;
  private readonly family: MetricKey;
  private readonly labels: readonly string[];
  private pending = 0;
  /** Others count in the same slot. */
  private isOverflow = false;

  constructor(owner: WorkerSeries, family: MetricKey, labels: readonly string[]) {
    this.owner = owner;
    this.family = family;
    this.labels = labels;
  }

  add(value: number): void {
    const { column } = this.owner;
    if (this.slot >= 0) column[this.slot] = (column[this.slot] as number) + value;
    else this.wait(value);
  }

  /** What all workers counted; 0 while the slot is not known, or is that of the overflow series. */
  get total(): number {
    const { memory, all } = this.owner;
    return this.slot < 0 || this.isOverflow ? 0 : sumSlot(memory, all, this.slot);
  }

  private wait(value: number): void {
    this.pending += value;
    if (this.slot === UNKNOWN) this.owner.ask(this, this.family, this.labels);
  }

  /** Main's answer. */
  settle(slot: number, isOverflow: boolean): void {
    this.slot = slot;
    this.isOverflow = isOverflow;
    const { pending } = this;
    this.pending = 0;
    if (pending !== 0) this.add(pending);
  }
}

/** One label set of a histogram. */
export class Histogram {
  slot = UNKNOWN;
  private readonly owner: WorkerSeries;
  private readonly family: MetricKey;
  private readonly labels: readonly string[];
  private readonly bounds: readonly number[];
  private pending: Float64Array | null = null;

  constructor(owner: WorkerSeries, family: MetricKey, labels: readonly string[]) {
    this.owner = owner;
    this.family = family;
    this.labels = labels;
    this.bounds = METRICS[family].bounds;
  }

  /** @param value in the metric's unit. */
  observe(value: number): void {
    if (this.slot >= 0) {
      observe(this.owner.column, this.slot, this.bounds, value);
      return;
    }
    this.pending ??= new Float64Array(this.bounds.length + 2);
    observe(this.pending, 0, this.bounds, value);
    if (this.slot === UNKNOWN) this.owner.ask(this, this.family, this.labels);
  }

  /** Main's answer. */
  settle(slot: number): void {
    this.slot = slot;
    const { pending } = this;
    this.pending = null;
    if (pending === null) return;
    const { column } = this.owner;
    for (let i = 0; i < pending.length; i++) column[slot + i] = (column[slot + i] as number) + (pending[i] as number);
  }
}

/** All series of one worker; one object per label set. */
export class WorkerSeries {
  readonly column: Float64Array;
  readonly memory: CounterMemory;
  /** Every column. */
  readonly all: Float64Array;
  private readonly post: (message: FromWorker) => void;
  private readonly known = new Map<string, Counter | Histogram>();
  private readonly asked = new Map<number, Counter | Histogram>();
  private nextRequest = 0;

  /** @param column of `memory` that this worker owns. */
  constructor(memory: CounterMemory, column: number, post: (message: FromWorker) => void) {
    this.column = counterColumn(memory, column);
    this.memory = memory;
    this.all = allColumns(memory);
    this.post = post;
  }

  /** The counter or gauge of these label values, in the family's order. */
  counter(family: MetricKey, ...labels: readonly string[]): Counter {
    const key = `${family}\0${labels.join('\0')}`;
    const found = this.known.get(key);
    if (found instanceof Counter) return found;
    const made = new Counter(this, family, labels);
    this.known.set(key, made);
    return made;
  }

  histogram(family: MetricKey, ...labels: readonly string[]): Histogram {
    const key = `${family}\0${labels.join('\0')}`;
    const found = this.known.get(key);
    if (found instanceof Histogram) return found;
    const made = new Histogram(this, family, labels);
    this.known.set(key, made);
    return made;
  }

  /** Called by a series that has no slot. */
  ask(series: Counter | Histogram, family: MetricKey, labels: readonly string[]): void {
    series.slot = ASKED;
    const request = this.nextRequest++;
    this.asked.set(request, series);
    this.post({ type: 'needSeries', request, family, labels });
  }

  /** Main's `series`. */
  settle(request: number, slot: number, isOverflow: boolean): void {
    const series = this.asked.get(request);
    this.asked.delete(request);
    if (slot >= 0) series?.settle(slot, isOverflow);
  }

  /** Main's `forget`: nothing is added to these slots from now on. */
  forget(series: readonly { readonly family: string; readonly labels: readonly string[] }[]): void {
    for (const { family, labels } of series) {
      const known = this.known.get(`${family}\0${labels.join('\0')}`);
      if (known !== undefined && known.slot >= 0) known.slot = UNKNOWN;
    }
  }
}
