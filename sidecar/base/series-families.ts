// The families of metrics.ts registered in main's table, and the answer to a worker that asks for a slot.

import { LIMITS } from './limits.ts';
import { METRICS, type MetricFamily, type MetricKey } from './metrics.ts';
import type { Metric, Series, SeriesTable } from './series.ts';

/** A family with its metric in the table. */
export interface RegisteredFamily {
  readonly key: string;
  readonly family: MetricFamily;
  readonly metric: Metric;
}

/** Label sets by text, as the table keys them. */
function labelsKey(labels: readonly string[]): string {
  return JSON.stringify(labels);
}

/** Label values of a series; null for the overflow series. */
export function labelsOf(series: Series): readonly string[] | null {
  return series.labels.startsWith('[') ? (JSON.parse(series.labels) as string[]) : null;
}

/** Registers every family, once. */
function registerFamilies(table: SeriesTable): ReadonlyMap<string, RegisteredFamily> {
  const families = new Map<string, RegisteredFamily>();
  for (const [key, family] of Object.entries<MetricFamily>(METRICS)) {
    const metric = table.register(family.name, family.kind, family.bounds, LIMITS.seriesMax);
    families.set(key, { key, family, metric });
  }
  return families;
}

/** The table with its families: answers workers, counts for main, gives back what is idle. */
export class SeriesKeeper {
  readonly #table: SeriesTable;
  readonly #column: Float64Array;
  readonly #families: ReadonlyMap<string, RegisteredFamily>;

  /** @param column main's own. */
  constructor(table: SeriesTable, column: Float64Array) {
    this.#table = table;
    this.#column = column;
    this.#families = registerFamilies(table);
  }

  families(): Iterable<RegisteredFamily> {
    return this.#families.values();
  }

  /** The first slot of a label set, that of the overflow series when there are too many; -1: no such family. */
  slot(family: string, labels: readonly string[]): { readonly slot: number; readonly isOverflow: boolean } {
    const found = this.#families.get(family);
    if (found === undefined) return { slot: -1, isOverflow: false };
    const series = this.#table.acquire(found.metric, labelsKey(labels), performance.now());
    return { slot: series.slot, isOverflow: labelsOf(series) === null };
  }

  /** Counts on the main thread. */
  add(family: MetricKey, value: number, ...labels: string[]): void {
    const { slot } = this.slot(family, labels);
    this.#column[slot] = (this.#column[slot] as number) + value;
  }

  /** Gives idle series back once `forget` has told every worker. */
  async sweep(
    forget: (series: readonly { readonly family: string; readonly labels: readonly string[] }[]) => Promise<void>,
  ): Promise<void> {
    const idle = this.#table.sweep(performance.now());
    if (idle.length === 0) return;
    const keys = new Map([...this.#families.values()].map(({ key, metric }) => [metric.name, key]));
    await forget(idle.map((one) => ({ family: keys.get(one.metric.name) as string, labels: labelsOf(one) ?? [] })));
    this.#table.reuse(idle);
  }
}
