// Dialling over mutual TLS with certificates of the real authority: who is let in, who is turned away, and why.
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSecureContext, createServer, type TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Authority, openAuthority } from '../../control-plane/identity/authority.ts';
import { checkCsr } from '../../control-plane/identity/csr.ts';
import { uriName, verifySpiffe } from '../../proto/kit/san.ts';
import { createWorkloadKey } from '../../sidecar/identity/key.ts';
import { connectorTo } from '../../sidecar/upstream/connect.ts';
import type { PooledConnection } from '../../sidecar/upstream/pool.ts';
import { serveHttp2 } from '../../sidecar/wire/http2/server.ts';
import { WireSocket } from '../../sidecar/wire/socket.ts';
import { Head, type StreamEvents } from '../../sidecar/wire/stream.ts';

const QUIET: StreamEvents = { onHead() {}, onData() {}, onEnd() {}, onDrain() {}, onReset() {} };
const dataDir = mkdtempSync(join(tmpdir(), 'weft-connect-'));
const cleanups: (() => void)[] = [];
let authority: Authority;

beforeAll(async () => {
  authority = await openAuthority({ dataDir, trustDomain: 'mesh.local', now: Date.now });
});
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});
afterAll(() => rmSync(dataDir, { recursive: true }));

async function identity(account: string) {
  const made = await createWorkloadKey();
  const checked = await checkCsr(made.csr);
  if (!checked.ok) throw new Error(checked.error);
  const issued = await authority.sign(checked.publicKey, 'shop', account);
  const pem = (der: Uint8Array) => new X509Certificate(der).toString();
  return {
    key: made.privateKeyPem,
    cert: issued.chain.map(pem).join('\n'),
    ca: authority.trustBundle.map(pem),
    spiffeId: issued.spiffeId as string,
    der: Buffer.from(issued.chain[0] as Uint8Array),
  };
}

/** A sidecar's inbound side: asks for the caller's certificate and answers with the caller's SPIFFE id. */
async function serve(account: string): Promise<number> {
  const { key, cert, ca } = await identity(account);
  const server = createServer(
    { key, cert, ca, requestCert: true, minVersion: 'TLSv1.3', ALPNProtocols: ['h2'] },
    (socket: TLSSocket) => {
      cleanups.push(() => socket.destroy());
      const caller = uriName(socket.getPeerX509Certificate()?.raw ?? Buffer.alloc(0)) ?? 'nobody';
      const options = { scheme: 'https' as const, onMalformed() {}, onGuard() {}, onClose() {} };
      serveHttp2(
        new WireSocket(socket),
        (stream) => ({
          ...QUIET,
          onHead: () => queueMicrotask(() => stream.writeHead(Head.response(200, ['x-caller', caller]), true)),
        }),
        options,
      );
    },
  );
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** Dials as `web`, accepting only `allowed`: the connection, or the kind and detail of the error. */
async function dial(port: number, allowed: string, withCertificate = true): Promise<PooledConnection | string> {
  const { key, cert, ca } = await identity('web');
  const context = createSecureContext(withCertificate ? { key, cert, ca, minVersion: 'TLSv1.3' } : { ca });
  const tls = {
    context,
    serverName: '80.orders.shop',
    alpn: 'h2' as const,
    peers: null,
    sessions: null,
    verify: (der: Buffer) => verifySpiffe(der, new Set([allowed])),
  };
  return new Promise((resolve) => {
    const connect = connectorTo({ host: '127.0.0.1', port, protocol: 'http2', tls, connectTimeoutMs: 5000 });
    const abandon = connect({
      onReady: resolve,
      onRoom() {},
      onGone: (error) => resolve(error === null ? 'closed' : `${error.kind}: ${error.detail}`),
    });
    cleanups.push(abandon);
  });
}

const ORDERS = 'spiffe://mesh.local/ns/shop/sa/orders';

test('both sides see each other’s SPIFFE id', async () => {
  const connection = await dial(await serve('orders'), ORDERS);
  if (typeof connection === 'string') throw new Error(connection);
  const head = await new Promise<Head>((resolve) => {
    const stream = connection.open({ ...QUIET, onHead: resolve });
    stream?.writeHead(Head.request('GET', 'https', 'orders', '/', []), true);
  });
  expect(head.headers).toContain('spiffe://mesh.local/ns/shop/sa/web');
});

test('a server of the mesh with another identity is refused by name', async () => {
  expect(await dial(await serve('stock'), ORDERS)).toContain(
    'is spiffe://mesh.local/ns/shop/sa/stock, which may not serve',
  );
});

test('a refused connection and a broken handshake are told apart', async () => {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  expect(await dial(port, ORDERS)).toMatch(/^tlsFailed: connection to 127.0.0.1:[0-9]+ failed: /);
  server.close();
  await once(server, 'close');
  expect(await dial(port, ORDERS)).toMatch(/^connectFailed: connection to 127.0.0.1:[0-9]+ failed: /);
});

test('a server that another authority certified is refused', async () => {
  const port = await serve('orders');
  const elsewhere = mkdtempSync(join(tmpdir(), 'weft-other-'));
  cleanups.push(() => rmSync(elsewhere, { recursive: true }));
  const ours = authority;
  try {
    authority = await openAuthority({ dataDir: elsewhere, trustDomain: 'mesh.local', now: Date.now });
    expect(await dial(port, ORDERS)).toMatch(/certificate/);
  } finally {
    authority = ours;
  }
});

test('the URI name is read byte for byte, and anything odd is a stranger', async () => {
  const { der, spiffeId } = await identity('web');
  expect(uriName(der)).toBe(spiffeId);
  const odd = Buffer.from(der);
  odd[odd.indexOf('spiffe://')] = 0;
  expect(uriName(odd)).toBeNull();
  for (let length = 0; length < der.length; length += 7) expect(uriName(der.subarray(0, length))).toBeNull();
});
