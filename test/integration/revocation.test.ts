// Revocation in a sidecar, as receiver and as caller: new handshakes are refused, live connections end, others go on.

import { X509Certificate } from 'node:crypto';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { RevocationSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { WorkerIdentity } from '../../sidecar/base/messages.ts';
import { Resources } from '../../sidecar/config/resources.ts';
import { type EndedPeer, LivePeers } from '../../sidecar/identity/revoked.ts';
import { createMeshContext } from '../../sidecar/wire/tls.ts';
import { type TestAuthority, testAuthority } from '../support/identities.ts';
import { type InboundRig, inboundRig } from '../support/inbound-rig.ts';
import { until } from '../support/listener-rig.ts';
import { type UpstreamRig, upstreamRig } from '../support/upstream-rig.ts';
import { resource } from '../support/worker-rig.ts';

let authority: TestAuthority;
let web: WorkerIdentity;
let batch: WorkerIdentity;
let orders: WorkerIdentity;
let inbound: InboundRig;
const cleanups: (() => void)[] = [];

beforeAll(async () => {
  authority = await testAuthority();
  web = await authority.issue('web');
  batch = await authority.issue('batch');
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

const serialOf = ({ chainPem }: WorkerIdentity): string => new X509Certificate(chainPem).serialNumber;
const byId = (...all: WorkerIdentity[]) => ({
  serials: new Set<string>(),
  spiffeIds: new Set(all.map((one) => one.spiffeId)),
});
const bySerial = (...all: WorkerIdentity[]) => ({ serials: new Set(all.map(serialOf)), spiffeIds: new Set<string>() });
const NOBODY = byId();

function caller(identity: WorkerIdentity, ended: EndedPeer[] = []): UpstreamRig & { peers: LivePeers } {
  const secureContext = createMeshContext(identity);
  const peers = new LivePeers((one) => ended.push(one));
  const endpoint = { port: inbound.port, spiffeId: orders.spiffeId };
  const rig = upstreamRig({ secureContext: () => secureContext, peers }, endpoint);
  cleanups.push(() => rig.close());
  return { ...rig, peers };
}

test.each([
  ['identity', byId],
  ['serial number', bySerial],
])('a caller revoked by its %s is refused, and others are not', async (_by, revoke) => {
  inbound.context.peers.take(revoke(web));
  expect(await caller(web).call()).not.toBe(200);
  expect(inbound.count('handshakes', 'revoked')).toBe(1);
  expect(inbound.refusals).toEqual(['revoked 1 127.0.0.1']);
  expect(await caller(batch).call()).toBe(200);
  inbound.context.peers.take(NOBODY);
  expect(await caller(web).call()).toBe(200);
});

test.each([
  ['identity', byId, () => `is ${orders.spiffeId}, which is revoked`],
  ['serial number', bySerial, () => `showed certificate ${serialOf(orders)} of ${orders.spiffeId}, which is revoked`],
])('a receiver revoked by its %s is not called', async (_by, revoke, why) => {
  const rig = caller(web);
  rig.peers.take(revoke(orders));
  expect(await rig.call()).toBe(`tlsFailed: 127.0.0.1:${inbound.port} ${why()}`);
  rig.peers.take(bySerial(batch));
  expect(await rig.call()).toBe(200);
});

test.each([
  ['identity', byId],
  ['serial number', bySerial],
])('live connections end when the caller is revoked by its %s, and no others', async (_by, revoke) => {
  const [one, other] = [caller(web), caller(batch)];
  expect([await one.call(), await other.call()]).toEqual([200, 200]);
  inbound.context.peers.take(revoke(web));
  expect(inbound.ended).toEqual([`inbound ${web.spiffeId} 1`]);
  await until('the caller notices', () => one.upstream.cluster.list[0]?.pool.connections === 0);
  expect(await other.call()).toBe(200);
  expect(other.handshakes).toHaveLength(1);
  inbound.context.peers.take(revoke(web));
  expect(inbound.ended).toHaveLength(1);
});

test('live connections end when the receiver is revoked, and the next call is refused', async () => {
  const ended: EndedPeer[] = [];
  const rig = caller(web, ended);
  expect(await rig.call()).toBe(200);
  rig.peers.take(byId(batch));
  expect([await rig.call(), ended]).toEqual([200, []]);
  rig.peers.take(bySerial(orders));
  expect(ended).toEqual([{ side: 'outbound', serial: serialOf(orders), spiffeId: orders.spiffeId, count: 1 }]);
  await until('the connection is gone', () => inbound.connections.size === 0);
  expect(await rig.call()).toContain('which is revoked');
});

test('who is revoked is not let in as nobody either', async () => {
  const own = inbound.context.snapshot.ownServices.get('shop/orders');
  const port = own?.ports.get(8080);
  if (own === undefined || port === undefined) throw new Error('no port');
  const ports = new Map([[8080, { ...port, tls: 'simple' as const }]]);
  inbound.context.snapshot = {
    ...inbound.context.snapshot,
    ownServices: new Map([['shop/orders', { ...own, ports }]]),
  };
  expect(await caller(web).call()).toBe(200);
  inbound.context.peers.take(byId(web));
  expect(await caller(web).call()).not.toBe(200);
  expect(inbound.count('handshakes', 'revoked')).toBe(1);
});

test('a connection that closed is held no longer', async () => {
  const rig = caller(web);
  expect(await rig.call()).toBe(200);
  rig.close();
  await until('the connection is gone', () => inbound.connections.size === 0);
  inbound.context.peers.take(byId(web));
  expect(inbound.ended).toEqual([]);
});

test('resources become the list; one of an unknown kind is refused and names itself', () => {
  const resources = new Resources();
  const changes = () => ({
    services: new Set<string>(),
    endpoints: new Set<string>(),
    telemetry: false,
    revocations: false,
  });
  const changed = changes();
  const take = (name: string, init: Parameters<typeof resource<typeof RevocationSchema>>[2]) =>
    resources.upsert(resource(RevocationSchema, name, init), changed);
  expect(take('0A', { subject: { case: 'serial', value: '0A' } })).toBeNull();
  expect(take(web.spiffeId, { subject: { case: 'spiffeId', value: web.spiffeId } })).toBeNull();
  expect(take('?', {})?.error).toContain('upgrade this sidecar');
  expect(changed.revocations).toBe(true);
  expect(resources.revoked()).toEqual({ serials: new Set(['0A']), spiffeIds: new Set([web.spiffeId]) });
  const removed = changes();
  resources.remove(resource(RevocationSchema, '0A', {}).typeUrl, '0A', removed);
  expect([removed.revocations, resources.revoked().serials.size]).toEqual([true, 0]);
});
