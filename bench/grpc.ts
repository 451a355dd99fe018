// The grpc suite: latency that a caller sees through two sidecars with mutual TLS, unary and streaming, driven by ghz
// at a fixed rate well below saturation, beside Envoy in the same places and a call with nothing in between.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Ready } from '../proto/kit/ready-file.ts';
import { createIdentities } from './certificates.ts';
import { MESSAGES, PROTO, SERVICE } from './grpc-shape.ts';
import { envoy } from './peers/envoy.ts';
import { HOST, type Peer, type Scenario } from './peers/peer.ts';
import { weftPeers } from './peers/weft.ts';
import { findProgram, LOAD_CORES, PROXY_CORE, run, type Started, start, until } from './processes.ts';
import { median, type Row, round, table } from './rows.ts';
import { refuseUnknown, type SuiteContext } from './suite.ts';
import { cpuMicros } from './usage.ts';

const SERVER = fileURLToPath(new URL('./grpc-server.ts', import.meta.url));
const PEERS: readonly Peer[] = [envoy, ...weftPeers()];
const MESH: Scenario = {
  name: 'grpc',
  title: 'two hops with mutual TLS',
  protocol: 'h2',
  front: 'clear',
  hops: 2,
};

/** The server itself, without a proxy: always measured beside them. */
const DIRECT = 'direct';

/** Calls a second: an open loop that no proxy saturates at. Over 20 workers and 4 connections. */
const CALLS = [
  { name: 'unary', method: 'Unary', rate: 1000, stream: false },
  { name: 'server-streaming', method: 'Download', rate: 500, stream: false },
  { name: 'bidirectional', method: 'Chat', rate: 300, stream: true },
] as const;

interface Contestant {
  readonly name: string;
  readonly port: number;
  readonly programs: readonly Started[];
}

/** What is read of ghz's JSON report; times in ns. */
interface GhzReport {
  readonly count: number;
  readonly rps: number;
  readonly statusCodeDistribution: Readonly<Record<string, number>>;
  readonly latencyDistribution: readonly { readonly percentage: number; readonly latency: number }[] | null;
}

/** One round. */
interface Figures {
  readonly cpu_us_per_request?: number;
  readonly requests_per_s: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly errors: number;
}

/** Runs the suite. */
export async function grpcSuite(context: SuiteContext): Promise<Row[]> {
  refuseUnknown(context, { scenarios: CALLS, peers: [{ name: DIRECT }, ...PEERS] });
  const ghz = findProgram('ghz');
  if (ghz === null) throw new Error('ghz is not installed; run npm run bench -- install (it needs Go)');
  context.print(`proxies alone on core ${PROXY_CORE}; ghz and the server on ${LOAD_CORES}`);
  const identities = await createIdentities(context.folder);
  const proto = join(context.folder, 'echo.proto');
  writeFileSync(proto, PROTO);
  const readyFile = join(context.folder, 'server.json');
  const server = start('the gRPC server', LOAD_CORES, [process.execPath, SERVER, readyFile]);
  const contestants: Contestant[] = [];
  try {
    await until(server, () => existsSync(readyFile), 'write its ready file');
    const port = (JSON.parse(readFileSync(readyFile, 'utf8')) as Ready).ports['grpc'] ?? 0;
    contestants.push({ name: DIRECT, port, programs: [] });
    for (const peer of PEERS) {
      const version = peer.version();
      if (context.peers.length > 0 && !context.peers.includes(peer.name)) continue;
      context.print(version === null ? `${peer.name}: not installed; its rows are absent` : `${peer.name}: ${version}`);
      const folder = join(context.folder, peer.name);
      mkdirSync(folder);
      const launched = version && (await peer.launch({ scenario: MESH, folder, backends: [port], identities }));
      if (launched) contestants.push({ name: peer.name, port: launched.port, programs: launched.programs });
    }
    const rows: Row[] = [];
    for (const call of CALLS) {
      if (context.only.length > 0 && !context.only.includes(call.name)) continue;
      const found = await playCall(context, [ghz, '--proto', proto], call, contestants);
      rows.push(...found);
      context.print(`\n${call.name}: ${call.rate} calls/s${call.name === 'unary' ? '' : ` of ${MESSAGES} messages`}`);
      context.print(report(found));
    }
    return rows;
  } finally {
    for (const { programs } of contestants) for (const program of programs) await program.stop();
    await server.stop();
  }
}

async function playCall(
  context: SuiteContext,
  ghz: readonly string[],
  call: (typeof CALLS)[number],
  contestants: readonly Contestant[],
): Promise<Row[]> {
  const rounds = new Map<string, Figures[]>();
  const text = { text: 'x'.repeat(100) };
  const data = JSON.stringify(call.stream ? Array.from({ length: MESSAGES }, () => text) : text);
  // Round 0 warms up.
  for (let number = context.smoke ? 1 : 0; number <= context.rounds; number++) {
    for (const { name, port, programs } of contestants) {
      const pids = programs.map(({ pid }) => pid);
      const before = cpuMicros(pids);
      const shape = ['--concurrency', '20', '--connections', '4', '--rps', String(call.rate)];
      const length = ['--total', String(call.rate * context.seconds), '--timeout', '10s'];
      const target = ['--call', `${SERVICE}.${call.method}`, '--insecure', '--authority', HOST, '--data', data];
      const output = await run([...ghz, ...shape, ...length, ...target, '--format', 'json', `127.0.0.1:${port}`]);
      const result = parseGhz(output);
      const cost = (cpuMicros(pids) - before) / result.count;
      if (number === 0) continue;
      const { count: _, ...figures } = result;
      const cpu = programs.length === 0 ? {} : { cpu_us_per_request: cost };
      rounds.set(name, [...(rounds.get(name) ?? []), { ...figures, ...cpu }]);
    }
  }
  return [...rounds].map(([name, results]) => rowOf(call.name, name, results));
}

/** Reads `ghz --format json`. */
export function parseGhz(output: string) {
  const found = JSON.parse(output) as GhzReport;
  const at = (percentage: number): number =>
    (found.latencyDistribution?.find((one) => one.percentage === percentage)?.latency ?? Number.NaN) / 1e6;
  return {
    count: found.count,
    requests_per_s: found.rps,
    p50_ms: at(50),
    p99_ms: at(99),
    errors: found.count - (found.statusCodeDistribution['OK'] ?? 0),
  };
}

function rowOf(scenario: string, proxy: string, results: readonly Figures[]): Row {
  const values = (name: keyof Figures): number[] =>
    results.map((result) => result[name]).filter((value) => value !== undefined);
  const costs = values('cpu_us_per_request');
  const cpu = {
    cpu_us_per_request: round(median(costs)),
    round_min: round(Math.min(...costs)),
    round_max: round(Math.max(...costs)),
  };
  return {
    suite: 'grpc',
    scenario,
    proxy,
    ...(costs.length === 0 ? {} : cpu),
    requests_per_s: round(median(values('requests_per_s'))),
    p50_ms: round(median(values('p50_ms'))),
    p99_ms: round(median(values('p99_ms'))),
    errors: values('errors').reduce((sum, count) => sum + count, 0),
  };
}

function report(rows: readonly Row[]): string {
  const direct = rows.find((row) => row.proxy === 'direct');
  const added = (row: Row): number | undefined =>
    row === direct || direct === undefined ? undefined : round((row.p50_ms ?? 0) - (direct.p50_ms ?? 0));
  return table(
    ['', 'p50 ms', 'added p50 ms', 'p99 ms', 'CPU µs/call', 'calls/s', 'errors'],
    rows.map((row) => [
      row.proxy,
      row.p50_ms,
      added(row),
      row.p99_ms,
      row.cpu_us_per_request,
      row.requests_per_s,
      row.errors,
    ]),
  );
}
