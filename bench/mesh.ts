// The mesh suite: what a mesh adds to one call, two proxies with mutual TLS between them, for applications that speak
// HTTP/1.1 and for gRPC. CPU per request is that of both proxies together, which share one core.

import { playTrial } from './contest.ts';
import type { Scenario } from './peers/peer.ts';
import { PER_REQUEST, type Row } from './rows.ts';
import { refuseUnknown, type SuiteContext } from './suite.ts';
import { checkTrailers, loadScenario, PEERS } from './wire.ts';

const mesh = { front: 'clear', hops: 2 } as const;
const SCENARIOS: readonly Scenario[] = [
  { ...mesh, name: 'h1', title: 'two hops with mutual TLS, HTTP/1.1 applications, 64 connections', protocol: 'h1' },
  { ...mesh, name: 'grpc', title: 'two hops with mutual TLS, gRPC-shaped unary, 8 x 16 streams', protocol: 'h2' },
];

/** Runs the suite. */
export async function meshSuite(context: SuiteContext): Promise<Row[]> {
  refuseUnknown(context, { scenarios: SCENARIOS, peers: PEERS });
  const trial = { suite: 'mesh', scenarios: SCENARIOS, peers: PEERS, cost: PER_REQUEST };
  return await playTrial(context, { ...trial, load: loadScenario, check: checkTrailers });
}
