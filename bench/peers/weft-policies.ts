// The policies that Weft's sidecars get in the benches, as an operator would write them.

import { HOST } from './peer.ts';

/** The Service `echo` with one port. Without endpoints it lives where a sidecar registers it. */
export function service(
  protocol: 'h1' | 'h2',
  tls: 'OFF' | 'SIMPLE' | 'MUTUAL',
  endpoints: readonly number[],
  outlierDetection = false,
): string {
  const list = endpoints.map((port) => `{ address: 127.0.0.1, port: ${port} }`).join(', ');
  const source = endpoints.length === 0 ? '' : `  static: { endpoints: [${list}] }\n`;
  const outlier = '  outlierDetection: { consecutiveFailures: 5, ejectionBase: 1s, ejectionMax: 30s }\n';
  return `kind: Service
metadata: { name: ${HOST} }
spec:
  ports: [{ name: app, port: 80, protocol: ${protocol === 'h1' ? 'HTTP1' : 'GRPC'}, tls: ${tls} }]
${source}${outlierDetection ? outlier : ''}`;
}

/** `caller` null: anyone, also without a certificate. */
export function authorization(caller: string | null): string {
  const from = caller === null ? '' : `, from: [{ serviceAccount: ${caller} }]`;
  return `kind: Authorization
metadata: { name: ${HOST}-callers }
spec:
  targetRefs: [{ name: ${HOST} }]
  action: ALLOW
  rules: [{ name: bench${from} }]
`;
}

/**
 * Those of `npm start` for its `orders`: who may call, who never, what is never done. wrk has no certificate, so that
 * anyone may read; requests and traces are logged as a mesh would, not all of them as a demo does.
 */
export const DEMO_POLICIES: readonly string[] = [
  `kind: Authorization
metadata: { name: ${HOST}-callers }
spec:
  targetRefs: [{ name: ${HOST} }]
  action: ALLOW
  rules:
    - name: web
      from: [{ serviceAccount: web }]
    - name: readers
      to: [{ methods: [GET] }]
`,
  `kind: Authorization
metadata: { name: ${HOST}-never }
spec:
  targetRefs: [{ name: ${HOST} }]
  action: DENY
  rules:
    - name: delete
      to: [{ methods: [DELETE] }]
    - name: backends
      from: [{ serviceAccount: inventory }, { serviceAccount: scorer }]
`,
  `kind: Telemetry
metadata: { name: sampled }
spec:
  tracing: { samplingPercent: 1 }
  accessLog: { samplingPercent: 1 }
`,
];
