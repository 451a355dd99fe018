// What a Route's `retry` lets a real worker send again, and what never: by condition, by method, and within the budget.
import { once } from 'node:events';
import http2 from 'node:http2';
import { text } from 'node:stream/consumers';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { RetryCondition, type RetrySchema } from '../../proto/gen/weft/policy/v1/route_pb.js';
import { LoadBalancingPolicy, Protocol, TlsMode } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { LIMITS } from '../../sidecar/base/limits.ts';
import { type Answer, callHttp } from '../support/apps.ts';
import { useApps, useWorkerRig } from '../support/use.ts';
import { endpoint, route, service, until } from '../support/worker-rig.ts';

const rig = useWorkerRig();
const apps = useApps();

/** In turn, so that every second call meets each of two endpoints first; nobody is ejected meanwhile. */
const ORDERS = service('shop/orders', {
  loadBalancing: { policy: LoadBalancingPolicy.ROUND_ROBIN },
  outlierDetection: { consecutiveFailures: 1000 },
});

function retries(retry: MessageInitShape<typeof RetrySchema>) {
  return route('shop/retries', { services: ['shop/orders'], rules: [{ retry }] });
}

const call = (method = 'GET', path = '/', body?: string): Promise<Answer> =>
  callHttp(rig.port, 'orders', { method, path }, body);

/** One endpoint that answers well, with what it was sent, and one that answers `status`. */
async function goodAndBad(status: number): Promise<{ hits: string[] }> {
  const hits: string[] = [];
  const good = await apps.http(async (request, response) => void response.end(`good ${await text(request)}`));
  const bad = await apps.http((request, response) => {
    hits.push(request.method ?? '');
    request.resume().on('end', () => response.writeHead(status).end('bad'));
  });
  await rig.apply(ORDERS, endpoint('shop/orders', good), endpoint('shop/orders', bad));
  return { hits };
}

const statuses = async (count: number, method = 'GET'): Promise<number[]> => {
  const found: number[] = [];
  for (let i = 0; i < count; i++) found.push((await call(method, '/', method === 'GET' ? undefined : 'x')).status);
  return found;
};

describe('on GATEWAY_ERROR', () => {
  test.each([502, 503, 504])('a GET that one endpoint answers %i is answered by the other', async (status) => {
    const { hits } = await goodAndBad(status);
    await rig.apply(retries({ on: [RetryCondition.GATEWAY_ERROR] }));
    expect(await statuses(6)).toEqual(Array(6).fill(200));
    expect(hits.length).toBeGreaterThan(0);
    await until('counted', () => rig.count('retries', 'shop/orders') === hits.length);
  });

  test('a 500 is an answer of the application and goes through', async () => {
    await goodAndBad(500);
    await rig.apply(retries({ on: [RetryCondition.GATEWAY_ERROR] }));
    expect(new Set(await statuses(4))).toEqual(new Set([200, 500]));
  });

  /** Answers `status` with this Retry-After first, and well to the next request. */
  async function comingBack(status: number, retryAfter: string): Promise<{ asked: number }> {
    const app = { asked: 0 };
    const port = await apps.http((_request, response) => {
      if (++app.asked === 1) response.writeHead(status, { 'retry-after': retryAfter }).end('later');
      else response.end('good');
    });
    await rig.apply(ORDERS, endpoint('shop/orders', port));
    return app;
  }
  const on = [RetryCondition.GATEWAY_ERROR, RetryCondition.RATE_LIMITED];

  test.each([
    [503, '1'],
    [429, '1'],
  ])('a %i with Retry-After: %s is followed by another attempt', async (status, retryAfter) => {
    const app = await comingBack(status, retryAfter);
    await rig.apply(retries({ on }));
    expect(await call()).toMatchObject({ status: 200, body: 'good' });
    expect(app.asked).toBe(2);
  });

  test.each([
    ['the request timeout leaves less', 503, '2', { request: { seconds: 2n } }],
    ['the request timeout leaves less, for a 429', 429, '15', {}],
    ['no request is held for so long', 503, '300', { request: { seconds: 0n } }],
    ['a date is too far away', 503, new Date(Date.now() + 86_400_000).toUTCString(), {}],
  ])('%s: a %i with Retry-After: %s goes to the caller', async (_what, status, retryAfter, timeouts) => {
    const app = await comingBack(status, retryAfter);
    await rig.apply(route('shop/retries', { services: ['shop/orders'], rules: [{ retry: { on }, timeouts }] }));
    expect(await call()).toMatchObject({ status, body: 'later', headers: { 'retry-after': retryAfter } });
    expect(app.asked).toBe(1);
    expect(rig.count('retries', 'shop/orders')).toBe(0);
  });

  test('a Retry-After that is over, or says nothing, delays nothing', async () => {
    await comingBack(503, new Date(0).toUTCString());
    await rig.apply(retries({ on }));
    expect((await call()).status).toBe(200);
  });

  test('a 429 is an answer where the policy does not say RATE_LIMITED', async () => {
    const app = await comingBack(429, '0');
    await rig.apply(retries({ on: [RetryCondition.GATEWAY_ERROR] }));
    expect([(await call()).status, app.asked]).toEqual([429, 1]);
  });

  test('without the condition, or without attempts, a 503 goes through', async () => {
    await goodAndBad(503);
    expect(new Set(await statuses(4))).toEqual(new Set([200, 503]));
    await rig.apply(retries({ on: [RetryCondition.GATEWAY_ERROR], attempts: 0 }));
    expect(new Set(await statuses(4))).toEqual(new Set([200, 503]));
  });

  test('a POST is sent once, unless the policy says nonIdempotent; then with its whole body', async () => {
    const { hits } = await goodAndBad(503);
    await rig.apply(retries({ on: [RetryCondition.GATEWAY_ERROR] }));
    expect(new Set(await statuses(4, 'POST'))).toEqual(new Set([200, 503]));
    expect(rig.count('retries', 'shop/orders')).toBe(0);
    hits.length = 0;
    await rig.apply(retries({ on: [RetryCondition.GATEWAY_ERROR], nonIdempotent: true }));
    const answers = [await call('POST', '/', 'one'), await call('POST', '/', 'two')];
    expect(answers.map(({ body }) => body)).toEqual(['good one', 'good two']);
    expect(new Set(hits)).toEqual(new Set(['POST']));
  });

  test('a request too large to be kept is sent once, and the answer there is may take as long as it likes', async () => {
    const port = await apps.http((request, response) => {
      request.resume().on('end', () => {
        response.writeHead(503).write('slow ');
        setTimeout(() => response.end('but whole'), 600);
      });
    });
    const retry = { on: [RetryCondition.GATEWAY_ERROR], nonIdempotent: true };
    const timeouts = { request: { seconds: 0n, nanos: 300_000_000 } };
    await rig.apply(
      ORDERS,
      endpoint('shop/orders', port),
      route('shop/r', { services: ['shop/orders'], rules: [{ retry, timeouts }] }),
    );
    expect(await call('POST', '/', 'x'.repeat(LIMITS.replayBytesMax * 2))).toMatchObject({
      status: 503,
      body: 'slow but whole',
    });
    expect(rig.count('retries', 'shop/orders')).toBe(0);
  });

  test('retries under way are a fifth of the requests under way, and the rest get the answer there is', async () => {
    const seen = new Set<string>();
    const first: (() => void)[] = [];
    const again: (() => void)[] = [];
    const port = await apps.http((request, response) => {
      const path = request.url ?? '';
      if (seen.has(path)) again.push(() => response.end('good'));
      else first.push(() => response.writeHead(503).end());
      seen.add(path);
    });
    await rig.apply(ORDERS, endpoint('shop/orders', port), retries({ on: [RetryCondition.GATEWAY_ERROR] }));
    const found: number[] = [];
    const calls = Array.from({ length: 20 }, async (_, i) => found.push((await call('GET', `/${i}`)).status));
    await until('all are under way', () => first.length === 20);
    for (const answer of first) answer();
    await until('all but the retries are answered', () => found.length === 16);
    expect(found).toEqual(Array(16).fill(503));
    await until('a fifth of twenty is tried again', () => again.length === 4);
    for (const answer of again) answer();
    await Promise.all(calls);
    expect(found.slice(16)).toEqual(Array(4).fill(200));
  });
});

describe('a connection that ends before the answer', () => {
  /** One endpoint that answers well and one that takes the request and hangs up. */
  async function goodAndHangingUp(): Promise<void> {
    const good = await apps.http((_request, response) => void response.end('good'));
    const bad = await apps.http((request) => void request.socket.destroy());
    await rig.apply(ORDERS, endpoint('shop/orders', good), endpoint('shop/orders', bad));
  }

  test('is tried again on RESET only', async () => {
    await goodAndHangingUp();
    expect(new Set(await statuses(4))).toEqual(new Set([200, 503]));
    await rig.apply(retries({ on: [RetryCondition.RESET] }));
    expect(await statuses(6)).toEqual(Array(6).fill(200));
    expect(new Set(await statuses(4, 'POST'))).toEqual(new Set([200, 503]));
  });

  test('after it had served a request is the keep-alive race: a GET goes again, a POST does not', async () => {
    const served = new WeakSet<object>();
    const port = await apps.http((request, response) => {
      if (served.has(request.socket)) return void request.socket.destroy();
      served.add(request.socket);
      request.resume().on('end', () => response.end('good'));
    });
    await rig.apply(ORDERS, endpoint('shop/orders', port));
    expect(await statuses(3)).toEqual([200, 200, 200]);
    expect(await statuses(1, 'POST')).toEqual([503]);
  });
});

test('gRPC UNAVAILABLE is tried again on UNAVAILABLE, for calls that may be sent twice', async () => {
  const grpc = (status: string): Promise<number> =>
    apps.http2((stream) => {
      const headers = { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': status };
      stream.respond(headers, { endStream: true });
    });
  const ports = [{ port: 80, tls: TlsMode.OFF, protocol: Protocol.GRPC }];
  const loadBalancing = { policy: LoadBalancingPolicy.ROUND_ROBIN };
  const outlierDetection = { consecutiveFailures: 1000 };
  await rig.apply(
    service('shop/orders', { ports, loadBalancing, outlierDetection }),
    endpoint('shop/orders', await grpc('0')),
    endpoint('shop/orders', await grpc('14')),
  );
  const session = http2.connect(`http://127.0.0.1:${rig.port}`);
  apps.onClose(() => session.destroy());
  const found = async (): Promise<unknown[]> => {
    const all: unknown[] = [];
    for (let i = 0; i < 4; i++) {
      const headers = {
        ':method': 'POST',
        ':path': '/a.B/C',
        ':authority': 'orders',
        'content-type': 'application/grpc',
      };
      const stream = session.request(headers);
      const [response] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders];
      stream.resume();
      all.push(response['grpc-status']);
    }
    return all;
  };
  await rig.apply(retries({ on: [RetryCondition.UNAVAILABLE] }));
  expect(new Set(await found())).toEqual(new Set(['0', '14']));
  await rig.apply(retries({ on: [RetryCondition.UNAVAILABLE], nonIdempotent: true }));
  expect(await found()).toEqual(['0', '0', '0', '0']);
});
