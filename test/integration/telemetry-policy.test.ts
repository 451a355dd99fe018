// What a Telemetry policy records on both sides of a call: the caller's sidecar follows what holds for the Service that
// it serves, the receiver's what holds for its own.
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AuthorizationSchema, TelemetrySchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { AuthorizationAction } from '../../proto/gen/weft/policy/v1/authorization_pb.js';
import { threadClock } from '../../sidecar/base/clock.ts';
import type { ResourceBytes, TelemetryRecord } from '../../sidecar/base/messages.ts';
import { TimerWheel } from '../../sidecar/base/timer-wheel.ts';
import { TelemetryBuffer } from '../../sidecar/telemetry/worker-buffer.ts';
import { endpoint, resource, service, type WorkerRig, workerRig } from '../support/worker-rig.ts';

let caller: WorkerRig;
let receiver: WorkerRig;
let app: http.Server;
let traceparent = '';

beforeEach(async () => {
  app = http.createServer((request, response) => {
    traceparent = String(request.headers['traceparent']);
    response.end('served');
  });
  app.listen(0, '127.0.0.1');
  await once(app, 'listening');
  const { port } = app.address() as AddressInfo;
  caller = await workerRig([{ service: 'shop/web', port: 1, servicePort: 0 }]);
  receiver = await workerRig([{ service: 'shop/orders', port, servicePort: 0 }]);
  await caller.apply(service('shop/web'), service('shop/orders'), endpoint('shop/orders', receiver.inboundPort));
  const anybody = { name: 'shop/all', services: ['shop/orders'], action: AuthorizationAction.ALLOW, rules: [{}] };
  await receiver.apply(service('shop/orders'), resource(AuthorizationSchema, 'shop/all', anybody));
});

afterEach(async () => {
  await caller.close();
  await receiver.close();
  app.closeAllConnections();
  app.close();
});

type Spec = NonNullable<MessageInitShape<typeof TelemetrySchema>['spec']>;

function telemetry(of: string, spec: Spec): ResourceBytes {
  return resource(TelemetrySchema, `${of}-telemetry`, create(TelemetrySchema, { services: [of], spec }));
}

/** One call, and what each side recorded of it once both are through with it. */
async function call(host = 'orders'): Promise<{ out: readonly TelemetryRecord[]; in: readonly TelemetryRecord[] }> {
  const request = http.get({ host: '127.0.0.1', port: caller.port, agent: false, headers: { host } });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  await text(response);
  // Records travel in batches: a drain sends what is left.
  await Promise.all([caller.drain(1_000), receiver.drain(1_000)]);
  return { out: caller.records, in: receiver.records };
}

const share = (tracing: number, log: number): Spec => ({
  tracing: { samplingPercent: tracing },
  accessLog: { samplingPercent: log },
});

test('a call is traced and not logged when no policy speaks of it', async () => {
  const seen = await call();
  expect(seen.out).toMatchObject([{ span: true, log: false, direction: 'outbound' }]);
  expect(seen.in).toMatchObject([{ span: true, log: false, direction: 'inbound' }]);
  expect(seen.in[0]?.traceId).toBe(seen.out[0]?.traceId);
});

test('the caller samples by what holds for its own Service, and the receiver keeps that decision', async () => {
  await caller.apply(telemetry('shop/web', share(0, 0)));
  await receiver.apply(telemetry('shop/orders', share(100, 0)));
  expect(await call()).toEqual({ out: [], in: [] });
  expect(traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
});

test('what holds for the called Service says nothing about the caller', async () => {
  await caller.apply(telemetry('shop/orders', share(0, 100)));
  expect((await call()).out).toMatchObject([{ span: true, log: false }]);
});

test('each side logs by its own share', async () => {
  await caller.apply(telemetry('shop/web', share(0, 100)));
  await receiver.apply(telemetry('shop/orders', share(0, 100)));
  const seen = await call();
  expect(seen.out).toMatchObject([{ log: true, span: false, service: 'shop/orders', status: 200 }]);
  expect(seen.in).toMatchObject([{ log: true, span: false, service: 'shop/orders', status: 200 }]);
});

test('a call to no Service is logged by the share of the caller', async () => {
  await caller.apply(telemetry('shop/web', share(0, 100)));
  expect((await call('stock')).out).toMatchObject([{ log: true, span: false, service: '', status: 404, flag: 'NR' }]);
});

test('a log share above 0 logs every failure and about that share of the rest', async () => {
  await caller.apply(telemetry('shop/web', share(0, 0.001)));
  expect((await call('stock')).out).toMatchObject([{ log: true, status: 404 }]);
});

test('a denial is a line in the log whatever the policy, and a flood of them is a hundred a second', async () => {
  const nobody = { name: 'shop/all', services: ['shop/orders'], action: AuthorizationAction.ALLOW, rules: [] };
  await receiver.apply(resource(AuthorizationSchema, 'shop/all', nobody));
  const seen = await call();
  expect(seen.in).toMatchObject([{ log: true, status: 403, flag: 'RBAC', detail: '(no ALLOW matches)' }]);
  const buffer = new TelemetryBuffer(new TimerWheel(threadClock), () => {});
  const lines = (nowMs: number): number => {
    let count = 0;
    for (let i = 0; i < 200; i++) if (buffer.takeDenialLine(nowMs + i)) count++;
    return count;
  };
  expect([lines(5_000), lines(5_300), lines(6_000)]).toEqual([100, 0, 100]);
});
