// TLS that the application makes itself, through a real worker: sent on by its server name and never ended on the way, so
// that the client sees the certificate of the far end; and every way in which it is refused, with the reason told.
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { connect as connectTls, createServer, type Server } from 'node:tls';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { EndpointSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { Protocol, TlsMode } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { Apps } from '../support/apps.ts';
import { clientHello, extension, records, serverName } from '../support/client-hello.ts';
import { oddIdentity } from '../support/identities.ts';
import { endpoint, logged, resource, service, until, type WorkerRig, workerRig } from '../support/worker-rig.ts';

type Odd = Awaited<ReturnType<typeof oddIdentity>>;
let far: Odd;
let apps: Apps;
let rig: WorkerRig;
let server: Server;
let names: unknown[];

beforeAll(async () => {
  far = await oddIdentity([], 600_000, { dnsNames: ['db.shop.mesh', 'db.example', 'db'] });
});
beforeEach(async () => {
  apps = new Apps();
  names = [];
  const { privateKeyPem, chainPem } = far.identity;
  server = createServer({ key: privateKeyPem, cert: chainPem }, (socket) => {
    names.push(socket.servername);
    socket.on('error', () => {});
    socket.write('secure ');
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  apps.onClose(() => void server.close());
  rig = await workerRig();
  await rig.apply(service('shop/orders'), endpoint('shop/orders', 1), logged(), DB, at(farPort()));
});
afterEach(async () => {
  apps.close();
  await until('every connection is gone', async () => (await rig.dump()).connections === 0);
  expect(rig.contained).toEqual([]);
  await rig.close();
});

const farPort = () => (server.address() as AddressInfo).port;
const DB = service('shop/db', {
  ports: [
    { port: 80, tls: TlsMode.OFF },
    { port: 5432, tls: TlsMode.OFF, protocol: Protocol.TCP },
  ],
});
const at = (port: number) =>
  resource(EndpointSchema, 'shop/db/a', { service: 'shop/db', address: '127.0.0.1', ports: { 5432: port } });

/** Speaks TLS over `socket` and hears what the far end says, whose certificate is verified. */
async function secured(socket: Duplex, servername: string): Promise<string> {
  const client = connectTls({ socket, servername, ca: far.rootPem });
  apps.onClose(() => void client.destroy());
  client.end('hello');
  return text(client);
}

async function tunnel(authority: string): Promise<Socket> {
  const socket = await apps.connect(rig.port);
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\n\r\n`);
  const [head] = (await once(socket, 'data')) as [Buffer];
  expect(head.toString()).toMatch(/^HTTP\/1\.1 200 /);
  return socket;
}

const outcome = (name: string) => rig.count('serverNames', 'outbound', name);
const counted = (name: string) => until(`counted as ${name}`, () => outcome(name) === 1);

test('a redirected connection is sent to the Service of its server name and not ended on the way', async () => {
  expect(await secured(await apps.connect(rig.port), 'db.shop.mesh')).toBe('secure hello');
  expect(names).toEqual(['db.shop.mesh']);
  await counted('routed');
  await until('it is logged', () => rig.records.length === 1);
  expect(rig.records[0]).toMatchObject({ service: 'shop/db', route: '(tcp)', method: 'CONNECT', flag: '-' });
});

test('within CONNECT to an HTTP port the server name must be of the same Service', async () => {
  expect(await secured(await tunnel('db:80'), 'db')).toBe('secure hello');
  await counted('routed');
  await expect(secured(await tunnel('orders:80'), 'db')).rejects.toThrow(/unrecognized name/);
  await counted('otherService');
  expect(names).toEqual(['db']);
});

test('on a local port the server name must be of its Service', async () => {
  await expect(secured(await apps.connect(rig.localPort), 'db')).rejects.toThrow(/unrecognized name/);
  await until('it is counted', () => rig.count('serverNames', 'local', 'otherService') === 1);
  const ports = [
    { port: 80, tls: TlsMode.OFF },
    { port: 5432, tls: TlsMode.OFF, protocol: Protocol.TCP },
  ];
  const there = { service: 'shop/orders', address: '127.0.0.1', ports: { 5432: farPort() } };
  await rig.apply(service('shop/orders', { ports }), resource(EndpointSchema, 'shop/orders/a', there));
  const client = connectTls({
    socket: await apps.connect(rig.localPort),
    servername: 'orders.shop.mesh',
    ca: far.rootPem,
    checkServerIdentity: () => undefined,
  });
  client.end('hello');
  expect(await text(client)).toBe('secure hello');
});

test('CONNECT to the opaque port needs no name at all', async () => {
  expect(await secured(await tunnel('db:5432'), 'db.example')).toBe('secure hello');
  expect(outcome('routed')).toBe(0);
});

test('a name in DNS leads to the Service whose endpoints come from there, over CONNECT, too', async () => {
  const dns = { host: 'localhost', port: farPort() };
  const ports = [{ port: 443, tls: TlsMode.OFF, protocol: Protocol.TCP }];
  await rig.apply(service('shop/far', { ports, dns }));
  const resolved = async () =>
    (await rig.dump()).endpoints.some(
      (one) => one['service'] === 'shop/far' && one['address'] === `127.0.0.1:${farPort()}`,
    );
  await until('it is resolved', resolved);
  const client = connectTls({
    socket: await apps.connect(rig.port),
    servername: 'localhost',
    ca: far.rootPem,
    checkServerIdentity: () => undefined,
  });
  client.end('hello');
  expect(await text(client)).toBe('secure hello');
  const socket = await tunnel('localhost:443');
  const inside = connectTls({ socket, servername: 'localhost', ca: far.rootPem, checkServerIdentity: () => undefined });
  inside.end('hello');
  expect(await text(inside)).toBe('secure hello');
  expect(await rig.explain({ authority: 'localhost:443' })).toMatchObject({
    byServerName: { decision: 'sent', service: 'shop/far', port: 443 },
  });
});

// Class 14 of the reference, SSRF: what a client names is looked up among Services, and never dialled.
test.each([
  [
    'CVE class 14: a name that no Service has',
    'nobody.example',
    'unknown',
    /no Service of this mesh has the host nobody.example/,
  ],
  ['a Service without an opaque port', 'orders', 'noOpaquePort', /shop\/orders has no port of protocol PROTOCOL_TCP/],
  ['no name', '', 'noServerName', /names no server \(SNI\)/],
])('%s is refused by an alert; metric and log say why', async (_what, name, reason, detail) => {
  await expect(secured(await apps.connect(rig.port), name)).rejects.toThrow(/unrecognized name/);
  await counted(reason);
  await until('it is logged', () => rig.records.length === 1);
  expect(rig.records[0]).toMatchObject({ authority: name, flag: 'NR', detail: expect.stringMatching(detail) });
  expect(names).toEqual([]);
});

test('what is no ClientHello is refused and reaches nobody', async () => {
  const accepted: Socket[] = [];
  await rig.apply(at(await apps.tcp((socket) => void accepted.push(socket))));
  for (const [bytes, reason] of [
    [Buffer.of(0x16, 3, 1, 0, 0), 'record'],
    [records(Buffer.of(2, 0, 0, 0)), 'notClientHello'],
    [records(Buffer.of(1, 0xff, 0xff, 0xff)), 'tooLarge'],
    [records(clientHello({ extensions: [serverName('db')], rest: Buffer.of(0) })), 'malformed'],
  ] as const) {
    const socket = await apps.connect(rig.port);
    socket.write(bytes);
    const said: Buffer[] = [];
    for await (const chunk of socket) said.push(chunk as Buffer);
    expect(Buffer.concat(said)).toEqual(Buffer.of(0x15, 3, 3, 0, 2, 2, 50));
    await counted(reason);
  }
  expect(accepted).toEqual([]);
});

test('a hello of 16 KiB in single bytes and what follows it arrive unchanged', async () => {
  let heard = Buffer.alloc(0);
  const port = await apps.tcp((socket) => {
    socket.on('data', (data: Buffer) => {
      heard = Buffer.concat([heard, data]);
    });
  });
  await rig.apply(at(port));
  const hello = records(clientHello({ extensions: [serverName('db'), extension(21, Buffer.alloc(16_000))] }), 777);
  const all = Buffer.concat([hello, Buffer.from('\x17early data')]);
  const socket = await apps.connect(rig.port);
  for (const byte of all.subarray(0, 64)) socket.write(Buffer.of(byte));
  socket.write(all.subarray(64));
  await until('all of it arrived', () => heard.length === all.length);
  expect(heard.equals(all)).toBe(true);
  socket.destroy();
});
