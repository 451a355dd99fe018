// The body suite: what moving bytes costs. Bodies of 1 MiB down (GET) and up (POST), in the clear and behind TLS 1.3,
// over HTTP/1.1; one body is one MiB, so CPU per request is CPU per MiB. h2load sends and reads all of them.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MIB_BYTES, MIB_PATH, READ_PATH } from './backends.ts';
import { playTrial } from './contest.ts';
import { h2load } from './load.ts';
import { type Scenario, SNI } from './peers/peer.ts';
import type { Cost, Row } from './rows.ts';
import { refuseUnknown, type SuiteContext } from './suite.ts';
import { PEERS } from './wire.ts';

/** Bodies under way at once: enough to keep the proxy busy, few enough that their buffers stay in its caches. */
const CONNECTIONS = 8;

const PER_MIB: Cost = { figure: 'cpu_us_per_mib', title: 'CPU µs/MiB' };
const body = { protocol: 'h1', hops: 1 } as const;
const SCENARIOS: readonly Scenario[] = [
  { ...body, name: 'clear-down', title: '1 MiB responses', front: 'clear' },
  { ...body, name: 'clear-up', title: '1 MiB requests', front: 'clear' },
  { ...body, name: 'tls-down', title: '1 MiB responses behind TLS 1.3', front: 'tls' },
  { ...body, name: 'tls-up', title: '1 MiB requests behind TLS 1.3', front: 'tls' },
];

/** Runs the suite. */
export async function bodySuite(context: SuiteContext): Promise<Row[]> {
  refuseUnknown(context, { scenarios: SCENARIOS, peers: PEERS });
  const file = join(context.folder, 'mib.bin');
  writeFileSync(file, Buffer.alloc(MIB_BYTES, 'weft'));
  return await playTrial(context, {
    suite: 'body',
    scenarios: SCENARIOS,
    peers: PEERS,
    cost: PER_MIB,
    load({ name, front }, target) {
      const sent = name.endsWith('-up') ? { body: file, path: READ_PATH } : { body: null, path: MIB_PATH };
      const sni = front === 'tls' ? SNI : null;
      return h2load({ clients: CONNECTIONS, streams: 1, http1: true, sni, grpc: false, ...sent }, target);
    },
  });
}
