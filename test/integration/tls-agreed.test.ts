// What TLS agrees on: version, key exchange and ciphers, between sidecars and towards servers outside the mesh.
import { once } from 'node:events';
import { createServer as createHttps } from 'node:https';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type SecureContextOptions, type TlsOptions } from 'node:tls';
import { create } from '@bufbuild/protobuf';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { ServiceSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { TlsVersion } from '../../proto/gen/weft/policy/v1/service_pb.js';
import type { WorkerIdentity } from '../../sidecar/base/messages.ts';
import { compileService } from '../../sidecar/config/compile-service.ts';
import { createMeshContext } from '../../sidecar/wire/tls.ts';
import { type TestAuthority, testAuthority } from '../support/identities.ts';
import { type InboundRig, inboundRig } from '../support/inbound-rig.ts';
import { upstreamRig } from '../support/upstream-rig.ts';

let authority: TestAuthority;
let web: WorkerIdentity;
let orders: WorkerIdentity;
let inbound: InboundRig;
const cleanups: (() => void)[] = [];

beforeAll(async () => {
  authority = await testAuthority();
  web = await authority.issue('web');
  orders = await authority.issue('orders');
  return () => authority.close();
});
beforeEach(async () => {
  inbound = await inboundRig(orders);
  cleanups.push(() => inbound.close());
});
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function caller(port: number) {
  const secureContext = createMeshContext(web);
  const rig = upstreamRig({ secureContext: () => secureContext }, { port, spiffeId: orders.spiffeId });
  cleanups.push(() => rig.close());
  return rig;
}

test('two sidecars agree on TLS 1.3 and the hybrid of X25519 and ML-KEM-768', async () => {
  const rig = caller(inbound.port);
  expect(await rig.call()).toBe(200);
  expect(rig.handshakes).toEqual([{ version: 'TLSv1.3', group: 'X25519MLKEM768', resumed: false }]);
});

/** A peer of the mesh with another TLS library: what it lacks decides. */
async function serve(options: TlsOptions): Promise<number> {
  const { privateKeyPem: key, chainPem: cert, rootsPem } = orders;
  const secure = { key, cert, ca: [...rootsPem], requestCert: true, ALPNProtocols: ['h2'] };
  const server = createServer({ ...secure, ...options }, (socket) => {
    socket.on('error', () => {});
    cleanups.push(() => socket.destroy());
  });
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

test.each([
  ['X25519', 'X25519'],
  ['P-256', 'P-256'],
])('a peer that has nothing but %s is called, too', async (ecdhCurve, group) => {
  const rig = caller(await serve({ ecdhCurve }));
  void rig.call();
  await expect.poll(() => rig.handshakes).toEqual([{ version: 'TLSv1.3', group, resumed: false }]);
});

test('a peer of the mesh without TLS 1.3 is refused', async () => {
  const rig = caller(await serve({ maxVersion: 'TLSv1.2' }));
  expect(await rig.call()).toMatch(/^tlsFailed: /);
});

/** A client of the inbound port: the group and cipher that it got, or the code of the error. */
async function dial(options: SecureContextOptions): Promise<string> {
  const { privateKeyPem: key, chainPem: cert, rootsPem } = web;
  const socket = connect({
    host: '127.0.0.1',
    port: inbound.port,
    servername: '8080.orders.shop',
    ALPNProtocols: ['h2'],
    key,
    cert,
    ca: [...rootsPem],
    checkServerIdentity: () => undefined,
    ...options,
  });
  cleanups.push(() => socket.destroy());
  try {
    await once(socket, 'secureConnect');
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
  const info = socket.getEphemeralKeyInfo();
  return `${info !== null && 'name' in info ? info.name : ''} ${socket.getCipher().name}`;
}

test('the inbound port falls back to what a caller has, and to nothing weaker', async () => {
  expect(await dial({ ecdhCurve: 'X25519' })).toBe('X25519 TLS_AES_256_GCM_SHA384');
  expect(await dial({ ecdhCurve: 'P-256', ciphers: 'TLS_AES_128_GCM_SHA256' })).toBe(
    'prime256v1 TLS_AES_128_GCM_SHA256',
  );
  expect(await dial({ ecdhCurve: 'P-521' })).toBe('ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE');
});

/** A server outside the mesh, with a certificate for `localhost`. */
async function outside(options: TlsOptions): Promise<number> {
  const server = createHttps(
    { key: authority.outside.keyPem, cert: authority.outside.certificatePem, ...options },
    (_request, response) => void response.setHeader('connection', 'close').end('hello'),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

test('a Service says by minTlsVersion what is the least', () => {
  const least = (minTlsVersion?: TlsVersion) =>
    compileService(
      create(ServiceSchema, { name: 'shop/a', ports: [{ port: 1, ...(minTlsVersion && { minTlsVersion }) }] }),
      [],
    )?.ports[0]?.settings.minVersion;
  expect([least(), least(TlsVersion.V1_2), least(TlsVersion.V1_3)]).toEqual(['TLSv1.2', 'TLSv1.2', 'TLSv1.3']);
  expect(least(9 as TlsVersion)).toBeUndefined();
});

const CBC = { maxVersion: 'TLSv1.2' as const, ciphers: 'ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA' };
const GCM = { maxVersion: 'TLSv1.2' as const, ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' };

test.each([
  ['1.2 with AEAD', GCM, 'TLSv1.2' as const, 200, 'TLSv1.2'],
  ['1.3', {}, 'TLSv1.2' as const, 200, 'TLSv1.3'],
  ['1.2 where the policy wants 1.3', GCM, 'TLSv1.3' as const, expect.stringMatching(/^tlsFailed: /), undefined],
  ['1.2 with CBC only', CBC, 'TLSv1.2' as const, expect.stringMatching(/^tlsFailed: /), undefined],
])('a server outside with %s', async (_what, server, minVersion, answer, version) => {
  const settings = {
    tls: 'simple',
    serverName: 'localhost',
    rootsPem: authority.rootsPem.join(''),
    minVersion,
  } as const;
  const rig = upstreamRig({}, { port: await outside(server) }, settings);
  cleanups.push(() => rig.close());
  expect(await rig.call()).toEqual(answer);
  expect(rig.handshakes[0]?.version).toBe(version);
});

test.each([
  ['1.3', {}],
  ['1.2', GCM],
])(
  'a session of TLS %s with a server outside is taken up again, until its roots or name change',
  async (_version, options) => {
    const port = await outside(options);
    const simple = { tls: 'simple', serverName: 'localhost', rootsPem: authority.rootsPem.join('') } as const;
    const rig = upstreamRig({}, { port }, simple);
    cleanups.push(() => rig.close());
    const call = async (): Promise<boolean | undefined> => {
      expect(await rig.call()).toBe(200);
      await expect.poll(() => rig.upstream.cluster.list[0]?.pool.connections).toBe(0);
      return rig.handshakes.at(-1)?.resumed;
    };
    expect([await call(), await call(), await call()]).toEqual([false, true, true]);
    rig.configure({ ...simple, rootsPem: `${simple.rootsPem}\n` });
    expect([await call(), await call()]).toEqual([false, true]);
  },
);

test('no session is taken up again between sidecars', async () => {
  const rig = caller(inbound.port);
  for (let i = 0; i < 3; i++) {
    expect(await rig.call()).toBe(200);
    for (const connection of inbound.connections) connection.destroy();
    await expect.poll(() => rig.upstream.cluster.list[0]?.pool.connections).toBe(0);
  }
  expect(rig.handshakes.map(({ resumed }) => resumed)).toEqual([false, false, false]);
});
