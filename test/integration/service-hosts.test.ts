// Under which hosts a Service may be reached over mutual TLS: by what the control plane says of it, whatever the receiver
// knows of other Services.
import type { IncomingHttpHeaders } from 'node:http';
import { toBinary } from '@bufbuild/protobuf';
import { beforeEach, expect, test } from 'vitest';
import { typeUrlOf } from '../../control-plane/index/encoded.ts';
import { needs } from '../../control-plane/model/needs.ts';
import { ServiceHostsSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { ResourceBytes } from '../../sidecar/base/messages.ts';
import { callHttp } from '../support/apps.ts';
import { read } from '../support/policies.ts';
import { useApps, useAuthority } from '../support/use.ts';
import { type Hops, twoHops } from '../support/worker-hops.ts';
import { resource } from '../support/worker-rig.ts';

const authority = useAuthority();
const apps = useApps();
let hops: Hops;
let seen: IncomingHttpHeaders[];

beforeEach(async () => {
  seen = [];
  const app = await apps.http((request, response) => {
    seen.push(request.headers);
    response.end('hello');
  });
  hops = await twoHops(authority, app, {});
  return () => hops.close();
});

/** `orders`, which an older name still reaches. */
const POLICY = `kind: Service
metadata: { name: orders, namespace: shop }
spec: { ports: [{ port: 80 }] }
---
kind: Route
metadata: { name: old, namespace: shop }
spec:
  hosts: [orders]
  rules:
    - matches: [{ path: { prefix: /legacy } }]
      filters: [{ rewrite: { host: legacy.example } }]
    - matches: [{ path: { prefix: /unlisted } }]
      filters: [{ rewrite: { host: unlisted.example } }]
    - {}
`;

/** What the sidecar of `account` gets of these types. */
async function wire(text: string, account: string, ...kinds: string[]): Promise<ResourceBytes[]> {
  const { resources, problems } = await read({ 'p.yaml': text });
  expect(problems).toEqual([]);
  const all = needs(resources, { trustDomain: 'mesh.local', namespace: 'shop', serviceAccount: account });
  return all
    .filter(({ schema }) => kinds.includes(schema.name))
    .map(({ schema, name, message }) => {
      return { typeUrl: typeUrlOf(schema), name, version: '1', bytes: toBinary(schema, message) };
    });
}

test('every way to call a Service, and what its Routes write, comes through; nothing else does', async () => {
  const { caller, receiver } = hops;
  expect(await caller.apply(...(await wire(POLICY, 'web', 'Route')))).toEqual([]);
  // The receiver was told before one of the two rewrites was written.
  const told = POLICY.replace('unlisted.example', 'legacy.example');
  expect(await receiver.apply(...(await wire(told, 'orders', 'ServiceHosts')))).toEqual([]);

  const hosts = ['orders', 'orders.shop', 'orders.shop.mesh', 'ORDERS', 'orders.', 'orders:80', 'orders.shop:80'];
  for (const host of [...hosts, `orders.localhost:${caller.port}`])
    expect([host, (await callHttp(caller.port, host)).status]).toEqual([host, 200]);
  for (const host of ['anything.example', 'localhost:4001', '[::1]:4001', '127.0.0.1'])
    expect([host, (await callHttp(caller.localPort, host)).status]).toEqual([host, 200]);
  expect(await callHttp(caller.port, 'orders', { path: '/legacy/x' })).toMatchObject({ status: 200 });
  expect(seen.at(-1)?.host).toBe('legacy.example');

  const before = seen.length;
  const refused = await callHttp(caller.port, 'orders', { path: '/unlisted' });
  expect([refused.status, refused.headers['x-weft-error']]).toEqual([421, 'NR']);
  expect(seen).toHaveLength(before);
  const query = { direction: 'inbound', path: '/', caller: 'spiffe://mesh.local/ns/shop/sa/web' } as const;
  expect(await receiver.explain({ ...query, authority: 'unlisted.example' })).toMatchObject({
    status: 421,
    why: expect.stringContaining('unlisted.example is no host of shop/orders'),
  });
  expect(await receiver.explain({ ...query, authority: 'legacy.example' })).toMatchObject({ decision: 'allowed' });
});

test('a receiver that was told nothing lets in what it knows to be of nobody else', async () => {
  await hops.caller.apply(...(await wire(POLICY, 'web', 'Route')));
  expect((await callHttp(hops.caller.port, 'orders', { path: '/unlisted' })).status).toBe(200);
  expect(seen.at(-1)?.host).toBe('unlisted.example');
});

test('a list with something that is no host is refused, and the last good one stays', async () => {
  const list = (...hosts: string[]) => resource(ServiceHostsSchema, 'shop/orders', { service: 'shop/orders', hosts });
  expect(await hops.receiver.apply(list('orders', 'legacy.example'))).toEqual([]);
  const [error] = await hops.receiver.apply(list('orders', 'not a host'));
  expect(error?.error).toBe('hosts[1]: not a host is not a host');
  await hops.caller.apply(...(await wire(POLICY, 'web', 'Route')));
  expect((await callHttp(hops.caller.port, 'orders', { path: '/legacy' })).status).toBe(200);
  expect((await callHttp(hops.caller.port, 'orders', { path: '/unlisted' })).status).toBe(421);
});
