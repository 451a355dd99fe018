// The wire suite: what one request through one proxy costs, beside HAProxy, nginx and Envoy in the same minutes on the
// same cores. CPU per request is the figure; requests per second and latency at full load are printed beside it.
// `policies` and `workers` are of Weft alone: what policies cost, and what a second worker does.

import { connect } from 'node:http2';
import { GRPC_PATH } from './backends.ts';
import { type Grounds, playTrial, wanted } from './contest.ts';
import { h2load, type LoadResult, type LoadTarget, wrk } from './load.ts';
import { envoy } from './peers/envoy.ts';
import { haproxy } from './peers/haproxy.ts';
import { nginx } from './peers/nginx.ts';
import { HOST, type Peer, type Scenario, SNI } from './peers/peer.ts';
import { weftPeers } from './peers/weft.ts';
import { PER_REQUEST, type Row } from './rows.ts';
import { refuseUnknown, type SuiteContext } from './suite.ts';
import { WORKERS, workersScenario } from './workers.ts';

/** All that the wire, mesh, body and handshake suites compare. */
export const PEERS: readonly Peer[] = [envoy, haproxy, nginx, ...weftPeers()];

/** The body of `h1-post`. */
const POST_BYTES = 1024;

const h1 = { protocol: 'h1', front: 'clear', hops: 1 } as const;
const h2 = { protocol: 'h2', front: 'clear', hops: 1 } as const;
const SCENARIOS: readonly Scenario[] = [
  { ...h1, name: 'h1', title: 'HTTP/1.1 small GET, 64 kept-alive connections' },
  { ...h1, name: 'h1-post', title: 'HTTP/1.1 POST of 1 KiB, 64 kept-alive connections' },
  { ...h2, name: 'h2', title: 'HTTP/2 gRPC-shaped unary with trailers, 8 connections x 16 streams' },
  { ...h2, name: 'h2-1', title: 'HTTP/2 as above, 64 connections x 1 stream' },
  { ...h1, name: 'tls-h1', title: 'HTTP/1.1 small GET behind TLS 1.3, 64 connections', front: 'tls' },
  { ...h2, name: 'tls-h2', title: 'HTTP/2 behind TLS 1.3, 8 connections x 16 streams', front: 'tls' },
  { ...h2, name: 'tls-h2-1', title: 'HTTP/2 behind TLS 1.3, 64 connections x 1 stream', front: 'tls' },
];

/** As `h1`, so that its peers show what the machine gives in these minutes; only Weft is given the policies. */
const POLICIES: Scenario = {
  ...h1,
  name: 'policies',
  title: 'HTTP/1.1 small GET; Weft inbound with authorization, outlier detection and 1 % of traces and requests logged',
};

/** Runs the suite. `context.only` may name scenarios. */
export async function wireSuite(context: SuiteContext): Promise<Row[]> {
  refuseUnknown(context, { scenarios: [...SCENARIOS, POLICIES, WORKERS], peers: PEERS });
  const rows: Row[] = [];
  const trial = { suite: 'wire', cost: PER_REQUEST, load: loadScenario, check: checkTrailers };
  if (wanted(context, SCENARIOS).length > 0) {
    rows.push(...(await playTrial(context, { ...trial, scenarios: SCENARIOS, peers: PEERS })));
  }
  if (wanted(context, [POLICIES]).length > 0) {
    const peers = [envoy, haproxy, nginx, ...weftPeers({ policies: true })];
    const found = await playTrial(context, { ...trial, scenarios: [POLICIES], peers });
    rows.push(...found);
    const weft = found.find(({ proxy }) => proxy === 'weft')?.cpu_us_per_request;
    if (weft !== undefined) context.print(`one core's worth of such requests: ${Math.round(1e6 / weft)} a second`);
  }
  rows.push(...(await workersScenario(context)));
  return rows;
}

/** One round of small requests, also of the mesh suite. */
export function loadScenario(scenario: Scenario, target: LoadTarget, { backends }: Grounds): Promise<LoadResult> {
  const sni = scenario.front === 'tls' ? SNI : null;
  if (scenario.protocol === 'h2') {
    const one = scenario.name.endsWith('-1');
    const shape = { clients: one ? 64 : 8, streams: one ? 1 : 16, http1: false, sni };
    return h2load({ ...shape, body: backends.grpcBody, grpc: true, path: GRPC_PATH }, target);
  }
  if (sni === null) return wrk(target, scenario.name === 'h1-post' ? POST_BYTES : 0);
  // wrk cannot send another name in SNI than the one it resolves.
  return h2load({ clients: 64, streams: 1, http1: true, sni, body: null, grpc: false, path: '/bench' }, target);
}

/** h2load looks at the status only: one call shows that `grpc-status` arrives too, or the figures would mean nothing. */
export async function checkTrailers(scenario: Scenario, port: number): Promise<void> {
  if (scenario.protocol === 'h1') return;
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
    if (status !== '0') throw new Error(`a call of ${scenario.name} did not end with grpc-status 0 but ${status}`);
  } finally {
    session.close();
  }
}
