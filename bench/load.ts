// The load: wrk and h2load, with what they print turned into numbers. Both are C programs that cost a fraction of what
// they measure, and both count what failed.

import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram, run } from './processes.ts';

/** One run of a load. */
export interface LoadResult {
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Failed, timed out, or answered with anything but 2xx. */
  readonly errors: number;
}

/** What to send and where. */
export interface LoadTarget {
  /** The loopback port to connect to. */
  readonly port: number;
  readonly seconds: number;
  /** Where temporary files go. */
  readonly folder: string;
}

/** Small HTTP/1.1 requests over 64 kept-alive connections, Host `echo`: GET, or POST of `bodyBytes`. */
export async function wrk({ port, seconds, folder }: LoadTarget, bodyBytes = 0): Promise<LoadResult> {
  const path = programPath('wrk', 'apt-get install wrk');
  const script = join(folder, 'post.lua');
  writeFileSync(script, `wrk.method = "POST"; wrk.body = string.rep("x", ${bodyBytes})\n`);
  const post = bodyBytes === 0 ? [] : ['-s', script];
  const shape = ['-t1', '-c64', `-d${seconds}s`, '--latency', '-H', 'Host: echo', ...post];
  return parseWrk(await run([path, ...shape, `http://127.0.0.1:${port}/bench`]));
}

/** How h2load drives a scenario. */
export interface H2LoadShape {
  readonly clients: number;
  /** Streams under way per client; HTTP/1.1 keeps to 1. */
  readonly streams: number;
  readonly http1: boolean;
  /** The name in SNI where the proxy speaks TLS; null: in the clear. */
  readonly sni: string | null;
  /** A file whose bytes are the request's body (POST); null: a GET. */
  readonly body: string | null;
  /** Whether to send what a gRPC client sends: content type and `te: trailers`. */
  readonly grpc: boolean;
  readonly path: string;
}

export async function h2load(shape: H2LoadShape, { port, seconds, folder }: LoadTarget): Promise<LoadResult> {
  const log = join(folder, 'h2load.log');
  rmSync(log, { force: true });
  const body = shape.body === null ? [] : ['--data', shape.body];
  const grpc = shape.grpc ? ['--header', 'content-type: application/grpc', '--header', 'te: trailers'] : [];
  const output = await run([
    programPath('h2load', 'apt-get install nghttp2-client'),
    `--clients=${shape.clients}`,
    `--max-concurrent-streams=${shape.streams}`,
    `--duration=${seconds}`,
    `--connect-to=127.0.0.1:${port}`,
    `--log-file=${log}`,
    ...(shape.http1 ? ['--h1'] : []),
    ...body,
    ...grpc,
    '--header',
    ':authority: echo',
    `${shape.sni === null ? 'http://echo' : `https://${shape.sni}`}${shape.path}`,
  ]);
  const times = readFileSync(log, 'latin1');
  rmSync(log, { force: true });
  return parseH2load(output, times);
}

/** Reads the report of `wrk --latency`. Throws when it is none. */
export function parseWrk(output: string): LoadResult {
  const requests = /(\d+) requests in/.exec(output);
  const rate = /Requests\/sec:\s+([\d.]+)/.exec(output);
  const p50 = /50%\s+([\d.]+)(us|ms|s)/.exec(output);
  const p99 = /99%\s+([\d.]+)(us|ms|s)/.exec(output);
  if (requests === null || rate === null || p50 === null || p99 === null) throw new Error(`not of wrk:\n${output}`);
  const sockets = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(output)?.slice(1) ?? [];
  const statuses = /Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? '0';
  return {
    requests: Number(requests[1]),
    requestsPerSecond: Number(rate[1]),
    p50Ms: milliseconds(p50),
    p99Ms: milliseconds(p99),
    errors: [...sockets, statuses].reduce((sum, text) => sum + Number(text), 0),
  };
}

/** Reads h2load's report and its log of single requests (start, status, µs). Throws when it is none. */
export function parseH2load(output: string, log: string): LoadResult {
  const finished = /finished in [\d.]+\w+, ([\d.]+) req\/s/.exec(output);
  const counts =
    /requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/.exec(
      output,
    );
  const statuses = /status codes: (\d+) 2xx/.exec(output);
  if (finished === null || counts === null || statuses === null) throw new Error(`not of h2load:\n${output}`);
  const times = Float64Array.from(
    log.split('\n').filter((line) => line !== ''),
    (line) => Number(line.slice(line.lastIndexOf('\t') + 1)) / 1000,
  ).sort();
  const done = Number(counts[1]);
  return {
    requests: done,
    requestsPerSecond: Number(finished[1]),
    p50Ms: percentile(times, 50),
    p99Ms: percentile(times, 99),
    // What failed is not 2xx either: a request counts once.
    errors: Math.max(done - Number(statuses[1]), Number(counts[3]) + Number(counts[4]) + Number(counts[5])),
  };
}

/** Nearest rank; NaN of nothing. `sorted` ascends. */
export function percentile(sorted: ArrayLike<number>, percent: number): number {
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? Number.NaN;
}

function milliseconds(match: RegExpExecArray): number {
  const factor = match[2] === 'us' ? 0.001 : match[2] === 'ms' ? 1 : 1000;
  return Number(match[1]) * factor;
}

function programPath(name: string, fix: string): string {
  const path = findProgram(name);
  if (path === null) throw new Error(`${name} is not installed; run ${fix}, or npm run bench -- install`);
  return path;
}
