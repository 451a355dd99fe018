// Hostile certificates, signed by a root that both sidecars trust: exactly one URI name, and that byte for byte, says who
// somebody is; as caller and as receiver.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';
import { afterEach, beforeAll, expect, test } from 'vitest';
import type { WorkerIdentity } from '../../sidecar/base/messages.ts';
import { createMeshContext } from '../../sidecar/wire/tls.ts';
import { oddIdentity, type TestAuthority, testAuthority } from '../support/identities.ts';
import { inboundRig } from '../support/inbound-rig.ts';
import { upstreamRig } from '../support/upstream-rig.ts';

const ID = 'spiffe://mesh.local/ns/shop/sa/orders';
const cleanups: (() => void)[] = [];
let authority: TestAuthority;
let orders: WorkerIdentity;

beforeAll(async () => {
  authority = await testAuthority();
  orders = await authority.issue('orders');
  return () => authority.close();
});
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

type More = NonNullable<Parameters<typeof oddIdentity>[2]>;

/** What the certificate says, its URI names, and why a receiver refuses it; null: it is let in. */
const CASES: [string, string[], string | null, More?][] = [
  ['the id alone', [ID], null],
  // X509-SVID §2: other types of names are allowed beside it, and mean nothing.
  ['the id beside a DNS name', [ID], null, { dnsNames: ['spiffe', 'admin.mesh.local'] }],
  ['the id beside an address', [ID], null, { addresses: ['127.0.0.1', '::1'] }],
  ['two ids', [ID, 'spiffe://mesh.local/ns/shop/sa/admin'], 'spiffeId'],
  ['the id twice', [ID, ID], 'spiffeId'],
  ['the id and another URI', ['https://mesh.local/', ID], 'spiffeId'],
  ['no URI', [], 'spiffeId', { dnsNames: [ID] }],
  ['an empty URI', [''], 'spiffeId'],
  ['user info', ['spiffe://orders@mesh.local/ns/shop/sa/orders'], 'spiffeId'],
  ['a port', ['spiffe://mesh.local:443/ns/shop/sa/orders'], 'spiffeId'],
  ['a query', [`${ID}?x`], 'spiffeId'],
  ['an empty query', [`${ID}?`], 'spiffeId'],
  ['a fragment', [`${ID}#x`], 'spiffeId'],
  ['an upper-case scheme', ['SPIFFE://mesh.local/ns/shop/sa/orders'], 'spiffeId'],
  ['an upper-case trust domain', ['spiffe://MESH.local/ns/shop/sa/orders'], 'spiffeId'],
  ['percent-encoding', ['spiffe://mesh.local/ns/shop/sa/%6frders'], 'spiffeId'],
  ['an encoded slash', ['spiffe://mesh.local/ns/shop/sa%2Forders'], 'spiffeId'],
  ['a trailing slash', [`${ID}/`], 'spiffeId'],
  ['an empty path', ['spiffe://mesh.local'], 'spiffeId'],
  ['a lone slash', ['spiffe://mesh.local/'], 'spiffeId'],
  ['an empty segment', ['spiffe://mesh.local//ns/shop/sa/orders'], 'spiffeId'],
  ['a dot segment', ['spiffe://mesh.local/ns/shop/../shop/sa/orders'], 'spiffeId'],
  ['a segment of dots', ['spiffe://mesh.local/ns/../sa/orders'], 'spiffeId'],
  ['a NUL at the end', [`${ID}\0`], 'spiffeId'],
  ['a NUL before more', [`${ID}\0.evil`], 'spiffeId'],
  ['a blank at the end', [`${ID} `], 'spiffeId'],
  ['a line end', [`${ID}\n`], 'spiffeId'],
  ['a list in one name', [`${ID}, URI:spiffe://mesh.local/ns/shop/sa/admin`], 'spiffeId'],
  ['no trust domain', ['spiffe:///ns/shop/sa/orders'], 'spiffeId'],
  ['another trust domain', ['spiffe://mesh.local.evil/ns/shop/sa/orders'], 'trustDomain'],
  ['the id of an authority', [ID], 'authority', { isCa: true }],
];

test.each(CASES)('CVE class 12: a caller with %s', async (_what, uris, reason, more) => {
  const { identity, rootPem } = await oddIdentity(uris, 60_000, more);
  const inbound = await inboundRig({ ...orders, rootsPem: [...orders.rootsPem, rootPem] });
  cleanups.push(() => inbound.close());
  const secureContext = createMeshContext({ ...identity, rootsPem: orders.rootsPem });
  const rig = upstreamRig({ secureContext: () => secureContext }, { port: inbound.port, spiffeId: ID });
  cleanups.push(() => rig.close());
  const answer = await rig.call();
  if (reason === null) return expect(answer).toBe(200);
  expect(answer).not.toBe(200);
  await expect.poll(() => inbound.count('handshakes', reason)).toBe(1);
});

test.each(CASES)('CVE class 12: a receiver with %s', async (_what, uris, reason, more) => {
  const { identity, rootPem } = await oddIdentity(uris, 60_000, more);
  const { privateKeyPem: key, chainPem: cert } = identity;
  const server = createServer({ key, cert, ca: [...orders.rootsPem], requestCert: true, ALPNProtocols: ['h2'] });
  const connected: string[] = [];
  server.on('secureConnection', (socket) => {
    socket.on('error', () => {});
    socket.on('data', (chunk) => connected.push(chunk.toString('latin1')));
    cleanups.push(() => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  const web = await authority.issue('web');
  const secureContext = createMeshContext({ ...web, rootsPem: [rootPem] });
  const rig = upstreamRig(
    { secureContext: () => secureContext },
    { port: (server.address() as AddressInfo).port, spiffeId: ID },
  );
  cleanups.push(() => rig.close());
  const answer = rig.call();
  if (reason === null) return expect.poll(() => connected.join('')).toContain('PRI * HTTP/2.0');
  const why = {
    authority: 'the certificate of an authority',
    trustDomain: 'may not serve',
    spiffeId: /showed no SPIFFE identity|may not serve/,
  };
  expect(await answer).toMatch(why[reason as keyof typeof why]);
  expect(connected).toEqual([]);
});
