// The soak: one sidecar under a mix of clients for minutes. What it must show: memory that does not grow, by a linear
// fit over the second half, and nothing left over at the end: sockets, connections, requests, timers, buffers.

import { readdirSync, readlinkSync } from 'node:fs';
import { onGrounds } from './contest.ts';
import { clientPem } from './handshake.ts';
import { programCommand } from './load-program.ts';
import { SNI } from './peers/peer.ts';
import type { Sidecar } from './peers/weft-sidecar.ts';
import { pause, run } from './processes.ts';
import { type Row, round, table } from './rows.ts';
import type { SoakCounts, SoakLoad } from './soak-load.ts';
import { startSoakMesh } from './soak-mesh.ts';
import type { SuiteContext } from './suite.ts';
import { rssMb } from './usage.ts';

const SMOKE_SECONDS = 3;
/** Before counting: what the first requests make, they make once. */
const WARM_SECONDS = 5;
const SAMPLE_MS = 1_000;
const SAMPLE_SMOKE_MS = 100;
/** Longer than a pool keeps idle connections (1 s) and a connection may wait for a head (10 s). */
const QUIET_MS_MAX = 20_000;

/** Resident memory at one time. */
export interface Sample {
  readonly ms: number;
  readonly mb: number;
}

/** What the sidecar holds. */
interface Held {
  readonly sockets: number;
  readonly connections: number;
  /** Inbound, outbound and upstream, retries too. */
  readonly requests: number;
  readonly timers: number;
  readonly buffers_mb: number;
  readonly rss_mb: number;
}

/** Runs the suite. */
export async function soakSuite(context: SuiteContext): Promise<Row[]> {
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

/** Waits until nothing is held beyond `base`, or as long as anything may rightly be; returns what is held then. */
async function quiet(sidecar: Sidecar, base: Held | null): Promise<Held> {
  const endMs = performance.now() + QUIET_MS_MAX;
  let steady = 0;
  let last = await held(sidecar);
  while (steady < 3 && performance.now() < endMs) {
    await pause(1_000);
    const now = await held(sidecar);
    const same = now.sockets === last.sockets && now.timers === last.timers;
    const more = base !== null && (now.sockets > base.sockets || now.timers > base.timers);
    steady = now.connections === 0 && now.requests === 0 && same && !more ? steady + 1 : 0;
    last = now;
  }
  return last;
}

async function held({ program, ports }: Sidecar): Promise<Held> {
  const text = await (await ask(`http://127.0.0.1:${ports['metrics']}/metrics`)).text();
  const admin = await (await ask(`http://127.0.0.1:${ports['admin']}/endpoints`)).json();
  const { workers } = admin as { workers: { connections: number; timers: number; bufferBytes: number }[] };
  const sum = (pick: (of: (typeof workers)[number]) => number): number =>
    workers.reduce((total, worker) => total + pick(worker), 0);
  const sockets = readdirSync(`/proc/${program.pid}/fd`).filter((fd) => isSocket(program.pid, fd)).length;
  return {
    sockets,
    connections: sum((worker) => worker.connections),
    requests: gaugeSum(text, /^weft_(?:requests|upstream_requests|upstream_retries)_active(?:\{.*\})? (\S+)$/gm),
    timers: sum((worker) => worker.timers),
    buffers_mb: round(sum((worker) => worker.bufferBytes) / 1e6),
    rss_mb: round(rssMb([program.pid])),
  };
}

/** On a connection of its own, which is closed when the sockets are counted again. */
function ask(url: string): Promise<Response> {
  return fetch(url, { headers: { connection: 'close' } });
}

function isSocket(pid: number, fd: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:');
  } catch {
    return false; // Closed meanwhile.
  }
}

function gaugeSum(text: string, pattern: RegExp): number {
  return [...text.matchAll(pattern)].reduce((sum, match) => sum + Number(match[1]), 0);
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
