// The PROXY protocol through real workers: taken where a policy asks for it and there alone, strictly; and sent to an
// application or to an endpoint without a sidecar.
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { TelemetrySchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { AuthorizationAction } from '../../proto/gen/weft/policy/v1/authorization_pb.js';
import { Protocol, ProxyProtocolVersion, TlsMode } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { type ProxiedAddresses, parseProxyHeader, proxyHeader } from '../../sidecar/wire/proxy-protocol.ts';
import { Apps } from '../support/apps.ts';
import { type TestAuthority, testAuthority } from '../support/identities.ts';
import { authorization, twoHops } from '../support/worker-hops.ts';
import { endpoint, logged, resource, service, until, type WorkerRig, workerRig } from '../support/worker-rig.ts';

const { V1, V2 } = ProxyProtocolVersion;
const CLIENT: ProxiedAddresses = {
  source: '203.0.113.7',
  sourcePort: 49152,
  destination: '198.51.100.1',
  destinationPort: 443,
};
const CLIENT6: ProxiedAddresses = { ...CLIENT, source: '2001:db8::1', destination: '2001:db8::2' };
const header = (version: 1 | 2, addresses: ProxiedAddresses | null = CLIENT) =>
  proxyHeader(version, { addresses, spiffeId: '' });
const LOCAL = Buffer.from('\r\n\r\n\0\r\nQUIT\n\x20\0\0\0', 'latin1');

let authority: TestAuthority;
let apps: Apps;
let cleanup: () => Promise<void>;

beforeAll(async () => {
  authority = await testAuthority();
  return () => authority.close();
});
beforeEach(() => {
  apps = new Apps();
});
afterEach(async () => {
  apps.close();
  await cleanup();
});

/** The receiver's worker, whose port is in the clear and open to anybody. */
async function receiver(appPort: number, protocol: Protocol, accept = true, send = 0): Promise<WorkerRig> {
  const rig = await workerRig([{ service: 'shop/orders', port: appPort, servicePort: 80 }]);
  cleanup = async () => {
    await until('every connection is gone', async () => (await rig.dump()).connections === 0);
    expect(rig.contained).toEqual([]);
    await rig.close();
  };
  const ports = [{ port: 80, protocol, tls: TlsMode.OFF, proxyProtocol: { accept, send } }];
  const log = { name: 'shop/all', services: ['shop/orders'], spec: { accessLog: { samplingPercent: 100 } } };
  const all = authorization('shop/all', AuthorizationAction.ALLOW, [{}]);
  expect(await rig.apply(service('shop/orders', { ports }), resource(TelemetrySchema, 'shop/all', log), all)).toEqual(
    [],
  );
  return rig;
}

/** An application that keeps what it hears, and speaks first if it has something to say. */
async function hearing(greeting = ''): Promise<{ port: number; heard: () => Buffer; connections: () => number }> {
  let heard = Buffer.alloc(0);
  let connections = 0;
  const port = await apps.tcp((socket) => {
    connections++;
    if (greeting !== '') socket.write(greeting);
    socket.on('data', (data: Buffer) => {
      heard = Buffer.concat([heard, data]);
    });
    socket.once('end', () => socket.end());
  });
  return { port, heard: () => heard, connections: () => connections };
}

/** Sends these pieces and hears the answer to the end. */
async function talk(port: number, ...pieces: (string | Buffer)[]): Promise<string> {
  const socket = await apps.connect(port);
  let back = '';
  socket.on('data', (data: Buffer) => {
    back += data.toString('latin1');
  });
  for (const piece of pieces) socket.write(piece);
  socket.end();
  await until('it is over', () => socket.readableEnded || socket.destroyed);
  return back;
}

const REQUEST = 'GET /x HTTP/1.1\r\nhost: orders\r\nx-forwarded-for: 10.9.9.9\r\nconnection: close\r\n\r\n';

test.each<[string, Buffer, string, string]>([
  ['version 1', header(1), '203.0.113.7', '203.0.113.7:49152'],
  ['version 2', header(2), '203.0.113.7', '203.0.113.7:49152'],
  ['version 2, IPv6', header(2, CLIENT6), '2001:db8::1', '[2001:db8::1]:49152'],
])('HTTP behind a header of %s: log and x-forwarded-for tell the address', async (_what, bytes, address, client) => {
  const seen: (string | undefined)[] = [];
  const app = await apps.http((request, response) => {
    seen.push(request.headers['x-forwarded-for'] as string | undefined);
    response.end('ok');
  });
  const rig = await receiver(app, Protocol.HTTP1);
  expect(await talk(rig.inboundPort, Buffer.concat([bytes, Buffer.from(REQUEST)]))).toMatch(/^HTTP\/1\.1 200 /);
  const single = [...bytes].map((byte) => Buffer.of(byte));
  expect(await talk(rig.inboundPort, ...single, REQUEST)).toMatch(/^HTTP\/1\.1 200 /);
  // What the caller said of itself stays in front, where nobody believes it.
  expect(seen).toEqual([`10.9.9.9, ${address}`, `10.9.9.9, ${address}`]);
  await until('both are logged', () => rig.records.length === 2);
  expect(rig.records.map((one) => one.client)).toEqual([client, client]);
});

test('a health check of the balancer (LOCAL) and UNKNOWN pass, and tell of nobody', async () => {
  const seen: (string | undefined)[] = [];
  const app = await apps.http((request, response) => {
    seen.push(request.headers['x-forwarded-for'] as string | undefined);
    response.end('ok');
  });
  const rig = await receiver(app, Protocol.HTTP1);
  for (const bytes of [LOCAL, header(1, null)])
    expect(await talk(rig.inboundPort, bytes, REQUEST)).toMatch(/^HTTP\/1\.1 200 /);
  expect(seen).toEqual(['10.9.9.9', '10.9.9.9']);
  await until('both are logged', () => rig.records.length === 2);
  expect(rig.records.map((one) => one.client)).toEqual(['', '']);
});

test('opaque TCP behind a header: the application may speak first, and hears nothing of the header', async () => {
  const app = await hearing('220 ready\r\n');
  const rig = await receiver(app.port, Protocol.TCP);
  const socket = await apps.connect(rig.inboundPort);
  let back = '';
  socket.on('data', (data: Buffer) => {
    back += data.toString('latin1');
  });
  socket.write(header(2));
  await until('it is greeted', () => back === '220 ready\r\n');
  socket.end('HELO');
  await until('it is over', () => socket.readableEnded);
  expect(app.heard().toString()).toBe('HELO');
  await until('it is logged', () => rig.records.length === 1);
  expect(rig.records[0]).toMatchObject({ method: 'CONNECT', client: '203.0.113.7:49152', peer: '', requestBytes: 4 });
});

test.each<[string, string | Buffer, string]>([
  ['a request without one', REQUEST, 'signature'],
  ['a header in bad words', 'PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n', 'syntax'],
  ['an address that is none', 'PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n', 'address'],
  [
    'a checksum that is wrong',
    Buffer.from('0d0a0d0a000d0a515549540a2111001301020304050607080001000203000400000000', 'hex'),
    'checksum',
  ],
  // Class 6 of the reference, request smuggling: lengths that do not add up decide nothing.
  [
    'CVE class 6: a TLV beyond the header',
    Buffer.from('0d0a0d0a000d0a515549540a2111000f010203040506070800010002040009', 'hex'),
    'tlv',
  ],
  ['half a header', 'PROXY TCP4 1.2', 'ended'],
])('refused where a header must come: %s', async (_what, bytes, reason) => {
  const app = await hearing();
  const rig = await receiver(app.port, Protocol.HTTP1);
  expect(await talk(rig.inboundPort, bytes, reason === 'ended' ? '' : REQUEST)).toBe('');
  await until('it is counted by reason', () => rig.count('proxyHeaders', 'shop/orders', reason) === 1);
  await until('and as refused', () => rig.count('handshakes', 'proxyHeader') === 1);
  expect(app.connections()).toBe(0);
  expect(await rig.explain({ direction: 'inbound', authority: 'orders' })).toMatchObject({
    proxyHeader: 'required of connections in the clear',
  });
});

// Class 14 of the reference: nobody but a balancer that a policy trusts says where a connection comes from.
test.each([1, 2] as const)('a header of version %d is refused where no policy asks for one', async (version) => {
  const app = await hearing();
  const rig = await receiver(app.port, Protocol.HTTP1, false);
  expect(await talk(rig.inboundPort, header(version), REQUEST)).not.toContain('200');
  expect(app.connections()).toBe(0);
});

test('a caller with a certificate comes as before: its connection has no header', async () => {
  const app = await hearing('220 ready\r\n');
  const accept = { accept: true, send: 0 };
  const hops = await twoHops(authority, app.port, { protocol: Protocol.TCP, tls: TlsMode.OFF, proxyProtocol: accept });
  cleanup = () => hops.close();
  expect(await talk(hops.caller.localPort, 'HELO')).toBe('220 ready\r\n');
  expect(app.heard().toString()).toBe('HELO');
});

test('version 2 tells the application the address and the identity of the caller, before the first byte', async () => {
  const app = await hearing('220 ready\r\n');
  const hops = await twoHops(authority, app.port, { protocol: Protocol.TCP, proxyProtocol: { send: V2 } });
  cleanup = () => hops.close();
  expect(await talk(hops.caller.localPort, 'HELO')).toBe('220 ready\r\n');
  const sent = parseProxyHeader(app.heard());
  expect(sent).toMatchObject({
    version: 2,
    addresses: { source: '127.0.0.1', destination: '127.0.0.1', destinationPort: hops.receiver.inboundPort },
  });
  if (sent === null || !('length' in sent)) return;
  expect(app.heard().subarray(sent.length).toString()).toBe('HELO');
  const tlv = app.heard().subarray(28, sent.length);
  expect([tlv[0], tlv.subarray(3).toString()]).toEqual([0xd0, 'spiffe://mesh.local/ns/shop/sa/web']);
});

test('what a balancer told is passed on to the application', async () => {
  const app = await hearing();
  const rig = await receiver(app.port, Protocol.TCP, true, V1);
  await talk(rig.inboundPort, header(2), 'HELO');
  await talk(rig.inboundPort, LOCAL, 'check');
  const line = 'PROXY TCP4 203.0.113.7 198.51.100.1 49152 443\r\n';
  expect(app.heard().toString()).toBe(`${line}HELOPROXY UNKNOWN\r\ncheck`);
});

test('an endpoint without a sidecar is told the address that the caller’s sidecar dials from', async () => {
  const rig = await workerRig();
  cleanup = () => rig.close();
  const app = await hearing();
  const ports = [{ port: 80, tls: TlsMode.OFF, protocol: Protocol.TCP, proxyProtocol: { send: V1 } }];
  await rig.apply(service('shop/orders', { ports }), endpoint('shop/orders', app.port), logged());
  await talk(rig.localPort, 'HELO');
  expect(app.heard().toString()).toMatch(new RegExp(`^PROXY TCP4 127.0.0.1 127.0.0.1 \\d+ ${app.port}\r\nHELO$`));
});
