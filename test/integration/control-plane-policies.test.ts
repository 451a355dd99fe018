// Policies under a running control plane: mistakes change nothing but what is said of them, and editors may save as
// they like. And the ways in which a start is refused.
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { afterEach, expect, test } from 'vitest';
import { typeUrlOf } from '../../control-plane/index/encoded.ts';
import { SECOND_LOOK_MS } from '../../control-plane/source/watch.ts';
import { printStatus } from '../../deploy/cli/api.ts';
import { RejectionSchema } from '../../proto/gen/weft/api/v1/api_pb.js';
import { RouteSchema, ServiceSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { ControlPlaneProcess, eventually, type Workload } from '../support/control-plane.ts';

const service = (name: string, port: number | string) =>
  `kind: Service\nmetadata: { name: ${name} }\nspec: { ports: [{ port: ${port} }] }\n`;
const POLICIES = { 'a.yaml': service('a', 80), 'b.yaml': service('b', 80) };
const TYPES = [typeUrlOf(ServiceSchema), typeUrlOf(RouteSchema)];

const planes: ControlPlaneProcess[] = [];
const workloads: Workload[] = [];
afterEach(async () => {
  for (const workload of workloads.splice(0)) workload.close();
  for (const plane of planes.splice(0)) await plane.remove();
});

function plane(policies: Record<string, string> = POLICIES, args: readonly string[] = []): ControlPlaneProcess {
  const made = new ControlPlaneProcess(policies, args);
  planes.push(made);
  return made;
}

async function portsOf(plane: ControlPlaneProcess): Promise<Record<string, number>> {
  const { resourcesJson } = await plane.api().listResources({ kind: 'Service' });
  const list = resourcesJson.map(
    (text) => JSON.parse(text) as { metadata: { name: string }; spec: { ports: { port: number }[] } },
  );
  return Object.fromEntries(list.map(({ metadata, spec }) => [metadata.name, spec.ports[0]?.port ?? 0]));
}

test('a wrong file changes nothing, is in status, log and metrics, and everything else is taken', async () => {
  const mesh = plane();
  await mesh.start();
  mesh.write('a.yaml', service('a', 'eighty'));
  mesh.write('b.yaml', service('b', 81));
  await eventually('the right file is taken', async () => (await portsOf(mesh)).b === 81);
  expect(await portsOf(mesh)).toEqual({ a: 80, b: 81 });
  const { problems } = await mesh.api().getStatus({});
  expect(problems).toMatchObject([{ file: 'a.yaml', line: 3, resource: 'Service/default/a' }]);
  await eventually('the log says it', () => mesh.output.includes('a policy is wrong; its last good state stays'));
  // In the same words as the sidecar's log, so that lines of both sort together.
  expect(mesh.output).toMatch(/^\{"level":40,"time":"\d{4}-\d\d-\d\dT[^\n]*a policy is wrong/m);
  const metrics = await fetch(`http://127.0.0.1:${mesh.port('metrics')}/metrics`);
  expect(await metrics.text()).toMatch(/^weft_policy_problems 1$/m);
  mesh.write('a.yaml', service('a', 82));
  await eventually('the mended file is taken', async () => (await portsOf(mesh)).a === 82);
  expect((await mesh.api().getStatus({})).problems).toEqual([]);
});

test('a file saved by rename, one made empty before it is written, and one deleted', async () => {
  const mesh = plane();
  await mesh.start();
  const path = join(mesh.policies, 'a.yaml');
  writeFileSync(`${path}.swp`, service('a', 81));
  renameSync(`${path}.swp`, path);
  await eventually('the renamed file is taken', async () => (await portsOf(mesh)).a === 81);
  // As long between the two writes as a slow editor takes: nothing may be gone before the second look.
  const emptiedMs = performance.now();
  writeFileSync(path, '');
  while (performance.now() - emptiedMs < 150) {
    const { a } = await portsOf(mesh);
    if (performance.now() - emptiedMs < SECOND_LOOK_MS) expect(a).toBe(81);
  }
  writeFileSync(path, service('a', 82));
  await eventually('the written file is taken', async () => (await portsOf(mesh)).a === 82);
  rmSync(path);
  await eventually('the deleted resource is gone', async () => !('a' in (await portsOf(mesh))));
});

test('CVE class 14: status tells who is in sync, and what a sidecar refused, in words that cannot forge a line', async () => {
  const mesh = plane();
  await mesh.start();
  const workload = await mesh.join('a');
  workloads.push(workload);
  const discovery = workload.discover(TYPES);
  const registering = workload.register();
  await registering.say({ workloadId: 'a-1', address: '127.0.0.1', inboundPort: 1, apps: [{ service: 'a' }] });
  const status = async () => (await mesh.api().getStatus({})).sidecars[0];
  await eventually('it is in sync', async () => (await status())?.inSync === true);
  expect(await status()).toMatchObject({ spiffeId: 'spiffe://mesh.local/ns/default/sa/a', resources: 2 });
  discovery.acknowledging = false;
  mesh.write('b.yaml', service('b', 81));
  await eventually('the edit arrives', () => discovery.messages.length === 3);
  expect((await status())?.inSync).toBe(false);
  const rejection = create(RejectionSchema, {
    typeUrl: TYPES[0] ?? '',
    name: 'default/b',
    reason: 'port 81 is cursed\x1b[2J\nall is well',
  });
  discovery.say({
    typeUrl: TYPES[0] ?? '',
    responseNonce: discovery.messages[2]?.nonce ?? '',
    errorDetail: { code: 3, message: 'no', details: [anyPack(RejectionSchema, rejection)] },
  });
  await eventually('the refusal is known', async () => (await status())?.rejections.length === 1);
  expect(await status()).toMatchObject({
    inSync: false,
    rejections: [{ name: 'default/b', reason: 'port 81 is cursed\x1b[2J\nall is well' }],
  });
  let printed = '';
  const adminTokenFile = join(mesh.dataDir, 'admin.token');
  const options = { api: `http://127.0.0.1:${mesh.port('api')}`, adminTokenFile };
  await printStatus(options, { write: (text) => (printed += text) });
  expect(printed).toContain('refused Service default/b: port 81 is cursed\\x1b[2J\\x0aall is well\n');
  discovery.acknowledging = true;
  mesh.write('b.yaml', service('b', 82));
  await eventually('the next state is taken', async () => (await status())?.inSync === true);
  expect((await status())?.rejections).toEqual([]);
});

test('CVE class 15: nothing is answered without the admin token, which is new at each start', async () => {
  const mesh = plane();
  await mesh.start();
  const first = mesh.adminToken;
  await expect(mesh.api('wrong').getStatus({})).rejects.toThrow('admin token');
  const bare = await fetch(`http://127.0.0.1:${mesh.port('api')}/weft.api.v1.MeshService/GetStatus`, {
    method: 'POST',
  });
  expect(bare.status).toBe(401);
  await bare.body?.cancel();
  await mesh.end();
  await mesh.start();
  await expect(mesh.api(first).getStatus({})).rejects.toThrow('admin token');
});

test('CVE class 11: a token expires', async () => {
  const mesh = plane();
  await mesh.start();
  const { token, expiresAt } = await mesh
    .api()
    .createJoinToken({ serviceAccount: 'a', ttl: { seconds: 1n, nanos: 0 } });
  expect(Number(expiresAt?.seconds) * 1000).toBeGreaterThan(Date.now());
  await eventually('its second is over', () => Date.now() > (Number(expiresAt?.seconds) + 1) * 1000);
  await expect(mesh.redeem(token)).rejects.toMatchObject({ code: 16, details: expect.stringContaining('expired') });
});

test.each([
  [
    'a mistake in an Authorization',
    { 'x.yaml': 'kind: Authorization\nmetadata: { name: x }\nspec: { action: MAYBE }\n' },
  ],
  ['a file that could hold one', { 'x.yaml': 'kind: {' }],
])('a start with %s ends with 65: what it denies would be allowed', async (_what, file) => {
  await expect(plane({ ...POLICIES, ...(file as Record<string, string>) }).start()).rejects.toThrow('ended with 65');
});

test('a start with another mistake serves without that resource', async () => {
  const mesh = plane({ ...POLICIES, 'a.yaml': service('a', 'x') });
  await mesh.start();
  expect(await portsOf(mesh)).toEqual({ b: 80 });
});

test('one control plane for each data directory; a killed one holds nothing', async () => {
  const mesh = plane();
  await mesh.start();
  const second = plane(POLICIES, ['--data-dir', mesh.dataDir]);
  await expect(second.start()).rejects.toThrow(/ended with 69.*in use by another control plane/s);
  await mesh.end('SIGKILL');
  await second.start();
});
