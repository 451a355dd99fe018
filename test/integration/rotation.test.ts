// Leaf and root change under load, with overlap, in both roles: no call fails, no connection is dropped, and once the old
// root is gone nobody comes in with a certificate of it.
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { WorkerIdentity } from '../../sidecar/base/messages.ts';
import { createMeshContext } from '../../sidecar/wire/tls.ts';
import { type TestAuthority, testAuthority } from '../support/identities.ts';
import { type InboundRig, inboundRig } from '../support/inbound-rig.ts';
import { type UpstreamRig, upstreamRig } from '../support/upstream-rig.ts';

const ORDERS = 'spiffe://mesh.local/ns/shop/sa/orders';
const cleanups: (() => void)[] = [];
let before: TestAuthority;
let after: TestAuthority;
let inbound: InboundRig;

beforeEach(async () => {
  before = await testAuthority();
  after = await testAuthority();
  inbound = await inboundRig(await before.issue('orders'));
  cleanups.push(
    () => before.close(),
    () => after.close(),
    () => inbound.close(),
  );
});
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** A caller whose identity changes as the test says. */
function caller(first: WorkerIdentity): UpstreamRig & { take(identity: WorkerIdentity): void } {
  let secureContext = createMeshContext(first);
  const rig = upstreamRig({ secureContext: () => secureContext }, { port: inbound.port, spiffeId: ORDERS });
  cleanups.push(() => rig.close());
  return {
    ...rig,
    take: (identity) => {
      secureContext = createMeshContext(identity);
    },
  };
}

test('leaf and root are exchanged under load without a failed call', async () => {
  const [oldOrders, newOrders] = [await before.issue('orders'), await after.issue('orders')];
  const [oldWeb, newWeb] = [await before.issue('web'), await after.issue('web')];
  const both = [...before.rootsPem, ...after.rootsPem];
  const old = caller(oldWeb);
  expect(await old.call()).toBe(200);

  // Load on the old connection, and with a handshake each, all the while.
  let identity = oldWeb;
  const answers: (number | string)[] = [];
  let running = true;
  const load = async (call: () => Promise<number | string>): Promise<void> => {
    while (running) answers.push(await call());
  };
  const handshaking = async (): Promise<number | string> => {
    const fresh = caller(identity);
    const answer = await fresh.call();
    fresh.close();
    return answer;
  };
  const loads = [load(() => old.call()), load(() => old.call()), load(handshaking), load(handshaking)];
  /** So many calls of each kind under what is in force now. */
  const more = async (): Promise<void> => {
    const enough = answers.length + 60;
    await expect.poll(() => answers.length, { timeout: 20_000 }).toBeGreaterThan(enough);
  };

  await more();
  // Everybody trusts both roots, one side after the other.
  inbound.setIdentity({ ...oldOrders, rootsPem: both });
  await more();
  identity = { ...oldWeb, rootsPem: both };
  await more();
  // New leaves, one side after the other.
  inbound.setIdentity({ ...newOrders, rootsPem: both });
  await more();
  identity = { ...newWeb, rootsPem: both };
  await more();
  // The old root goes, when no handshake with an old leaf is under way any more.
  running = false;
  await Promise.all(loads);
  running = true;
  const others = [load(() => old.call()), load(handshaking), load(handshaking)];
  inbound.setIdentity(newOrders);
  await more();
  identity = newWeb;
  await more();
  running = false;
  await Promise.all(others);
  expect(new Set(answers)).toEqual(new Set([200]));

  // The first connection has lived through all of it; nobody begins one with what is old.
  expect(await old.call()).toBe(200);
  expect(old.handshakes).toHaveLength(1);
  expect(await caller({ ...oldWeb, rootsPem: both }).call()).not.toBe(200);
  expect(inbound.count('handshakes', 'untrusted')).toBe(1);
  inbound.setIdentity({ ...oldOrders, rootsPem: both });
  expect(await caller(newWeb).call()).toMatch(/^tlsFailed: .*(unable to verify|self-signed|unable to get)/);
});
