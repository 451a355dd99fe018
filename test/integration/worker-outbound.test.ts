// The outbound side of a real worker thread, called by Node's own clients.
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import { type AddressInfo, connect, createServer } from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Protocol, TlsMode } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { endpoint, logged, route, service, until, type WorkerRig, workerRig } from '../support/worker-rig.ts';

const cleanups: (() => unknown)[] = [];
let rig: WorkerRig;

beforeEach(async () => {
  rig = await workerRig();
  cleanups.push(() => rig.close());
});
afterEach(async () => {
  expect(rig.contained).toEqual([]);
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** An application that answers with its name, the path, and what it was told. */
async function app(name: string, handle?: http.RequestListener): Promise<number> {
  const server = http.createServer((request, response) => {
    if (handle !== undefined) return handle(request, response);
    response.setHeader('x-traceparent', request.headers['traceparent'] ?? '');
    request.resume().on('end', () => response.end(`${name} ${request.url} ${request.headers.host}`));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function get(host: string, path = '/', more: http.RequestOptions = {}) {
  const request = http.get({
    host: '127.0.0.1',
    port: rig.port,
    path,
    agent: false,
    ...more,
    headers: { host, ...more.headers },
  });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  return { status: response.statusCode, headers: response.headers, body: await text(response) };
}

test.each([
  'orders',
  'orders.shop',
  'orders.shop.mesh',
  'orders:80',
  'orders:443',
  'orders:DIALED',
  'orders.localhost:DIALED',
  'ORDERS',
])('a call to %s reaches the Service', async (host) => {
  await rig.apply(service('shop/orders'), endpoint('shop/orders', await app('v1')));
  const answer = await get(host.replace('DIALED', String(rig.port)), '/a?b=c');
  expect([answer.status, answer.body.split(' ').slice(0, 2)]).toEqual([200, ['v1', '/a?b=c']]);
});

test('what the application shows to its proxy ends at its proxy', async () => {
  let seen: http.IncomingHttpHeaders = {};
  const port = await app('v1', (request, response) => {
    seen = request.headers;
    response.end();
  });
  await rig.apply(service('shop/orders'), endpoint('shop/orders', port));
  const headers = { 'proxy-authorization': 'Basic c2VjcmV0', authorization: 'Bearer own' };
  expect((await get('orders', 'http://orders/', { headers })).status).toBe(200);
  expect([seen['proxy-authorization'], seen.authorization]).toEqual([undefined, 'Bearer own']);
});

test.each([
  ['orders:9999', '/'],
  ['orders.localhost:9999', '/'],
  ['orders:9999', 'http://orders:9999/'],
])('a port that the Service does not have is answered 404 with those it has: Host %s, %s', async (host, path) => {
  await rig.apply(
    service('shop/orders', { ports: [{ port: 8080 }, { port: 8081 }] }),
    route('shop/r', { services: ['shop/orders'], rules: [{ backends: [{ service: 'shop/orders', weight: 1 }] }] }),
  );
  const answer = await get(host, path);
  expect([answer.status, answer.headers['x-weft-error']]).toEqual([404, 'NR']);
  expect(answer.body).toContain('shop/orders has no port 9999; its ports are: 8080, 8081.');
  expect(await rig.explain({ authority: 'orders:9999' })).toMatchObject({ decision: 'refused', status: 404 });
});

test('a local port is its Service whatever port Host names', async () => {
  await rig.apply(service('shop/orders'), endpoint('shop/orders', await app('v1')));
  for (const host of [`localhost:${rig.localPort}`, 'orders:9999'])
    expect((await get(host, '/', { port: rig.localPort })).status).toBe(200);
});

test('an unknown host is answered 404 in words that help, and counted', async () => {
  const answer = await get('stock');
  expect([answer.status, answer.headers['x-weft-error']]).toEqual([404, 'NR']);
  expect(answer.body).toContain('no Service of this mesh is called stock');
  await until('counted', () => rig.count('requests', 'outbound', '', '', '404', '', 'NR') === 1);
});

test('the absolute form of an HTTP proxy is the same call', async () => {
  await rig.apply(service('shop/orders'), endpoint('shop/orders', await app('v1')));
  expect((await get('orders', 'http://orders/x')).body).toBe('v1 /x orders');
});

test('a local port is one Service whatever Host says', async () => {
  await rig.apply(
    service('shop/orders'),
    service('shop/stock'),
    endpoint('shop/orders', await app('orders')),
    endpoint('shop/stock', await app('stock')),
  );
  expect((await get('stock', '/', { port: rig.localPort })).body).toBe('orders / orders.shop');
});

test('HTTP/2 with prior knowledge is served on the same port', async () => {
  await rig.apply(service('shop/orders'), endpoint('shop/orders', await app('v1')));
  const session = http2.connect(`http://127.0.0.1:${rig.port}`);
  const stream = session.request({ ':path': '/h2', ':authority': 'orders' });
  expect((await buffer(stream)).toString()).toBe('v1 /h2 orders');
  session.close();
});

test('CVE class 14: CONNECT to a Service is a redirected connection, and to anything else refused', async () => {
  await rig.apply(service('shop/orders'), endpoint('shop/orders', await app('v1')));
  const tunnel = async (target: string) => {
    const request = http.request({ host: '127.0.0.1', port: rig.port, method: 'CONNECT', path: target, agent: false });
    request.end();
    return Promise.race([
      once(request, 'connect').then(([response, socket]) => ({ response, socket })),
      once(request, 'response').then(([response]) => ({ response, socket: null })),
    ]);
  };
  const { socket } = await tunnel('orders:80');
  socket.write('GET /t HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n');
  expect(await text(socket)).toContain('v1 /t orders');
  const refused = await tunnel('example.com:443');
  expect(refused.response.statusCode).toBe(404);
  const elsewhere = await spoken(rig.port, 'CONNECT orders:9999 HTTP/1.1\r\nhost: orders:9999\r\n\r\n');
  expect(elsewhere).toMatch(/^HTTP\/1\.1 404 /);
  expect(elsewhere).toContain('shop/orders has no port 9999; its ports are: 80.');
});

test('one tunnel carries several kept-alive requests', async () => {
  await rig.apply(service('shop/orders'), endpoint('shop/orders', await app('v1')));
  const request = http.request({
    host: '127.0.0.1',
    port: rig.port,
    method: 'CONNECT',
    path: 'orders:80',
    agent: false,
  });
  request.end();
  const [, socket] = await once(request, 'connect');
  for (const path of ['/a', '/b', '/c']) {
    socket.write(`GET ${path} HTTP/1.1\r\nhost: orders\r\n\r\n`);
    let answer = '';
    while (!answer.includes(`v1 ${path} orders`)) answer += (await once(socket, 'data'))[0];
  }
  socket.destroy();
});

test('weights hold, and a route changes while requests flow without one that fails', async () => {
  const [one, two] = [await app('v1'), await app('v2')];
  const split = (weight: number) =>
    route('shop/split', {
      services: ['shop/orders'],
      rules: [
        {
          backends: [
            { service: 'shop/orders', weight: 100 - weight, labels: { version: 'v1' } },
            { service: 'shop/orders', weight, labels: { version: 'v2' } },
          ],
        },
      ],
    });
  await rig.apply(
    service('shop/orders'),
    endpoint('shop/orders', one, { version: 'v1' }),
    endpoint('shop/orders', two, { version: 'v2' }),
    split(0),
  );
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  cleanups.push(() => agent.destroy());
  const round = async (count: number) =>
    Promise.all(Array.from({ length: count }, async () => (await get('orders', '/', { agent })).body.slice(0, 2)));
  expect(new Set(await round(50))).toEqual(new Set(['v1']));
  const flowing = round(300);
  await rig.apply(split(100));
  expect((await flowing).every((name) => name === 'v1' || name === 'v2')).toBe(true);
  expect(new Set(await round(50))).toEqual(new Set(['v2']));
});

test('a dead endpoint beside a live one costs no request', async () => {
  await rig.apply(service('shop/orders'), endpoint('shop/orders', 1), endpoint('shop/orders', await app('live')));
  for (let i = 0; i < 30; i++) expect((await get('orders')).status).toBe(200);
  await until('counted', () => rig.count('retries', 'shop/orders') > 0);
  await until('counted', () => rig.count('connectFailures', 'shop/orders') > 0);
});

test('a burst that meets a dead endpoint costs no request: what was never sent needs no retry budget', async () => {
  // Patience with the living one, should the machine be slow.
  const patient = service('shop/orders', { connectionPool: { connectTimeout: { seconds: 30n } } });
  await rig.apply(patient, endpoint('shop/orders', 1), endpoint('shop/orders', await app('live')));
  const answers = await Promise.all(Array.from({ length: 60 }, () => get('orders')));
  expect(answers.map(({ status }) => status)).toEqual(Array(60).fill(200));
});

test('an endpoint that fails in a row is ejected, and the dump says so', async () => {
  const bad = await app('bad', (_request, response) => void response.writeHead(500).end());
  await rig.apply(
    service('shop/orders', { outlierDetection: { consecutiveFailures: 2, ejectionBase: { seconds: 60n } } }),
    endpoint('shop/orders', bad),
    endpoint('shop/orders', await app('good')),
  );
  const statuses: (number | undefined)[] = [];
  for (let i = 0; i < 40; i++) statuses.push((await get('orders')).status);
  expect(statuses.filter((status) => status === 500).length).toBe(2);
  const { endpoints } = await rig.dump();
  expect(endpoints.find((one) => one['name'] === `shop/orders/${bad}`)?.['health']).toMatch(/^ejected for/);
  await until('counted', () => rig.count('ejections', 'shop/orders') === 1);
});

test('the dump counts the timers that wait: those of a connection end with it', async () => {
  const { timers } = await rig.dump();
  const socket = connect(rig.port, '127.0.0.1');
  cleanups.push(() => socket.destroy());
  socket.write('GET / HTTP/1.1\r\n');
  await until('a head is waited for', async () => (await rig.dump()).timers > timers);
  socket.destroy();
  await until('nothing is waited for', async () => (await rig.dump()).timers === timers);
});

test('a rejected resource is named and its last good stays; the others are taken', async () => {
  const good = route('shop/r', { services: ['shop/orders'], rules: [{ name: 'first' }] });
  await rig.apply(service('shop/orders'), endpoint('shop/orders', await app('v1')), good);
  const bad = route('shop/r', {
    services: ['shop/orders'],
    rules: [{ name: 'second', backends: [{ service: 'shop/orders', weight: 0 }] }],
  });
  const errors = await rig.apply(bad, service('shop/stock'), {
    ...good,
    name: 'shop/x',
    bytes: Buffer.from('nonsense'),
  });
  expect(errors.map((error) => error.name)).toEqual(['shop/r', 'shop/x']);
  expect(errors[0]?.error).toContain('all weights are 0');
  expect(await rig.explain({ authority: 'orders' })).toMatchObject({ rule: 'shop/r#first' });
  expect((await get('stock')).status).toBe(503);
});

test('10,000 routes are taken in slices, and requests are served meanwhile', async () => {
  await rig.apply(service('shop/orders'), endpoint('shop/orders', await app('v1')));
  const before = (await rig.dump()).slices;
  const routes = Array.from({ length: 10_000 }, (_, i) =>
    route(`shop/r${i}`, {
      services: ['shop/orders'],
      rules: [{ matches: [{ path: { match: { case: 'exact', value: `/r/${i}` } } }] }],
    }),
  );
  let applied = false;
  const done = rig.apply(...routes).then((errors) => {
    applied = true;
    return errors;
  });
  let during = 0;
  while (!applied) {
    expect((await get('orders', '/r/9999')).status).toBe(200);
    if (!applied) during++;
  }
  expect(await done).toEqual([]);
  expect(during).toBeGreaterThan(0);
  expect((await rig.dump()).slices - before).toBeGreaterThan(10);
  expect(await rig.explain({ authority: 'orders', path: '/r/9999' })).toMatchObject({ rule: 'shop/r9999#rule-0' });
});

test('trace context goes on: the trace stays, the span is new, the log line has both', async () => {
  await rig.apply(service('shop/orders'), endpoint('shop/orders', await app('v1')), logged());
  const traceId = '0af7651916cd43dd8448eb211c80319c';
  const sent = `00-${traceId}-b7ad6b7169203331-01`;
  const { headers } = await get('orders', '/p?q=1', { headers: { traceparent: sent } });
  await until('logged', () => rig.records.length === 1);
  const record = rig.records[0];
  expect(headers['x-traceparent']).toBe(`00-${traceId}-${record?.spanId}-01`);
  expect(record).toMatchObject({
    log: true,
    span: true,
    traceId,
    parentSpanId: 'b7ad6b7169203331',
    path: '/p',
    status: 200,
    service: 'shop/orders',
    flag: '-',
  });
  expect((await get('orders')).headers['x-traceparent']).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
});

/** Everything that one connection to `port` answers to `bytes`, until the worker ends it. */
async function spoken(port: number, bytes: string | Buffer): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(bytes);
  return text(socket);
}

test('an empty line before a request is nothing, and a bare LF is no line', async () => {
  await rig.apply(service('shop/orders'), endpoint('shop/orders', await app('v1')));
  const request = 'GET / HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n';
  expect(await spoken(rig.port, `\r\n${request}`)).toMatch(/^HTTP\/1\.1 200 /);
  expect(await spoken(rig.port, `\n${request}`)).toMatch(/^HTTP\/1\.1 400 /);
});

test.each([
  ['a protocol that is none of ours', Buffer.from('*1\r\n'), 'notHttp'],
  ['a byte that begins no method', Buffer.from([0]), 'notHttp'],
])('%s is counted, and its connection ended without a word', async (_name, bytes, reason) => {
  await rig.apply(service('shop/orders'), endpoint('shop/orders', await app('v1')));
  for (const [port, listener] of [
    [rig.port, 'outbound'],
    [rig.localPort, 'local'],
  ] as const) {
    expect(await spoken(port, bytes)).toBe('');
    await until('counted', () => rig.count('malformed', listener, reason) === 1);
  }
  // Through CONNECT, as a client does that takes the proxy for one that tunnels TLS.
  const tunnel = connect(rig.port, '127.0.0.1');
  tunnel.write('CONNECT orders:80 HTTP/1.1\r\nhost: orders:80\r\n\r\n');
  const [established] = (await once(tunnel, 'data')) as [Buffer];
  expect(String(established)).toMatch(/^HTTP\/1.1 200/);
  tunnel.write(bytes);
  expect(await text(tunnel)).toBe('');
  expect((await get('orders')).status).toBe(200);
});

test('what is no HTTP on an inbound port without TLS is counted and ended, too', async () => {
  const receiver = await workerRig([{ service: 'shop/orders', port: 1, servicePort: 0 }]);
  cleanups.push(() => receiver.close());
  await receiver.apply(service('shop/orders'));
  expect(await spoken(receiver.inboundPort, '*1\r\n')).toBe('');
  await until('counted', () => receiver.count('malformed', 'inbound', 'notHttp') === 1);
  expect(receiver.contained).toEqual([]);
});

test.each([
  ['above the root', '/../../x'],
  ['an escaped dot segment', '/a/%2e%2e/x'],
  ['an escaped slash', '/a%2fb'],
  ['an escaped NUL', '/a%00'],
  ['half an escape', '/a%4'],
  ['a backslash', '/a\\b'],
])('CVE class 7: a path with %s is answered 400, counted, and ends the connection', async (_name, path) => {
  await rig.apply(service('shop/orders'), endpoint('shop/orders', await app('v1')));
  const next = 'GET /next HTTP/1.1\r\nhost: orders\r\n\r\n';
  for (const [port, listener] of [
    [rig.port, 'outbound'],
    [rig.localPort, 'local'],
  ] as const) {
    const answer = await spoken(port, `GET ${path} HTTP/1.1\r\nhost: orders\r\n\r\n${next}`);
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(answer).toContain('\r\nconnection: close\r\n');
    expect(answer).not.toContain('v1 /next');
    await until('counted', () => rig.count('malformed', listener, 'path') === 1);
  }
});

/** SETTINGS, and a HEADERS that ends stream 1 with nothing in it. */
const NO_STATUS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5, 0, 0, 0, 1]);

test.each([
  ['HTTP/1.1', Protocol.HTTP1, 'HTTP/1.1 200 OK\r\ncontent-length : 1\r\n\r\nx', 'spaceBeforeColon'],
  ['HTTP/2', Protocol.HTTP2, NO_STATUS, 'status'],
])('an answer that breaks %s is a 502, and counted by reason', async (_name, protocol, bytes, reason) => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.write(bytes));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  await rig.apply(
    service('shop/orders', { ports: [{ port: 80, tls: TlsMode.OFF, protocol }] }),
    endpoint('shop/orders', (server.address() as AddressInfo).port),
  );
  expect((await get('orders')).status).toBe(502);
  await until('counted', () => rig.count('malformed', 'upstream', reason) === 1);
});

test('CVE class 7: a path that can be normalized is sent as it was judged', async () => {
  await rig.apply(service('shop/orders'), endpoint('shop/orders', await app('v1')));
  expect((await get('orders', '/a/./b')).body).toContain('v1 /a/b ');
});

test('a drain lets the request under way finish, accepts nothing new, and says when it is over', async () => {
  let answer: (() => void) | null = null;
  const slow = await app('slow', (_request, response) => {
    answer = () => void response.end('late');
  });
  await rig.apply(service('shop/orders'), endpoint('shop/orders', slow));
  const agent = new http.Agent({ keepAlive: true });
  cleanups.push(() => agent.destroy());
  const pending = get('orders', '/', { agent });
  await until('the request is there', () => answer !== null);
  const drained = rig.drain(10_000);
  await until('nothing is accepted', async () => {
    const socket = connect(rig.port, '127.0.0.1');
    const outcome = await Promise.race([
      once(socket, 'connect').then(() => 'open'),
      once(socket, 'error').then(
        () => 'refused',
        () => 'refused',
      ),
    ]).catch(() => 'refused');
    socket.destroy();
    return outcome === 'refused';
  });
  (answer as (() => void) | null)?.();
  const last = await pending;
  expect([last.body, last.headers.connection]).toEqual(['late', 'close']);
  await drained;
});
