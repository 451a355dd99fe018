// Metrics as Prometheus reads them: the text format, version 0.0.4, printed from the counter memory at each scrape.
// Source: https://prometheus.io/docs/instrumenting/exposition_formats/.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { OVERFLOW_LABELS, type Series, type SeriesTable } from '../base/series.ts';
import { labelsOf, type RegisteredFamily } from '../base/series-families.ts';

/** Value of the Content-Type header. */
export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** A number of main's own, beside the data path's families. */
export interface OwnMetric {
  readonly name: string;
  readonly kind: 'counter' | 'gauge';
  readonly help: string;
  read(): number;
}

/** Every family of the data path that has a series. */
export function expose(table: SeriesTable, families: Iterable<RegisteredFamily>): string {
  const lines: string[] = [];
  for (const { family, metric } of families) {
    const all = table.seriesOf(metric);
    if (all.length === 0) continue;
    lines.push(`# HELP ${family.name} ${escapeHelp(family.help)}`, `# TYPE ${family.name} ${family.kind}`);
    for (const series of all) {
      const labels = pairs(family.labels, series);
      const values = table.read(series);
      if (family.kind === 'histogram') pushHistogram(lines, family.name, labels, family.bounds, values);
      else lines.push(`${family.name}${braces(labels)} ${values[0]}`);
    }
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

/** Main's own numbers. */
export function exposeOwn(metrics: readonly OwnMetric[]): string {
  const blocks = metrics.map(
    ({ name, kind, help, read }) => `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${kind}\n${name} ${read()}\n`,
  );
  return blocks.join('');
}

/** The process as Prometheus' client libraries name it, and the lag of main's loop (workers' lag shows in latency). */
export function processMetrics(): readonly OwnMetric[] {
  const startedSeconds = Date.now() / 1_000 - process.uptime();
  const lag = monitorEventLoopDelay({ resolution: 20 });
  lag.enable();
  return [
    {
      name: 'process_cpu_seconds_total',
      kind: 'counter',
      help: 'User and system CPU time of all threads',
      read: () => {
        const { user, system } = process.cpuUsage();
        return (user + system) / 1e6;
      },
    },
    {
      name: 'process_resident_memory_bytes',
      kind: 'gauge',
      help: 'Resident memory of the process',
      read: () => process.memoryUsage.rss(),
    },
    {
      name: 'process_start_time_seconds',
      kind: 'gauge',
      help: 'Start of the process since the Unix epoch',
      read: () => startedSeconds,
    },
    {
      name: 'nodejs_eventloop_lag_p99_seconds',
      kind: 'gauge',
      help: "99th percentile of the delay of main's event loop since the last scrape",
      read: () => {
        const seconds = lag.percentile(99) / 1e9;
        lag.reset();
        return Number.isFinite(seconds) ? seconds : 0;
      },
    },
  ];
}

function pairs(names: readonly string[], series: Series): string[] {
  const values = labelsOf(series);
  return names.map((name, i) => `${name}="${escapeLabel(values?.[i] ?? OVERFLOW_LABELS)}"`);
}

function pushHistogram(
  lines: string[],
  name: string,
  labels: readonly string[],
  bounds: readonly number[],
  values: readonly number[],
): void {
  let count = 0;
  bounds.forEach((bound, i) => {
    count += values[i] as number;
    lines.push(`${name}_bucket${braces([...labels, `le="${bound}"`])} ${count}`);
  });
  count += values[bounds.length] as number;
  lines.push(`${name}_bucket${braces([...labels, 'le="+Inf"'])} ${count}`);
  lines.push(`${name}_sum${braces(labels)} ${values[bounds.length + 1]}`, `${name}_count${braces(labels)} ${count}`);
}

function braces(labels: readonly string[]): string {
  return labels.length === 0 ? '' : `{${labels.join(',')}}`;
}

function escapeLabel(text: string): string {
  return text.replace(/[\\"\n]/g, (found) => (found === '\n' ? '\\n' : `\\${found}`));
}

function escapeHelp(text: string): string {
  return text.replace(/[\\\n]/g, (found) => (found === '\n' ? '\\n' : '\\\\'));
}
