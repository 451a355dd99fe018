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
  /** The least and the greatest `cpu_us_per_request` of a round. */
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

/** Rows of one scenario with the ratio of their CPU per request to that of `reference`. */
export function ratioTable(rows: readonly Row[], reference: string): string {
  const base = rows.find((row) => row.proxy === reference)?.cpu_us_per_request;
  const ratio = (row: Row): string | undefined =>
    base === undefined || row.cpu_us_per_request === undefined
      ? undefined
      : `${(row.cpu_us_per_request / base).toFixed(2)}x`;
  const spread = (row: Row): string | undefined =>
    row.round_min === undefined ? undefined : `${row.round_min}–${row.round_max}`;
  return table(
    ['proxy', 'CPU µs/request', 'min–max', `to ${reference}`, 'requests/s', 'p50 ms', 'p99 ms', 'RSS MB', 'errors'],
    rows.map((row) => [
      row.proxy,
      row.cpu_us_per_request,
      spread(row),
      ratio(row),
      row.requests_per_s,
      row.p50_ms,
      row.p99_ms,
      row.rss_mb,
      row.errors,
    ]),
  );
}
