// The wire suite: what one request through a proxy costs, beside HAProxy, nginx and Envoy in the same minutes on the
// same cores. CPU per request is the figure; requests per second and latency at full load are printed beside it.

import { mkdirSync } from 'node:fs';
import { connect } from 'node:http2';
import { join } from 'node:path';
import { type Backends, GRPC_PATH, startBackends } from './backends.ts';
import { createIdentities } from './certificates.ts';
import { h2load, type LoadResult, wrk } from './load.ts';
import { envoy } from './peers/envoy.ts';
import { haproxy } from './peers/haproxy.ts';
import { nginx } from './peers/nginx.ts';
import { HOST, type Launched, type Peer, type Scenario, SNI } from './peers/peer.ts';
import { weftPeers } from './peers/weft.ts';
import { LOAD_CORES, PROXY_CORE, pause } from './processes.ts';
import { median, type Row, ratioTable, round } from './rows.ts';
import type { SuiteContext } from './suite.ts';
import { cpuMicros, rssMb } from './usage.ts';

const PEERS: readonly Peer[] = [envoy, haproxy, nginx, ...weftPeers()];

/** Ratios are to Envoy: the proxy that most meshes run. */
const REFERENCE = 'envoy';

/** CPU seconds go by ticks of 10 ms; a proxy settles its timers and pools in less than 2 s. */
const REST_MS = 2_000;

const SCENARIOS: readonly Scenario[] = [
  { name: 'h1', title: 'HTTP/1.1 small GET, 64 kept-alive connections', protocol: 'h1', front: 'clear', hops: 1 },
  { name: 'h2', title: 'HTTP/2 gRPC-shaped unary, 8 x 16 streams', protocol: 'h2', front: 'clear', hops: 1 },
  { name: 'tls-h1', title: 'HTTP/1.1 as above behind TLS 1.3', protocol: 'h1', front: 'tls', hops: 1 },
  { name: 'tls-h2', title: 'HTTP/2 as above behind TLS 1.3', protocol: 'h2', front: 'tls', hops: 1 },
  {
    name: 'mesh-h1',
    title: 'two hops with mutual TLS, HTTP/1.1 applications',
    protocol: 'h1',
    front: 'clear',
    hops: 2,
  },
  { name: 'mesh-h2', title: 'two hops with mutual TLS, gRPC-shaped', protocol: 'h2', front: 'clear', hops: 2 },
];

interface Contestant {
  readonly name: string;
  readonly launched: Launched;
  readonly pids: readonly number[];
  readonly rounds: Round[];
}

interface Round extends LoadResult {
  readonly cpuUsPerRequest: number;
  readonly rssMb: number;
}

/** Runs the suite. `context.only` may name scenarios. */
export async function wireSuite(context: SuiteContext): Promise<Row[]> {
  const peers = choosePeers(context);
  context.print(`proxies alone on core ${PROXY_CORE}; load and backends on ${LOAD_CORES}`);
  const identities = await createIdentities(context.folder);
  const backends = await startBackends(context.folder);
  const rows: Row[] = [];
  try {
    for (const scenario of SCENARIOS) {
      if (context.only.length > 0 && !context.only.includes(scenario.name)) continue;
      const contestants: Contestant[] = [];
      try {
        context.print(`\n${scenario.name}: ${scenario.title}`);
        for (const peer of peers) {
          const contestant = await launch(context, scenario, peer, backends, identities);
          if (contestant !== null) contestants.push(contestant);
        }
        if (scenario === SCENARIOS[0]) rows.push(...(await restRows(contestants)));
        await playRounds(context, scenario, contestants, backends);
        const found = contestants.map((contestant) => rowOf(scenario.name, contestant));
        rows.push(...found);
        context.print(ratioTable(found, REFERENCE));
        context.printConfigs(contestants.map(({ name, launched }) => ({ name, text: launched.config })));
      } finally {
        await stop(contestants);
      }
    }
  } finally {
    await backends.stop();
  }
  const rest = rows.filter((row) => row.scenario === 'rest');
  if (rest.length > 0) context.print(`\nrest: RSS before the first request\n${ratioTable(rest, REFERENCE)}`);
  return rows;
}

function choosePeers(context: SuiteContext): Peer[] {
  const chosen = PEERS.filter((peer) => context.peers.length === 0 || context.peers.includes(peer.name));
  return chosen.filter((peer) => {
    const version = peer.version();
    context.print(version === null ? `${peer.name}: not installed; its rows are absent` : `${peer.name}: ${version}`);
    return version !== null;
  });
}

async function launch(
  context: SuiteContext,
  scenario: Scenario,
  peer: Peer,
  backends: Backends,
  identities: Awaited<ReturnType<typeof createIdentities>>,
): Promise<Contestant | null> {
  const folder = join(context.folder, `${scenario.name}-${peer.name}`);
  mkdirSync(folder);
  const all = backends[scenario.protocol];
  const instances = scenario.hops === 1 && scenario.front === 'clear' ? all : all.slice(0, 1);
  const launched = await peer.launch({ scenario, folder, backends: instances, identities });
  if (launched === null) return null;
  const contestant = { name: peer.name, launched, pids: launched.programs.map(({ pid }) => pid), rounds: [] };
  if (scenario.protocol === 'h2') {
    try {
      await checkTrailers(scenario, launched.port);
    } catch (error) {
      await stop([contestant]);
      throw new Error(`${peer.name}, ${scenario.name}: ${(error as Error).message}`);
    }
  }
  return contestant;
}

/** h2load looks at the status only: one call shows that `grpc-status` arrives too, or the figures would mean nothing. */
async function checkTrailers(scenario: Scenario, port: number): Promise<void> {
  const tls = { servername: SNI, rejectUnauthorized: false, ALPNProtocols: ['h2'] };
  const session =
    scenario.front === 'tls' ? connect(`https://127.0.0.1:${port}`, tls) : connect(`http://127.0.0.1:${port}`);
  try {
    const status = await new Promise<string>((resolve, reject) => {
      session.once('error', reject);
      const headers = { ':method': 'POST', ':path': GRPC_PATH, ':authority': HOST };
      const call = session.request({ ...headers, 'content-type': 'application/grpc', te: 'trailers' });
      let head = '';
      call.once('response', (fields) => (head = `:status ${fields[':status']}, no grpc-status in trailers`));
      let found = '';
      call.once('trailers', (fields) => (found = String(fields['grpc-status'] ?? '')));
      call.once('error', reject);
      call.once('close', () => resolve(found === '' ? head : found));
      call.resume();
      call.end(Buffer.from([0, 0, 0, 0, 0]));
    });
    if (status !== '0') throw new Error(`a call did not end with grpc-status 0 but ${status}`);
  } finally {
    session.close();
  }
}

async function playRounds(
  context: SuiteContext,
  scenario: Scenario,
  contestants: readonly Contestant[],
  backends: Backends,
): Promise<void> {
  // Unmeasured: compilers warm up, pools fill.
  if (!context.smoke) for (const contestant of contestants) await load(context, scenario, contestant, backends, 2);
  for (let number = 0; number < context.rounds; number++) {
    for (const contestant of contestants) {
      const before = cpuMicros(contestant.pids);
      const result = await load(context, scenario, contestant, backends, context.seconds);
      const cpuUsPerRequest = (cpuMicros(contestant.pids) - before) / result.requests;
      contestant.rounds.push({ ...result, cpuUsPerRequest, rssMb: rssMb(contestant.pids) });
      if (result.errors > 0) {
        context.print(`  ${contestant.name}, round ${number + 1}: ${result.errors} of ${result.requests} failed`);
      }
    }
  }
}

function load(
  context: SuiteContext,
  scenario: Scenario,
  { launched }: Contestant,
  backends: Backends,
  seconds: number,
): Promise<LoadResult> {
  const target = { port: launched.port, seconds, folder: context.folder };
  const sni = scenario.front === 'tls' ? SNI : null;
  if (scenario.protocol === 'h2') {
    const shape = { clients: 8, streams: 16, http1: false, sni, body: backends.grpcBody, path: GRPC_PATH };
    return h2load(shape, target);
  }
  if (sni === null) return wrk(target);
  // wrk cannot send another name in SNI than the one it resolves.
  return h2load({ clients: 64, streams: 1, http1: true, sni, body: null, path: '/bench' }, target);
}

function rowOf(scenario: string, { name, rounds }: Contestant): Row {
  const middle = (pick: (of: Round) => number): number => round(median(rounds.map(pick)));
  const costs = rounds.map((one) => one.cpuUsPerRequest);
  return {
    suite: 'wire',
    scenario,
    proxy: name,
    cpu_us_per_request: middle((one) => one.cpuUsPerRequest),
    requests_per_s: middle((one) => one.requestsPerSecond),
    p50_ms: middle((one) => one.p50Ms),
    p99_ms: middle((one) => one.p99Ms),
    rss_mb: middle((one) => one.rssMb),
    errors: rounds.reduce((sum, one) => sum + one.errors, 0),
    round_min: round(Math.min(...costs)),
    round_max: round(Math.max(...costs)),
  };
}

async function restRows(contestants: readonly Contestant[]): Promise<Row[]> {
  await pause(REST_MS);
  return contestants.map(({ name, pids }) => ({
    suite: 'wire',
    scenario: 'rest',
    proxy: name,
    rss_mb: round(rssMb(pids)),
  }));
}

async function stop(contestants: readonly Contestant[]): Promise<void> {
  await Promise.all(contestants.flatMap(({ launched }) => launched.programs.map((program) => program.stop())));
}
