// The soak: one sidecar under a mix of clients for minutes. What it must show: memory that does not grow, by a linear
// fit over the second half, and nothing left over at the end: sockets, connections, requests, timers, buffers.

import { onGrounds } from './contest.ts';
import { clientPem } from './handshake.ts';
import { type Held, quiet } from './held.ts';
import { programCommand } from './load-program.ts';
import { SNI } from './peers/peer.ts';
import { run } from './processes.ts';
import { type Row, round, table } from './rows.ts';
import type { SoakCounts, SoakLoad } from './soak-load.ts';
import { startSoakMesh } from './soak-mesh.ts';
import { refuseUnknown, type SuiteContext } from './suite.ts';
import { rssMb } from './usage.ts';

const SMOKE_SECONDS = 3;
/** Before counting: what the first requests make, they make once. */
const WARM_SECONDS = 5;
const SAMPLE_MS = 1_000;
const SAMPLE_SMOKE_MS = 100;
/** Resident memory at one time. */
export interface Sample {
  readonly ms: number;
  readonly mb: number;
}

/** Runs the suite. */
export async function soakSuite(context: SuiteContext): Promise<Row[]> {
  refuseUnknown(context, { scenarios: [], peers: [] });
  return await onGrounds(context, async (grounds) => {
    const sidecar = await startSoakMesh(context.folder, grounds);
    const pids = [sidecar.program.pid];
    const inbound = { port: sidecar.ports['inbound'] ?? 0, sni: SNI, identity: clientPem(grounds.identities.client) };
    const load = { outboundPort: sidecar.ports['outbound'] ?? 0, inbound };
    try {
      await send({ ...load, seconds: context.smoke ? 1 : WARM_SECONDS });
      const before = await quiet(sidecar, null);
      const samples: Sample[] = [];
      const sample = (): unknown => samples.push({ ms: performance.now(), mb: rssMb(pids) });
      const timer = setInterval(sample, context.smoke ? SAMPLE_SMOKE_MS : SAMPLE_MS);
      const seconds = context.smoke ? SMOKE_SECONDS : context.minutes * 60;
      const counts = await send({ ...load, seconds }).finally(() => clearInterval(timer));
      const after = await quiet(sidecar, before);
      return [report(context, { seconds, counts, samples, before, after })];
    } finally {
      await sidecar.program.stop();
    }
  });
}

/** Least squares over the second half of the samples, in MB a minute. */
export function growthPerMinute(samples: readonly Sample[]): number {
  const half = samples.slice(samples.length >> 1);
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const meanMs = mean(half.map(({ ms }) => ms));
  const meanMb = mean(half.map(({ mb }) => mb));
  const covariance = half.reduce((sum, { ms, mb }) => sum + (ms - meanMs) * (mb - meanMb), 0);
  const variance = half.reduce((sum, { ms }) => sum + (ms - meanMs) ** 2, 0);
  return (covariance / variance) * 60_000;
}

async function send(load: SoakLoad): Promise<SoakCounts> {
  return JSON.parse(await run(programCommand('./soak-load.ts', load))) as SoakCounts;
}

interface Result {
  readonly seconds: number;
  readonly counts: SoakCounts;
  readonly samples: readonly Sample[];
  readonly before: Held;
  readonly after: Held;
}

function report({ print }: SuiteContext, { seconds, counts, samples, before, after }: Result): Row {
  const growth = round(growthPerMinute(samples));
  const sizes = samples.map(({ mb }) => mb);
  print(`\nafter ${seconds} s of:`);
  print(
    table(
      ['client', 'done', 'failed'],
      Object.entries(counts).map(([name, { done, failed }]) => [name, done, failed]),
    ),
  );
  print(`\nRSS ${round(Math.min(...sizes))}–${round(Math.max(...sizes))} MB under load; second half: ${growth} MB/min`);
  const fields = Object.keys(before) as (keyof Held)[];
  print(
    table(
      ['at rest', 'before', 'after'],
      fields.map((field) => [field, before[field], after[field]]),
    ),
  );
  return {
    suite: 'soak',
    scenario: 'mixed',
    proxy: 'weft',
    seconds,
    errors: Object.values(counts).reduce((sum, { failed }) => sum + failed, 0),
    rss_growth_mb_per_min: growth,
    leaked_sockets: after.sockets - before.sockets,
    leaked_connections: after.connections,
    leaked_requests: after.requests,
    leaked_timers: after.timers - before.timers,
    buffers_mb_before: before.buffers_mb,
    buffers_mb_after: after.buffers_mb,
    rss_mb: after.rss_mb,
  };
}
