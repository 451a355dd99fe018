// The handshake suite: what a new connection costs, with every request on one of its own: TLS 1.3 with the server's
// certificate only, and mutual. All keys are ECDSA P-256 from one authority, the group is X25519, nothing resumes.

import { readFileSync } from 'node:fs';
import type { Identity } from './certificates.ts';
import { playTrial } from './contest.ts';
import type { HandshakeLoad } from './handshake-load.ts';
import { runProgram } from './load-program.ts';
import { type Scenario, SNI } from './peers/peer.ts';
import type { Cost, Row } from './rows.ts';
import { refuseUnknown, type SuiteContext } from './suite.ts';
import { PEERS } from './wire.ts';

/** Handshakes under way: a client in Node fills them, and no proxy waits for it long. */
const CONNECTIONS = 8;

const PER_HANDSHAKE: Cost = { figure: 'cpu_us_per_handshake', title: 'CPU µs/handshake' };
const one = { protocol: 'h1', hops: 1 } as const;
const SCENARIOS: readonly Scenario[] = [
  { ...one, name: 'server', title: 'a full handshake per request, the server authenticated', front: 'tls' },
  { ...one, name: 'mutual', title: 'a full handshake per request, both authenticated', front: 'mutual' },
];

/** Runs the suite. */
export async function handshakeSuite(context: SuiteContext): Promise<Row[]> {
  refuseUnknown(context, { scenarios: SCENARIOS, peers: PEERS });
  return await playTrial(context, {
    suite: 'handshake',
    scenarios: SCENARIOS,
    peers: PEERS,
    cost: PER_HANDSHAKE,
    load({ front }, { port, seconds }, { identities }) {
      const identity = front === 'mutual' ? clientPem(identities.client) : null;
      const load: HandshakeLoad = { port, seconds, sni: SNI, identity, connections: CONNECTIONS };
      return runProgram('./handshake-load.ts', load);
    },
  });
}

/** As the load programs take it. */
export function clientPem({ key, certificate }: Identity): { key: string; chain: string } {
  return { key: readFileSync(key, 'utf8'), chain: readFileSync(certificate, 'utf8') };
}
