// The control plane as a program: sidecars join it, discover and register over real TLS, policies change under it,
// and it is killed.
import { X509Certificate } from 'node:crypto';
import { afterEach, expect, test } from 'vitest';
import { CLOCK_SKEW_MS } from '../../control-plane/identity/authority.ts';
import { typeUrlOf } from '../../control-plane/index/encoded.ts';
import {
  AuthorizationSchema,
  EndpointSchema,
  RouteSchema,
  ServiceHostsSchema,
  ServiceSchema,
} from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { createWorkloadKey } from '../../sidecar/identity/key.ts';
import {
  ControlPlaneProcess,
  type Discovery,
  eventually,
  sign,
  trusted,
  type Workload,
} from '../support/control-plane.ts';

const TYPES = [ServiceSchema, EndpointSchema, RouteSchema, AuthorizationSchema, ServiceHostsSchema].map(typeUrlOf);
const ENDPOINT = typeUrlOf(EndpointSchema);

const SERVICES = `
kind: Service
metadata: { name: orders }
spec: { ports: [{ port: 80 }] }
---
kind: Service
metadata: { name: web }
spec: { ports: [{ port: 80 }] }
---
kind: Service
metadata: { name: vault }
spec: { ports: [{ port: 80 }] }
`;
const WEB_ONLY = `
kind: Authorization
metadata: { name: orders-callers }
spec: { targetRefs: [{ name: orders }], action: ALLOW, rules: [{ name: web, from: [{ serviceAccount: web }] }] }
`;
const route = (weight: number) => `
kind: Route
metadata: { name: orders }
spec:
  hosts: [orders]
  rules: [{ backends: [{ service: orders, weight: ${weight}, labels: { version: v1 } }] }]
`;
const POLICIES = { 'services.yaml': SERVICES, 'callers.yaml': WEB_ONLY, 'route.yaml': route(50) };

const open: { remove(): Promise<void> }[] = [];
const workloads: Workload[] = [];
afterEach(async () => {
  for (const workload of workloads.splice(0)) workload.close();
  for (const plane of open.splice(0)) await plane.remove();
});

async function started(policies: Record<string, string> = POLICIES, args: readonly string[] = []) {
  const plane = new ControlPlaneProcess(policies, args);
  open.push(plane);
  await plane.start();
  return plane;
}

async function joined(plane: ControlPlaneProcess, account: string): Promise<Workload> {
  const workload = await plane.join(account);
  workloads.push(workload);
  return workload;
}

const holds = (discovery: Discovery, name: string) => eventually(name, () => discovery.held.has(name));
const REGISTRATION = { workloadId: 'orders-1', address: '127.0.0.1', inboundPort: 15006, apps: [{}] };

test('CVE class 11: a sidecar joins by token, renews by its certificate, and the token is of no use to another key', async () => {
  const plane = await started();
  const { token } = await plane.api().createJoinToken({ serviceAccount: 'orders' });
  const channel = await trusted(plane.port('grpc'), token);
  const [mine, other] = [await createWorkloadKey(), await createWorkloadKey()];
  const first = await sign(plane.port('grpc'), channel, mine.csr, token);
  expect(first.spiffeId).toBe('spiffe://mesh.local/ns/default/sa/orders');
  const { validFromDate, validToDate } = new X509Certificate(first.certificateChain[0] as Uint8Array);
  expect(validToDate.getTime() - validFromDate.getTime()).toBe(24 * 60 * 60 * 1000 + CLOCK_SKEW_MS);
  await expect(sign(plane.port('grpc'), channel, other.csr, token)).rejects.toMatchObject({ code: 16 });
  // The answer may have been lost.
  expect((await sign(plane.port('grpc'), channel, mine.csr, token)).spiffeId).toBe(first.spiffeId);
  await expect(sign(plane.port('grpc'), channel, mine.csr, '')).rejects.toMatchObject({ code: 16 });
  const workload = await joined(plane, 'orders');
  const renewed = await sign(plane.port('grpc'), workload.channel, other.csr, '');
  expect(renewed.spiffeId).toBe(first.spiffeId);
  expect(await plane.end()).toBe(0);
});

test('one policy edit is one small message to who is concerned, and nothing to others', async () => {
  const plane = await started();
  const web = (await joined(plane, 'web')).discover(TYPES);
  const vault = (await joined(plane, 'vault')).discover(TYPES);
  const count = TYPES.length;
  await eventually('both have all types', () => web.messages.length === count && vault.messages.length === count);
  expect(web.held.has('Service default/orders')).toBe(true);
  expect(vault.held.has('Service default/orders')).toBe(false);
  const before = web.bytes;
  // How soon is for the tour and the bench to say.
  plane.write('route.yaml', route(60));
  await eventually('the edit arrives', () => web.messages.length > count);
  expect(web.messages[count]?.resources.map(({ name }) => name)).toEqual(['default/orders']);
  expect(web.bytes - before).toBeLessThan(200);
  // A later change for both reaches vault after anything that it was owed before.
  plane.write('more.yaml', 'kind: Service\nmetadata: { name: more }\nspec: { ports: [{ port: 80 }] }\n');
  await holds(vault, 'Service default/more');
  await holds(web, 'Service default/more');
  expect(vault.messages.length).toBe(count + 1);
  expect(web.messages.length).toBe(count + 2);
});

test('CVE class 15: what a stream gets follows from its certificate, whatever node it says it is', async () => {
  const plane = await started();
  const web = (await joined(plane, 'web')).discover(TYPES);
  const vault = (await joined(plane, 'vault')).discover([]);
  const node = { id: 'spiffe://mesh.local/ns/default/sa/web', cluster: 'web' };
  for (const typeUrl of TYPES) vault.say({ typeUrl, resourceNamesSubscribe: ['*'], node });
  await eventually('both are answered', () => [web, vault].every(({ messages }) => messages.length === TYPES.length));
  expect(web.held.has('Service default/orders')).toBe(true);
  expect(vault.held.has('Service default/orders')).toBe(false);
});

test('CVE class 15: the hosts of a Service go to its receiver alone, and only when a Route writes another one', async () => {
  const plane = await started();
  const hosts = [typeUrlOf(ServiceHostsSchema)];
  const orders = (await joined(plane, 'orders')).discover([...hosts, typeUrlOf(RouteSchema)]);
  const web = (await joined(plane, 'web')).discover(hosts);
  await eventually('both have them', () => orders.messages.length === 2 && web.messages.length === 1);
  plane.write('route.yaml', route(60));
  await eventually('the Route is there', () => orders.messages.length === 3);
  const before = orders.bytes;
  plane.write('route.yaml', route(60).replace('backends', 'filters: [{ rewrite: { host: old.example } }], backends'));
  await eventually('both are there', () => orders.messages.length === 5);
  expect(orders.messages.map(({ typeUrl }) => typeUrl).filter((url) => hosts.includes(url))).toHaveLength(2);
  expect(orders.bytes - before).toBeLessThan(300);
  // What web is owed by these edits would come before its own.
  plane.write(
    'more.yaml',
    'kind: Service\nmetadata: { name: more }\nspec: { ports: [{ port: 80 }], serviceAccounts: [web] }\n',
  );
  await holds(web, 'ServiceHosts default/more');
  expect(web.messages).toHaveLength(2);
});

test('CVE class 15: a registered workload is an endpoint for its callers until it drains; another identity may not register it', async () => {
  const plane = await started();
  const web = await joined(plane, 'web');
  const seen = web.discover(TYPES);
  const orders = (await joined(plane, 'orders')).register();
  expect(await orders.say(REGISTRATION)).toEqual(['default/orders/orders-1']);
  await holds(seen, 'Endpoint default/orders/orders-1');
  const intruder = web.register();
  await expect(intruder.say({ ...REGISTRATION, apps: [{ service: 'orders' }] })).rejects.toMatchObject({ code: 7 });
  await orders.say({ ...REGISTRATION, draining: true });
  await eventually('it is withdrawn', () => !seen.held.has('Endpoint default/orders/orders-1'));
});

test('an endpoint outlives its stream by the grace time, and the newest stream of a workload counts', async () => {
  const plane = await started(POLICIES, ['--registration-grace', '300ms']);
  const seen = (await joined(plane, 'web')).discover(TYPES);
  const orders = await joined(plane, 'orders');
  const [older, newer] = [orders.register(), orders.register()];
  await older.say(REGISTRATION);
  await newer.say({ ...REGISTRATION, inboundPort: 15007 });
  await eventually('the older stream is ended', () => older.error?.code === 10);
  await holds(seen, 'Endpoint default/orders/orders-1');
  const startMs = performance.now();
  newer.call.cancel();
  await eventually('it is withdrawn', () => !seen.held.has('Endpoint default/orders/orders-1'));
  expect(performance.now() - startMs).toBeGreaterThan(250);
});

test('killed and started again, it withdraws nothing, and says nothing to who has it all', async () => {
  const plane = await started();
  const web = await joined(plane, 'web');
  const before = web.discover(TYPES);
  const orders = (await joined(plane, 'orders')).register();
  await orders.say(REGISTRATION);
  await holds(before, 'Endpoint default/orders/orders-1');
  await plane.end('SIGKILL');
  await plane.start();
  const kept: Record<string, Record<string, string>> = {};
  for (const [key, version] of before.held) {
    const [type, name] = key.split(' ') as [string, string];
    const typeUrl = TYPES.find((url) => url.endsWith(`.${type}`)) as string;
    kept[typeUrl] = { ...kept[typeUrl], [name]: version };
  }
  const after = web.discover([ENDPOINT], kept);
  const fresh = web.discover(TYPES);
  await holds(fresh, 'Endpoint default/orders/orders-1');
  // The tokens that were used are still used: the root and the files are the same.
  await eventually('both are back', async () => (await plane.api().getStatus({})).sidecars.length === 2);
  expect(after.messages).toEqual([]);
});
