// What a sidecar holds at one time, from the outside: descriptors in /proc, gauges of its metrics, its workers' view in
// admin. At rest it must be the same before and after any load.

import { readdirSync, readlinkSync } from 'node:fs';
import type { Sidecar } from './peers/weft-sidecar.ts';
import { pause } from './processes.ts';
import { round } from './rows.ts';
import { rssMb } from './usage.ts';

/** Longer than a pool keeps idle connections (1 s) and a connection may wait for a head (10 s). */
const QUIET_MS_MAX = 20_000;
/** Three looks that agree are further apart than a pool keeps what is idle. */
const LOOK_MS = 500;

/** What the sidecar holds. */
export interface Held {
  readonly sockets: number;
  readonly connections: number;
  /** Inbound, outbound and upstream, retries too. */
  readonly requests: number;
  readonly timers: number;
  readonly buffers_mb: number;
  readonly rss_mb: number;
}

/** Waits until nothing is held beyond `base`, or as long as anything may rightly be; returns what is held then. */
export async function quiet(sidecar: Sidecar, base: Held | null): Promise<Held> {
  const endMs = performance.now() + QUIET_MS_MAX;
  let steady = 0;
  let last = await held(sidecar);
  while (steady < 3 && performance.now() < endMs) {
    await pause(LOOK_MS);
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
