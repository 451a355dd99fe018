// Ports of protocol DETECT through two sidecars: what the first bytes are decides how a connection is served and judged,
// and whoever hides a request from detection finds the rules that would have looked at it closed.
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import http2 from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { ServiceHostsSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { AuthorizationAction } from '../../proto/gen/weft/policy/v1/authorization_pb.js';
import { Protocol } from '../../proto/gen/weft/policy/v1/service_pb.js';
import type { ResourceBytes } from '../../sidecar/base/messages.ts';
import { Apps, callHttp } from '../support/apps.ts';
import { type TestAuthority, testAuthority } from '../support/identities.ts';
import { authorization, type Hops, twoHops } from '../support/worker-hops.ts';
import { resource, until } from '../support/worker-rig.ts';

const { ALLOW, DENY } = AuthorizationAction;
const BLIND = '(an opaque connection has no method or path to judge)';

let authority: TestAuthority;
let apps: Apps;
let hops: Hops;

beforeAll(async () => {
  authority = await testAuthority();
  return () => authority.close();
});
beforeEach(() => {
  apps = new Apps();
});
afterEach(async () => {
  apps.close();
  await hops.close();
});

/** The receiver knows the hosts of its Service, and what is in a tunnel may name any: no sidecar read it before. */
const HOSTS = resource(ServiceHostsSchema, 'shop/orders', {
  service: 'shop/orders',
  hosts: ['orders', 'orders.shop', 'orders.shop.mesh'],
});

async function detecting(appPort: number, ...policies: ResourceBytes[]): Promise<void> {
  hops = await twoHops(authority, appPort, { protocol: Protocol.DETECT }, HOSTS, ...policies);
}

/** An application that remembers what it was sent and says it back. */
async function echo(): Promise<{ port: number; heard: () => string }> {
  let text = '';
  const port = await apps.tcp((socket) => {
    socket.on('data', (data: Buffer) => {
      text += data.toString('latin1');
      socket.write(data);
    });
    socket.once('end', () => socket.end());
  });
  return { port, heard: () => text };
}

/** Sends bytes over the caller's local port; resolves with all that comes back until the end. */
async function exchange(...pieces: string[]): Promise<string> {
  const socket = await apps.connect(hops.caller.localPort);
  let back = '';
  socket.on('data', (data: Buffer) => {
    back += data.toString('latin1');
  });
  for (const piece of pieces) socket.write(piece, 'latin1');
  socket.end();
  await until('it is over', () => socket.readableEnded || socket.destroyed);
  return back;
}

/** Waits for a number: a new label set is counted once main has given it a place. */
const counted = (count: number, family: string, label: string) =>
  until(`${label} is counted`, () => hops.receiver.count(family, 'shop/orders', label) === count);

test('HTTP/1.1 is served as requests: rules by path hold, and each is logged by its path', async () => {
  const app: Server = createServer((request, response) => void response.end(`${request.method} ${request.url}`));
  app.listen(0, '127.0.0.1');
  await once(app, 'listening');
  apps.onClose(() => void app.close().closeAllConnections());
  const admin = { match: { case: 'prefix', value: '/admin' } } as const;
  await detecting((app.address() as AddressInfo).port, authorization('shop/no', DENY, [{ to: [{ paths: [admin] }] }]));
  const { localPort } = hops.caller;
  expect(await callHttp(localPort, 'whatever', { path: '/open' })).toMatchObject({ status: 200, body: 'GET /open' });
  expect(await callHttp(localPort, 'whatever', { path: '/admin/x' })).toMatchObject({ status: 403 });
  await until('both are logged', () => hops.receiver.records.length === 2);
  expect(hops.receiver.records.map(({ path, status, flag }) => [path, status, flag])).toEqual([
    ['/open', 200, '-'],
    ['/admin/x', 403, 'RBAC'],
  ]);
  await counted(2, 'detected', 'http1');
});

test('HTTP/2 by prior knowledge reaches the application as HTTP/2', async () => {
  const port = await apps.http2((stream, headers) => {
    stream.respond({ ':status': 200 });
    stream.end(`h2 ${String(headers[':path'])}`);
  });
  await detecting(port);
  const session = http2.connect(`http://127.0.0.1:${hops.caller.localPort}`);
  apps.onClose(() => session.destroy());
  const stream = session.request({ ':path': '/two' }).setEncoding('utf8');
  let body = '';
  for await (const chunk of stream) body += chunk;
  expect(body).toBe('h2 /two');
  await counted(1, 'detected', 'http2');
});

test.each([
  ['Redis', 'PING\r\n', 'other'],
  ['a TLS record', '\x16\x03\x01\x00\x05hello', 'tls'],
  ['binary', '\x00\x01\xffrest', 'other'],
  ['a line that never ends', 'x'.repeat(1500), 'other'],
])('%s passes opaque, unchanged, in whatever pieces', async (_what, bytes, protocol) => {
  const app = await echo();
  await detecting(app.port);
  expect(await exchange(...bytes)).toBe(bytes);
  await counted(1, 'detected', protocol);
  await until('it is logged', () => hops.receiver.records.length === 1);
  expect(hops.receiver.records[0]).toMatchObject({ method: 'CONNECT', route: '(tcp)', requestBytes: bytes.length });
});

test('what ends before it said enough is opaque, and heard to end', async () => {
  const app = await echo();
  await detecting(app.port);
  expect(await exchange('PRI * HT')).toBe('PRI * HT');
  expect(await exchange()).toBe('');
});

test('CVE class 10: a DENY that needs a method or path refuses an opaque connection: metric, log and explain say why', async () => {
  const app = await echo();
  const rule = { name: 'delete', to: [{ methods: ['DELETE'] }] };
  await detecting(app.port, authorization('shop/no', DENY, [rule]));
  expect(await exchange('PING\r\n')).toBe('');
  expect(app.heard()).toBe('');
  const why = `shop/no#delete ${BLIND}`;
  await counted(1, 'denied', why);
  await until('it is logged', () => hops.receiver.records.length === 1);
  expect(hops.receiver.records[0]).toMatchObject({
    flag: 'RBAC',
    detail: why,
    peer: 'spiffe://mesh.local/ns/shop/sa/web',
  });
  const query = { direction: 'inbound', authority: 'orders', caller: 'spiffe://mesh.local/ns/shop/sa/web' } as const;
  expect(await hops.receiver.explain(query)).toMatchObject({
    decision: 'allowed',
    opaque: { decision: 'denied', rule: why },
  });
});

test('the same holds for a port that is declared TCP, and explain judges it as the opaque connection it is', async () => {
  const app = await echo();
  const rule = { name: 'admin', to: [{ paths: [{ match: { case: 'prefix', value: '/admin' } as const }] }] };
  hops = await twoHops(authority, app.port, { protocol: Protocol.TCP }, authorization('shop/no', DENY, [rule]));
  expect(await exchange('PING\r\n')).toBe('');
  expect(app.heard()).toBe('');
  const why = `shop/no#admin ${BLIND}`;
  await counted(1, 'denied', why);
  const query = { direction: 'inbound', authority: 'orders', path: '/open' } as const;
  expect(await hops.receiver.explain(query)).toMatchObject({ decision: 'denied', status: 403, rule: why });
});

test('a DENY that speaks of callers or ports alone decides as for requests', async () => {
  const app = await echo();
  const other = { from: [{ caller: { case: 'namespace', value: 'ops' } as const }], to: [{ methods: ['GET'] }] };
  await detecting(app.port, authorization('shop/no', DENY, [other, { to: [{ ports: [81], methods: ['GET'] }] }]));
  expect(await exchange('PING\r\n')).toBe('PING\r\n');
});

test('an ALLOW that names methods or paths never lets an opaque connection in; one that does not, does', async () => {
  const app = await echo();
  const paths = [{ match: { case: 'prefix', value: '/' } as const }];
  await detecting(app.port, authorization('shop/yes', ALLOW, [{ to: [{ methods: ['GET'] }, { paths }] }]));
  expect(await exchange('PING\r\n')).toBe('');
  expect(app.heard()).toBe('');
  await counted(1, 'denied', '(no ALLOW matches)');
  await hops.receiver.apply(authorization('shop/yes', ALLOW, [{ to: [{ ports: [80] }] }]));
  expect(await exchange('PING\r\n')).toBe('PING\r\n');
});

// Class 6 of the reference, request smuggling: what a lenient server would read as a request never passes as opaque.
const HIDDEN = [
  ['empty lines first', '\r\n\r\nGET /admin HTTP/1.1\r\nhost: orders\r\n\r\n'],
  ['two spaces', 'GET  /admin HTTP/1.1\r\nhost: orders\r\n\r\n'],
  ['a tab', 'GET\t/admin HTTP/1.1\r\nhost: orders\r\n\r\n'],
  ['a bare line feed', 'GET /admin HTTP/1.1\nhost: orders\n\n'],
  ['lower case', 'get /admin http/1.1\r\nhost: orders\r\n\r\n'],
  ['a version of its own', 'GET /admin HTTP/1.9\r\nhost: orders\r\n\r\n'],
  ['a target longer than what is looked at', `GET /admin/${'a'.repeat(2000)} HTTP/1.1\r\nhost: orders\r\n\r\n`],
] as const;

test('CVE class 6: a request that is hidden from detection does not reach the application', async () => {
  const app = await echo();
  const admin = { match: { case: 'prefix', value: '/admin' } } as const;
  await detecting(app.port, authorization('shop/no', DENY, [{ to: [{ paths: [admin], methods: ['GET'] }] }]));
  for (const [how, bytes] of HIDDEN) {
    await exchange(bytes);
    expect([how, app.heard()]).toEqual([how, '']);
  }
  await counted(HIDDEN.length, 'detected', 'http1');
});

// Class 6: a caller's bytes behind its CONNECT are judged by themselves, whatever the CONNECT said of them.
test('CVE class 6: bytes that a caller sends before its CONNECT is answered are judged like all others (CVE-2025-64763)', async () => {
  const app = await echo();
  const admin = { match: { case: 'prefix', value: '/admin' } } as const;
  await detecting(app.port, authorization('shop/no', DENY, [{ to: [{ paths: [admin] }] }]));
  const socket: Socket = await apps.connect(hops.caller.port);
  let back = '';
  socket.on('data', (data: Buffer) => {
    back += data.toString('latin1');
  });
  const early = 'GET /admin HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n';
  socket.write(`CONNECT orders:80 HTTP/1.1\r\nhost: orders:80\r\n\r\n${early}`);
  await until('it is over', () => back.includes('access denied'));
  expect(back).toMatch(/^HTTP\/1\.1 200 .*HTTP\/1\.1 403 /s);
  expect(app.heard()).toBe('');
});
