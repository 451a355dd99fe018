// What every suite reports: one row a scenario and proxy, medians over the rounds; as a table with ratios, or as JSON.

/** One row of `--json`; what has no meaning for a suite is absent. */
export interface Row {
  readonly suite: string;
  readonly scenario: string;
  readonly proxy: string;
  readonly cpu_us_per_request?: number;
  readonly requests_per_s?: number;
  readonly p50_ms?: number;
  readonly p99_ms?: number;
  /** 10^6 bytes. */
  readonly rss_mb?: number;
  /** Sum over the rounds. */
  readonly errors?: number;
  /** The least and the greatest CPU time per request (MiB, handshake) of a round. */
  readonly round_min?: number;
  readonly round_max?: number;
  /** Figures of one suite only, such as the control plane's messages and bytes. */
  readonly [figure: string]: number | string | undefined;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** To three significant digits, and whole from 1,000. */
export function round(value: number): number {
  return value >= 1000 ? Math.round(value) : Number(value.toPrecision(3));
}

/** A table for people. Columns as given; an absent figure is a dash. */
export function table(head: readonly string[], lines: readonly (readonly (string | number | undefined)[])[]): string {
  const cells = [head, ...lines].map((line) => line.map((cell) => (cell === undefined ? '-' : String(cell))));
  const widths = head.map((_, column) => Math.max(...cells.map((line) => line[column]?.length ?? 0)));
  const format = (line: readonly string[]): string =>
    line
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  ');
  return cells.map(format).join('\n');
}

/** Which figure of a row is the proxy's CPU time, and how it is headed. */
export interface Cost {
  readonly figure: string;
  readonly title: string;
}

export const PER_REQUEST: Cost = { figure: 'cpu_us_per_request', title: 'CPU µs/request' };

/** Rows of one scenario with the ratio of their CPU time to that of each of `references`. */
export function ratioTable(rows: readonly Row[], references: readonly string[], { figure, title }: Cost): string {
  const spread = (row: Row): string | undefined =>
    row.round_min === undefined ? undefined : `${row.round_min}–${row.round_max}`;
  const ratios = references.map((name) => `to ${name}`);
  return table(
    ['proxy', title, 'min–max', ...ratios, 'requests/s', 'p50 ms', 'p99 ms', 'RSS MB', 'errors'],
    rows.map((row) => [
      row.proxy,
      row[figure],
      spread(row),
      ...references.map((name) => ratioTo(rows, name, row, figure)),
      row.requests_per_s,
      row.p50_ms,
      row.p99_ms,
      row.rss_mb,
      row.errors,
    ]),
  );
}

/** `figure` of a row in relation to that of the row of `reference`, as `0.40x`; undefined without both. */
export function ratioTo(rows: readonly Row[], reference: string, row: Row, figure: string): string | undefined {
  const base = Number(rows.find(({ proxy }) => proxy === reference)?.[figure]);
  const value = Number(row[figure]);
  return Number.isFinite(value / base) ? `${(value / base).toFixed(2)}x` : undefined;
}
