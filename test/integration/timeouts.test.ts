// Every timeout of a Route and of a connection pool through a real worker: what runs out, what the caller is told, and
// what a timeout must not touch.
import { once } from 'node:events';
import http from 'node:http';
import { beforeEach, expect, test } from 'vitest';
import { RetryCondition } from '../../proto/gen/weft/policy/v1/route_pb.js';
import { LoadBalancingPolicy, Protocol, TlsMode } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { callHttp } from '../support/apps.ts';
import { useApps, useWorkerRig } from '../support/use.ts';
import { endpoint, logged, route, service, until } from '../support/worker-rig.ts';

/** Short beside the tests' patience, long beside a busy machine's pauses where something must stay within. */
const SHORT = { nanos: 100_000_000 };

const rig = useWorkerRig();
const apps = useApps();

beforeEach(async () => {
  await rig.apply(logged());
});

type Rule = NonNullable<Parameters<typeof route>[1]['rules']>[number];

const ruled = (rule: Rule) => route('shop/timeouts', { services: ['shop/orders'], rules: [{ name: 'slow', ...rule }] });
const call = () => callHttp(rig.port, 'orders');

/** A call whose body the test sends, on a connection of its own. */
function beginPost(): http.ClientRequest {
  return http.request({ host: '127.0.0.1', port: rig.port, method: 'POST', agent: false, headers: { host: 'orders' } });
}

/** An application that takes requests and never answers; `left` counts those that were given up. */
async function silent(): Promise<{ port: number; left: () => number; arrived: () => number }> {
  let left = 0;
  let arrived = 0;
  const port = await apps.http((request) => {
    arrived++;
    request.socket.once('close', () => left++);
  });
  return { port, left: () => left, arrived: () => arrived };
}

test('per_try ends a slow first attempt, and the other endpoint answers', async () => {
  const slow = await silent();
  const good = await apps.http((_request, response) => void response.end('good'));
  await rig.apply(
    service('shop/orders', { loadBalancing: { policy: LoadBalancingPolicy.ROUND_ROBIN } }),
    endpoint('shop/orders', slow.port),
    endpoint('shop/orders', good),
    ruled({ timeouts: { perTry: SHORT }, retry: { on: [RetryCondition.RESET] } }),
  );
  for (let i = 0; i < 3; i++) expect(await call()).toMatchObject({ status: 200, body: 'good' });
  expect(slow.arrived()).toBeGreaterThan(0);
  await until('the slow one is given up', () => slow.left() === slow.arrived());
  await until('counted', () => rig.count('retries', 'shop/orders') === slow.arrived());
});

test('per_try without another attempt allowed is 504, and says which timeout', async () => {
  const slow = await silent();
  await rig.apply(
    service('shop/orders'),
    endpoint('shop/orders', slow.port),
    ruled({ timeouts: { perTry: SHORT }, retry: { attempts: 0 } }),
  );
  const answer = await call();
  expect([answer.status, answer.headers['x-weft-error']]).toEqual([504, 'UT']);
  expect(answer.body).toContain('no response head within 100 ms (timeouts.per_try of shop/timeouts#slow)');
});

test('request is over all attempts together', async () => {
  const slow = await silent();
  await rig.apply(
    service('shop/orders'),
    endpoint('shop/orders', slow.port),
    ruled({
      timeouts: { perTry: SHORT, request: { nanos: 350_000_000 } },
      retry: { on: [RetryCondition.RESET], attempts: 10 },
    }),
  );
  const answer = await call();
  expect([answer.status, answer.headers['x-weft-error']]).toEqual([504, 'UT']);
  expect(answer.body).toContain('within 350 ms (timeouts.request of shop/timeouts#slow)');
  expect(slow.arrived()).toBeGreaterThan(1);
  await until('every attempt is given up', () => slow.left() === slow.arrived());
  await until(
    'counted',
    () => rig.count('requests', 'outbound', 'shop/orders', 'shop/timeouts#slow', '504', '', 'UT') === 1,
  );
});

test('request runs to the response head: a body may take longer', async () => {
  const port = await apps.http((_request, response) => {
    response.write('head ');
    setTimeout(() => response.end('and tail'), 300);
  });
  await rig.apply(
    service('shop/orders'),
    endpoint('shop/orders', port),
    ruled({ timeouts: { request: { nanos: 150_000_000 }, perTry: { nanos: 150_000_000 } } }),
  );
  expect((await call()).body).toBe('head and tail');
});

test('request begins with the end of the request: a caller may take its time to send it', async () => {
  const got = await apps.http((request, response) => void request.resume().on('end', () => response.end('all of it')));
  await rig.apply(
    service('shop/orders'),
    endpoint('shop/orders', got),
    ruled({ timeouts: { request: { nanos: 150_000_000 }, perTry: { nanos: 150_000_000 } } }),
  );
  const request = beginPost();
  request.write('some');
  await new Promise((resolve) => setTimeout(resolve, 400));
  request.end('more');
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  expect(response.statusCode).toBe(200);
});

test.each(['request', 'perTry'] as const)(
  '%s holds for an answer that does not come after a long request',
  async (name) => {
    const slow = await silent();
    await rig.apply(
      service('shop/orders'),
      endpoint('shop/orders', slow.port),
      ruled({ timeouts: { [name]: { nanos: 150_000_000 } }, retry: { attempts: 0 } }),
    );
    const request = beginPost();
    request.write('some');
    await until('it arrived', () => slow.arrived() === 1);
    request.end('more');
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    expect([response.statusCode, response.headers['x-weft-error']]).toEqual([504, 'UT']);
  },
);

test('idle ends a request in which nothing moves, too', async () => {
  const slow = await silent();
  await rig.apply(service('shop/orders'), endpoint('shop/orders', slow.port), ruled({ timeouts: { idle: SHORT } }));
  const request = beginPost();
  request.on('error', () => {});
  request.write('some');
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  expect([response.statusCode, response.headers['x-weft-error']]).toEqual([504, 'SI']);
  await until('the application is let go', () => slow.left() === 1);
});

test('an endpoint that hangs is ejected after as many timeouts as failures', async () => {
  const slow = await silent();
  const good = await apps.http((_request, response) => void response.end('good'));
  await rig.apply(
    service('shop/orders', {
      loadBalancing: { policy: LoadBalancingPolicy.ROUND_ROBIN },
      outlierDetection: { consecutiveFailures: 2, ejectionBase: { seconds: 60n }, ejectionMax: { seconds: 60n } },
    }),
    endpoint('shop/orders', slow.port),
    endpoint('shop/orders', good),
    ruled({ timeouts: { request: SHORT } }),
  );
  const statuses: number[] = [];
  for (let i = 0; i < 8; i++) statuses.push((await call()).status);
  expect(statuses.filter((status) => status === 504)).toHaveLength(2);
  expect(rig.count('ejections', 'shop/orders')).toBe(1);
});

test('idle ends an answer in which nothing moves, at both ends', async () => {
  let appClosed = false;
  const port = await apps.http((request, response) => {
    request.socket.once('close', () => {
      appClosed = true;
    });
    response.write('some');
  });
  await rig.apply(service('shop/orders'), endpoint('shop/orders', port), ruled({ timeouts: { idle: SHORT } }));
  await expect(call()).rejects.toThrow(/aborted/);
  await until('the application is let go', () => appClosed);
  await until('logged', () => rig.records.length === 1);
  expect(rig.records[0]).toMatchObject({ status: 200, flag: 'SI' });
  expect(rig.records[0]?.detail).toContain('no byte moved for 100 ms (timeouts.idle of shop/timeouts#slow)');
});

test('idle leaves alone what moves, in either direction', async () => {
  const port = await apps.http((request, response) => {
    response.writeHead(200);
    response.flushHeaders();
    request.resume().on('end', () => response.end('all of it'));
  });
  const idle = { nanos: 400_000_000 };
  await rig.apply(service('shop/orders'), endpoint('shop/orders', port), ruled({ timeouts: { idle } }));
  const request = beginPost();
  request.write('first');
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  // Three times the idle time, with a byte of the request in every eighth of it.
  for (let i = 0; i < 24; i++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    request.write('x');
  }
  request.end();
  expect(await response.setEncoding('utf8').toArray()).toEqual(['all of it']);
});

test('connect_timeout holds until the handshake is done, and names the endpoint', async () => {
  const port = await apps.tcp(() => {});
  await rig.apply(
    service('shop/orders', {
      ports: [{ port: 80, tls: TlsMode.SIMPLE }],
      connectionPool: { connectTimeout: SHORT },
    }),
    endpoint('shop/orders', port),
  );
  const answer = await call();
  expect([answer.status, answer.headers['x-weft-error']]).toEqual([503, 'UF']);
  expect(answer.body).toContain(`connection to 127.0.0.1:${port} timed out after 100 ms`);
  await until('counted', () => rig.count('connectFailures', 'shop/orders') > 0);
});

test('idle_timeout of the pool closes a connection that nobody uses', async () => {
  let closed = 0;
  const port = await apps.http2((stream) => {
    stream.session?.once('close', () => closed++);
    stream.respond({ ':status': 200 });
    stream.end('good');
  });
  const ports = [{ port: 80, tls: TlsMode.OFF, protocol: Protocol.HTTP2 }];
  const connectionPool = { idleTimeout: SHORT };
  await rig.apply(service('shop/orders', { ports, connectionPool }), endpoint('shop/orders', port));
  expect((await call()).body).toBe('good');
  // Without the policy it would be kept for an hour.
  await until('the connection is closed', () => closed === 1);
});

test('a full pool queues as many as the policy says, and refuses the next at once', async () => {
  const answers: (() => void)[] = [];
  const port = await apps.http((_request, response) => void answers.push(() => response.end('good')));
  await rig.apply(
    service('shop/orders', { connectionPool: { connectionsMax: 1, pendingRequestsMax: 1 } }),
    endpoint('shop/orders', port),
  );
  const first = call();
  await until('the first is there', () => answers.length === 1);
  const second = call();
  await until('the second waits', async () => (await rig.dump()).endpoints[0]?.['pending'] === 1);
  const third = await call();
  expect([third.status, third.headers['x-weft-error']]).toEqual([503, 'UO']);
  expect(third.body).toContain('connection_pool.pending_requests_max');
  answers[0]?.();
  await until('the second is there', () => answers.length === 2);
  answers[1]?.();
  expect([(await first).status, (await second).status]).toEqual([200, 200]);
});

test('requests_max bounds what is under way', async () => {
  const answers: (() => void)[] = [];
  const port = await apps.http((_request, response) => void answers.push(() => response.end('good')));
  await rig.apply(service('shop/orders', { connectionPool: { requestsMax: 1 } }), endpoint('shop/orders', port));
  const first = call();
  await until('the first is there', () => answers.length === 1);
  const second = await call();
  expect([second.status, second.headers['x-weft-error']]).toEqual([503, 'UO']);
  expect(second.body).toContain('more than 1 requests under way (connection_pool.requests_max)');
  answers[0]?.();
  expect((await first).status).toBe(200);
});
