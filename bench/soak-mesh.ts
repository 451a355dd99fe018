// The sidecar that the soak watches, with all its roles in one process: its outbound port calls its own inbound port
// over mutual TLS, so that every request to `echo` crosses it twice, and `calls` in the clear.

import { join } from 'node:path';
import type { Grounds } from './contest.ts';
import { HOST } from './peers/peer.ts';
import { BUNDLE } from './peers/weft.ts';
import { type Sidecar, startSidecar } from './peers/weft-sidecar.ts';
import { freePorts } from './processes.ts';

/** The Service behind which the gRPC-shaped backends are. */
export const CALLS = 'calls';

/** Connections to endpoints close when idle this long, so that at the end none may be open for a good reason. */
const POOL = 'connectionPool: { idleTimeout: 1s }';

/** Starts it. */
export async function startSoakMesh(folder: string, { backends, identities }: Grounds): Promise<Sidecar> {
  const [inbound = 0] = await freePorts(1);
  const endpoints = backends.h2.map((port) => `{ address: 127.0.0.1, port: ${port} }`).join(', ');
  const policies = [
    `kind: Service
metadata: { name: ${HOST} }
spec:
  ports: [{ name: app, port: 80, protocol: HTTP1 }]
  ${POOL}
`,
    `kind: Service
metadata: { name: ${CALLS} }
spec:
  ports: [{ name: app, port: 80, protocol: GRPC, tls: OFF }]
  static: { endpoints: [${endpoints}] }
  ${POOL}
`,
    `kind: Authorization
metadata: { name: ${HOST}-callers }
spec:
  targetRefs: [{ name: ${HOST} }]
  action: ALLOW
  rules: [{ name: callers, from: [{ serviceAccount: client }, { serviceAccount: echo }] }]
`,
    `kind: Telemetry
metadata: { name: sampled }
spec:
  tracing: { samplingPercent: 1 }
  accessLog: { samplingPercent: 1 }
`,
  ];
  return await startSidecar({
    name: 'soak',
    folder: join(folder, 'soak'),
    bundle: BUNDLE,
    identity: identities.server,
    account: 'echo',
    roots: identities.roots,
    policies,
    endpoint: { port: inbound, spiffeId: identities.server.spiffeId },
    options: [`--app=${HOST}:80=${backends.h1[0]}`, `--inbound-port=${inbound}`],
  });
}
