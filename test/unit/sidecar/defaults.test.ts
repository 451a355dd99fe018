// What the .proto files and the README promise of a policy that says nothing: numbers on which others build, so that a
// change of one is a change of the product, not of a constant.
import { create } from '@bufbuild/protobuf';
import { expect, onTestFinished, test } from 'vitest';
import { RouteSchema, ServiceSchema } from '../../../proto/gen/weft/mesh/v1/resources_pb.js';
import { readOptions } from '../../../proto/kit/options.ts';
import { linearRegex } from '../../../sidecar/config/compile-match.ts';
import { compileRoute, DEFAULT_RULE } from '../../../sidecar/config/compile-route.ts';
import { compileService } from '../../../sidecar/config/compile-service.ts';
import { SIDECAR_OPTIONS } from '../../../sidecar/options.ts';
import { upstreamRig } from '../../support/upstream-rig.ts';

/** route.proto: Timeouts and Retry. */
const RULE = {
  requestTimeoutMs: 15_000,
  perTryTimeoutMs: 0,
  idleTimeoutMs: 300_000,
  retry: {
    attempts: 1,
    onConnectFailure: true,
    onGatewayError: false,
    onReset: false,
    onUnavailable: false,
    onRateLimited: false,
    nonIdempotent: false,
    backoffBaseMs: 25,
    backoffMaxMs: 250,
  },
};

test('a rule that says nothing, and a Service without a Route', () => {
  const { route } = compileRoute(create(RouteSchema, { name: 'shop/r', rules: [{}] }), linearRegex);
  expect(route?.routes[0]?.rule).toMatchObject(RULE);
  expect(DEFAULT_RULE).toMatchObject(RULE);
});

test('a Service that says nothing but its port', () => {
  const errors: [] = [];
  const service = compileService(create(ServiceSchema, { name: 'shop/orders', ports: [{ port: 80 }] }), errors);
  expect(errors).toEqual([]);
  // service.proto: LoadBalancing, ConnectionPool, OutlierDetection, ServicePort.
  expect(service?.ports[0]).toMatchObject({
    protocol: 'http1',
    acceptProxy: false,
    opaque: { rule: { idleTimeoutMs: 3_600_000 } },
    settings: {
      tls: 'mutual',
      minVersion: 'TLSv1.2',
      balancing: 'leastRequest',
      outlier: { failures: 7, baseMs: 1_000, maxMs: 60_000, percentMax: 50 },
      requestsMax: 1_024,
      connectionsMax: 1_024,
      pendingRequestsMax: 1_024,
      connectTimeoutMs: 1_000,
    },
  });
});

test.each([
  // Shorter than the 5 s of an application in Node.
  ['http1', 4_000],
  ['http2', 3_600_000],
] as const)('connections over %s that are out of use are closed after %d ms', (protocol, idleTimeoutMs) => {
  const rig = upstreamRig({}, { port: 1 }, { protocol, tls: 'off' });
  onTestFinished(() => rig.close());
  expect(rig.upstream.cluster.list[0]?.pool.limits).toMatchObject({ idleTimeoutMs });
});

test('options that are not given', () => {
  expect(readOptions('sidecar', SIDECAR_OPTIONS, [], {})).toMatchObject({
    kind: 'values',
    values: {
      adminPort: 15000,
      outboundPort: 15001,
      aiPort: 15004,
      inboundPort: 15006,
      metricsPort: 15020,
      readinessPort: 15021,
      drainTime: 30_000,
    },
  });
});
