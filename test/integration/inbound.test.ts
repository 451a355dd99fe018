// The inbound listener against real TLS clients with certificates of the real authority: who may speak, to which
// application, as whom.
import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingHttpHeaders, type Server } from 'node:http';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { type AddressInfo, connect as connectTcp } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { WorkerIdentity } from '../../sidecar/base/messages.ts';
import type { OwnPort, OwnService, PortTls, Snapshot } from '../../sidecar/config/snapshot.ts';
import { EMPTY_SNAPSHOT } from '../../sidecar/config/snapshot.ts';
import type { CompiledAuthorizationRule } from '../../sidecar/filters/authorization/run.ts';
import { openInbound } from '../../sidecar/listen/inbound.ts';
import { oddIdentity, type TestAuthority, testAuthority } from '../support/identities.ts';
import { destinationTo, type ListenerRig, listenerRig, until } from '../support/listener-rig.ts';

const ORDERS = '8080.orders.shop';
let authority: TestAuthority;
let web: WorkerIdentity;
let rig: ListenerRig;
let app: Server;
let seen: IncomingHttpHeaders[];
const clients: { destroy(): void }[] = [];

beforeAll(async () => {
  authority = await testAuthority();
  web = await authority.issue('web');
  return () => authority.close();
});

beforeEach(async () => {
  seen = [];
  app = createHttpServer((request, response) => {
    seen.push(request.headers);
    response.end(`hello from ${request.url}`);
  }).listen(0, '127.0.0.1');
  await once(app, 'listening');
  rig = await listenerRig(openInbound, 'inbound');
  rig.setIdentity(await authority.issue('orders'));
  configure({ 8080: 'mutual' });
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  await until('every connection is closed', () => rig.connections.size === 0);
  rig.close();
  app.closeAllConnections();
  app.close();
});

/** The Service `orders` with these ports and, if any, rules. */
function configure(
  ports: Record<number, PortTls>,
  rules: Partial<OwnService['authorization']> = {},
  told?: readonly string[],
): void {
  const { port: appPort } = app.address() as AddressInfo;
  const own = new Map<number, OwnPort>();
  for (const [text, tls] of Object.entries(ports)) {
    const port = Number(text);
    const destination = { ...destinationTo(rig, 'shop/orders', appPort, 'http1'), port };
    own.set(port, { port, protocol: 'http1', tls, destination });
  }
  const authorization = {
    trustDomain: 'mesh.local',
    namespace: 'shop',
    deny: [],
    allow: [],
    hasAllow: false,
    ...rules,
  };
  const host = (service: string) => ({ service, root: {} as never, regexes: [], any: [] });
  const hosts = new Map([
    ['orders', host('shop/orders')],
    ['stock', host('shop/stock')],
  ]);
  const snapshot: Snapshot = {
    ...EMPTY_SNAPSHOT,
    table: { hosts },
    ownServices: new Map([
      ['shop/orders', { name: 'shop/orders', ports: own, authorization, hosts: told && new Set(told) }],
    ]),
  };
  rig.context.snapshot = snapshot;
}

function credentials(identity: WorkerIdentity): ConnectionOptions {
  return { key: identity.privateKeyPem, cert: identity.chainPem };
}

/** A TLS client that trusts the mesh, with what `options` change. */
function dial(options: ConnectionOptions = {}): TLSSocket {
  const socket = connectTls({
    host: '127.0.0.1',
    port: rig.port,
    ca: [...authority.rootsPem],
    servername: ORDERS,
    ALPNProtocols: ['h2'],
    checkServerIdentity: () => undefined,
    ...options,
  });
  socket.on('error', () => {});
  clients.push(socket);
  return socket;
}

async function session(options: ConnectionOptions = credentials(web)): Promise<ClientHttp2Session> {
  const socket = dial(options);
  const client = connectHttp2('http://orders', { createConnection: () => socket });
  client.on('error', () => {});
  clients.push(client);
  await once(client, 'connect');
  return client;
}

interface Answer {
  status: number;
  headers: Record<string, unknown>;
  body: string;
}

function call(client: ClientHttp2Session, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = client.request({ ':path': '/list', ':authority': 'orders', ...headers });
    let head: Record<string, unknown> = {};
    let body = '';
    stream.on('response', (got) => {
      head = got;
    });
    stream.on('data', (chunk: Buffer) => {
      body += chunk;
    });
    stream.on('error', reject);
    stream.on('end', () => resolve({ status: Number(head[':status']), headers: head, body }));
  });
}

test('a caller of the mesh reaches the application, which learns who it is', async () => {
  const answer = await call(await session(), { 'x-forwarded-client-cert': 'URI=spiffe://mesh.local/ns/shop/sa/admin' });
  expect(answer).toMatchObject({ status: 200, body: 'hello from /list' });
  expect(seen[0]?.['x-forwarded-client-cert']).toBe('URI=spiffe://mesh.local/ns/shop/sa/web');
  expect(seen[0]?.traceparent).toMatch(/^00-/);
  await until('the request is recorded', () => rig.records.length === 1);
  expect(rig.records[0]).toMatchObject({
    direction: 'inbound',
    status: 200,
    peer: 'spiffe://mesh.local/ns/shop/sa/web',
  });
});

test('HTTP/1.1 over mutual TLS is served, too', async () => {
  const socket = dial({ ...credentials(web), ALPNProtocols: ['http/1.1'] });
  socket.end('GET /one HTTP/1.1\r\nhost: orders\r\n\r\n');
  const chunks = await socket.setEncoding('latin1').toArray();
  expect(chunks.join('')).toMatch(/^HTTP\/1.1 200 [\s\S]*hello from \/one/);
});

/** Handshakes that must be refused, each counted under its reason. */
const refused: [string, string, () => Promise<ConnectionOptions>][] = [
  ['no client certificate', 'noCertificate', async () => ({})],
  ['a root that is not ours', 'untrusted', async () => credentials((await oddIdentity([web.spiffeId])).identity)],
  ['an unknown server name', 'serverName', async () => ({ ...credentials(web), servername: '8080.stock.shop' })],
  ['a port nobody serves', 'serverName', async () => ({ ...credentials(web), servername: '81.orders.shop' })],
  ['no server name', 'serverName', async () => ({ ...credentials(web), servername: '' })],
  ['TLS 1.2', 'protocol', async () => ({ ...credentials(web), maxVersion: 'TLSv1.2' as const })],
  ['ALPN of another protocol', 'alpn', async () => ({ ...credentials(web), ALPNProtocols: ['spdy/3'] })],
];

test.each(refused)('%s is refused and counted as %s', async (_what, reason, options) => {
  const socket = dial(await options());
  await until('the client is disconnected', () => socket.destroyed || socket.readableEnded);
  await until(`${reason} is counted`, () => rig.count('handshakes', reason) === 1);
  // A socket that was refused by its server name has lost its address by then.
  expect(rig.refusals).toEqual([
    expect.stringMatching(`^${reason} 1 ${reason === 'serverName' ? '(127.0.0.1)?' : '127.0.0.1'}$`),
  ]);
  expect(rig.connections.size).toBe(0);
});

/** Signed by a root that this sidecar trusts, and still nobody. */
const strangers: [string, string, string[], number][] = [
  ['two URI names', 'spiffeId', ['spiffe://mesh.local/ns/shop/sa/web', 'spiffe://mesh.local/ns/shop/sa/admin'], 60_000],
  ['a URI that is no SPIFFE id', 'spiffeId', ['https://mesh.local/web'], 60_000],
  ['another trust domain', 'trustDomain', ['spiffe://else.local/ns/shop/sa/web'], 60_000],
  ['an expired certificate', 'expired', ['spiffe://mesh.local/ns/shop/sa/web'], -60_000],
];

test.each(strangers)('CVE class 12: %s is refused and counted as %s', async (_what, reason, uris, validMs) => {
  const { identity, rootPem } = await oddIdentity(uris, validMs);
  const own = await authority.issue('orders');
  rig.setIdentity({ ...own, rootsPem: [...own.rootsPem, rootPem] });
  const socket = dial(credentials(identity));
  await until('the client is disconnected', () => socket.destroyed || socket.readableEnded);
  await until(`${reason} is counted`, () => rig.count('handshakes', reason) === 1);
});

test('bytes that are not TLS are refused and counted', async () => {
  const socket = connectTcp(rig.port, '127.0.0.1');
  socket.on('error', () => {});
  clients.push(socket);
  socket.write('GET / HTTP/1.1\r\nhost: orders\r\n\r\n');
  await until('it is counted', () => rig.count('handshakes', 'protocol') === 1);
});

test('CVE class 8: a host of another Service than the server name is 421', async () => {
  const answer = await call(await session(), { ':authority': 'stock' });
  expect(answer.status).toBe(421);
  expect(seen).toEqual([]);
});

test('CVE class 8: over mutual TLS a host that is not one of the Service is 421, and without a list only what is known elsewhere', async () => {
  const statuses = async (options?: ConnectionOptions) => {
    const client = await session(options);
    const hosts = ['orders', 'Orders.shop:8080', 'old.example:1', 'evil.example', '[::1]:8080', 'stock'];
    const answers = hosts.map((host) => call(client, { ':authority': host }));
    return (await Promise.all(answers)).map(({ status }) => status);
  };
  expect(await statuses()).toEqual([200, 200, 200, 200, 200, 421]);
  const told = ['orders', 'orders.shop', 'orders.shop.mesh', 'old.example'];
  configure({ 8080: 'mutual' }, {}, told);
  expect(await statuses()).toEqual([200, 200, 200, 421, 421, 421]);
  // Whoever has no identity is no sidecar, and calls by the name that its DNS knows.
  const anyone = { ...rule('shop/orders#all', ''), anyone: true };
  configure({ 8080: 'simple' }, { hasAllow: true, allow: [anyone] }, told);
  expect(await statuses({})).toEqual([200, 200, 200, 200, 200, 421]);
  expect(await statuses()).toEqual([200, 200, 200, 421, 421, 421]);
  // A Route may write the name of another Service: then it is told.
  configure({ 8080: 'mutual' }, {}, [...told, 'stock']);
  expect(await statuses()).toEqual([200, 200, 200, 421, 421, 200]);
});

test('CVE class 9: names with underscores are refused from whoever has no identity, and from a peer where they speak for the sidecar', async () => {
  const peer = await session();
  const headers = { x_forwarded_client_cert: 'URI=a', 'x-forwarded_client-cert': 'URI=b', x_my_own: 'kept' };
  expect((await call(peer, headers)).status).toBe(200);
  expect(seen[0]).toMatchObject({ 'x-forwarded-client-cert': `URI=${web.spiffeId}`, x_my_own: 'kept' });
  expect(Object.keys(seen[0] ?? {}).filter((name) => name.includes('_'))).toEqual(['x_my_own']);
  const anyone = { ...rule('shop/orders#all', ''), anyone: true };
  configure({ 8080: 'simple' }, { hasAllow: true, allow: [anyone] });
  const stranger = await session({});
  expect((await call(stranger, { x_my_own: 'a' })).status).toBe(400);
  expect(rig.count('malformed', 'inbound', 'underscore')).toBe(1);
  expect((await call(stranger, { 'x-my-own': 'a_b' })).status).toBe(200);
  expect(seen).toHaveLength(2);
});

test('a new certificate holds for new connections, and old ones live on', async () => {
  const before = await session();
  expect((await call(before)).status).toBe(200);
  const first = (before.socket as TLSSocket).getPeerX509Certificate()?.serialNumber;
  rig.setIdentity(await authority.issue('orders'));
  const after = await session();
  expect((await call(after)).status).toBe(200);
  expect((after.socket as TLSSocket).getPeerX509Certificate()?.serialNumber).not.toBe(first);
  expect((await call(before)).status).toBe(200);
});

test('no session is resumed: each connection proves itself anew', async () => {
  const first = dial(credentials(web));
  const [ticket] = (await once(first, 'session')) as [Buffer];
  const second = dial({ ...credentials(web), session: ticket });
  await once(second, 'secureConnect');
  expect(second.isSessionReused()).toBe(false);
});

test('a root that was removed is trusted no more', async () => {
  const { identity, rootPem } = await oddIdentity(['spiffe://mesh.local/ns/shop/sa/old']);
  const own = await authority.issue('orders');
  rig.setIdentity({ ...own, rootsPem: [...own.rootsPem, rootPem] });
  expect((await call(await session(credentials(identity)))).status).toBe(200);
  rig.setIdentity(own);
  const socket = dial(credentials(identity));
  await until('the client is disconnected', () => socket.destroyed || socket.readableEnded);
  await until('it is counted', () => rig.count('handshakes', 'untrusted') === 1);
});

const rule = (name: string, spiffeId: string): CompiledAuthorizationRule => ({
  verdict: { allowed: true, rule: name },
  always: false,
  anyone: false,
  spiffeIds: new Set([spiffeId]),
  namespaces: new Set(),
  operations: null,
});

test('only whom the policy names may call; the denied one is recorded with the deciding rule', async () => {
  configure({ 8080: 'mutual' }, { hasAllow: true, allow: [rule('shop/orders#web', web.spiffeId)] });
  expect((await call(await session())).status).toBe(200);
  const other = await session(credentials(await authority.issue('batch')));
  expect((await call(other)).status).toBe(403);
  const grpc = await call(other, { 'content-type': 'application/grpc', ':method': 'POST' });
  expect(grpc).toMatchObject({ status: 200, headers: { 'grpc-status': '7' } });
  expect(seen).toHaveLength(1);
  await until('all are recorded', () => rig.records.length === 3);
  expect(rig.records[1]).toMatchObject({ status: 403, flag: 'RBAC', detail: '(no ALLOW matches)' });
  expect(rig.count('denied', 'shop/orders', '(no ALLOW matches)')).toBe(2);
});

test('without a policy, other namespaces are denied', async () => {
  const stranger = await session(credentials(await authority.issue('web', 'bank')));
  expect((await call(stranger)).status).toBe(403);
});

test('CVE class 9: SIMPLE lets a caller without a certificate in, as nobody', async () => {
  configure({ 8080: 'simple' });
  expect((await call(await session({}))).status).toBe(403);
  const anyone = { ...rule('shop/orders#all', ''), anyone: true };
  configure({ 8080: 'simple' }, { hasAllow: true, allow: [anyone] });
  const spoofed = { 'x-forwarded-client-cert': 'URI=spiffe://mesh.local/ns/shop/sa/admin' };
  expect((await call(await session({}), spoofed)).status).toBe(200);
  expect(seen[0]?.['x-forwarded-client-cert']).toBeUndefined();
});

test('the one port that is OFF answers in the clear, in both versions of HTTP, beside TLS', async () => {
  const anyone = { ...rule('shop/orders#all', ''), anyone: true };
  configure({ 8080: 'off', 8081: 'mutual' }, { hasAllow: true, allow: [anyone] });
  const plain = await (await fetch(`http://127.0.0.1:${rig.port}/plain`, { headers: { connection: 'close' } })).text();
  expect(plain).toBe('hello from /plain');
  const client = connectHttp2(`http://127.0.0.1:${rig.port}`);
  clients.push(client);
  expect((await call(client)).body).toBe('hello from /list');
  expect((await call(await session({ ...credentials(web), servername: '8081.orders.shop' }))).status).toBe(200);
});

test('two ports that are OFF cannot be told apart, so neither answers in the clear', async () => {
  configure({ 8080: 'off', 8081: 'off' });
  await expect(fetch(`http://127.0.0.1:${rig.port}/plain`)).rejects.toThrow();
  await until('it is counted', () => rig.count('handshakes', 'protocol') === 1);
});

test('a stranger gets fewer streams than a peer of the mesh', async () => {
  const peer = await session();
  await call(peer);
  expect(peer.remoteSettings.maxConcurrentStreams).toBe(1000);
  configure({ 8080: 'simple' });
  const stranger = await session({});
  await call(stranger);
  expect(stranger.remoteSettings.maxConcurrentStreams).toBe(100);
});
