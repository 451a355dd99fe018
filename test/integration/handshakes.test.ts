// Handshakes in progress are bounded on a real inbound port, however they end.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { WorkerIdentity } from '../../sidecar/base/messages.ts';
import { createMeshContext } from '../../sidecar/wire/tls.ts';
import { type TestAuthority, testAuthority } from '../support/identities.ts';
import { type InboundRig, inboundRig } from '../support/inbound-rig.ts';
import { until } from '../support/listener-rig.ts';
import { upstreamRig } from '../support/upstream-rig.ts';

vi.mock(import('../../sidecar/base/limits.ts'), async (original) => {
  const { LIMITS } = await original();
  // No handshake ends by its timeout here.
  const changed = { handshakesMax: 2, handshakesPerSecond: 4, handshakeTimeoutMs: 600_000 };
  return { LIMITS: { ...LIMITS, ...(changed as object) } };
});

let authority: TestAuthority;
let web: WorkerIdentity;
let inbound: InboundRig;
const cleanups: (() => void)[] = [];

beforeEach(async () => {
  authority = await testAuthority();
  web = await authority.issue('web');
  inbound = await inboundRig(await authority.issue('orders'));
  cleanups.push(
    () => authority.close(),
    () => inbound.close(),
  );
});
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

const active = (): number => inbound.count('handshakesActive');

/** One that connects and says nothing. */
async function idler(): Promise<Socket> {
  const socket = connect(inbound.port, '127.0.0.1').on('error', () => {});
  cleanups.push(() => void socket.destroy());
  await once(socket, 'connect');
  return socket.resume();
}

function caller() {
  const secureContext = createMeshContext(web);
  const endpoint = { port: inbound.port, spiffeId: 'spiffe://mesh.local/ns/shop/sa/orders' };
  const rig = upstreamRig({ secureContext: () => secureContext }, endpoint);
  cleanups.push(() => rig.close());
  return rig;
}

test('who is one too many is refused and counted, and there is room again when one leaves', async () => {
  const idlers = [await idler(), await idler()];
  await until('both are under way', () => active() === 2);
  expect(await caller().call()).toMatch(/^tlsFailed: /);
  expect(inbound.count('guards', 'inbound', 'handshakes')).toBe(1);
  idlers[0]?.destroy();
  await until('it has left', () => active() === 1);
  expect(await caller().call()).toBe(200);
  expect(active()).toBe(1);
});

test('every end of a handshake gives its place back; above the rate they wait and are served', async () => {
  const tls = (options: object) => {
    const socket = connectTls({ host: '127.0.0.1', port: inbound.port, servername: '8080.orders.shop', ...options });
    cleanups.push(() => void socket.destroy());
    return new Promise((resolve) => socket.on('error', () => {}).on('close', resolve));
  };
  const own = {
    key: web.privateKeyPem,
    cert: web.chainPem,
    ca: [...web.rootsPem],
    checkServerIdentity: () => undefined,
  };
  await tls({ ...own, servername: 'nobody' });
  await tls({ ...own, maxVersion: 'TLSv1.2' });
  await tls({ ...own, ALPNProtocols: ['spdy/3'] });
  (await idler()).destroy();
  (await idler()).write('GET / HTTP/1.1\r\n\r\n');
  await until('all have ended', () => active() === 0);
  expect(inbound.count('guards', 'inbound', 'handshakes')).toBe(0);
  for (let i = 0; i < 3; i++) expect(await caller().call()).toBe(200);
  expect(inbound.count('handshakesDelayed')).toBeGreaterThan(0);
  expect(active()).toBe(0);
});
