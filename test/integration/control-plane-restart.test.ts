// A control plane that is killed, and started again while a policy is wrong: a restart is as no restart. What is wrong
// keeps its last good state, and where there is none, that is said and nobody is let in by it.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { typeUrlOf } from '../../control-plane/index/encoded.ts';
import { printStatus } from '../../deploy/cli/api.ts';
import { AuthorizationSchema, RouteSchema, ServiceSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { ControlPlaneProcess, type Discovery, eventually, type Workload } from '../support/control-plane.ts';

const SERVICE = 'kind: Service\nmetadata: { name: echo }\nspec: { ports: [{ port: 80 }] }\n';
const ROUTE =
  'kind: Route\nmetadata: { name: echo }\nspec: { hosts: [echo], rules: [{ backends: [{ service: echo }] }] }\n';
const AUTHORIZATION =
  'kind: Authorization\nmetadata: { name: echo }\nspec: { targetRefs: [{ name: echo }], action: ALLOW, rules: [{ from: [{ serviceAccount: echo }] }] }\n';
const POLICIES = { 'service.yaml': SERVICE, 'route.yaml': ROUTE, 'authorization.yaml': AUTHORIZATION };
const TYPES = [ServiceSchema, RouteSchema, AuthorizationSchema].map(typeUrlOf);
const ALL = ['Authorization default/echo', 'Route default/echo', 'Service default/echo'];

const planes: ControlPlaneProcess[] = [];
const workloads: Workload[] = [];
afterEach(async () => {
  for (const workload of workloads.splice(0)) workload.close();
  for (const plane of planes.splice(0)) await plane.remove();
});

async function started(policies: Record<string, string> = POLICIES, args: readonly string[] = []) {
  const plane = new ControlPlaneProcess(policies, args);
  planes.push(plane);
  await plane.start();
  return plane;
}

async function joined(plane: ControlPlaneProcess): Promise<Workload> {
  const workload = await plane.join('echo');
  workloads.push(workload);
  return workload;
}

/** What a sidecar that begins anew is sent: names and versions. */
async function view(workload: Workload): Promise<Record<string, string>> {
  const discovery: Discovery = workload.discover(TYPES);
  await eventually('each type is answered', () => discovery.messages.length >= TYPES.length);
  discovery.call.cancel();
  return Object.fromEntries([...discovery.held].sort());
}

async function statusOf(plane: ControlPlaneProcess): Promise<string> {
  let text = '';
  const api = `http://127.0.0.1:${plane.port('api')}`;
  await printStatus(
    { api, adminTokenFile: join(plane.dataDir, 'admin.token') },
    {
      write(more) {
        text += more;
      },
    },
  );
  return text;
}

const stored = (plane: ControlPlaneProcess) => join(plane.dataDir, 'policies.json');

/** Kills it, once what it says now is on the disk. */
async function kill(plane: ControlPlaneProcess, held = ''): Promise<void> {
  const written = () => existsSync(stored(plane)) && readFileSync(stored(plane), 'utf8').includes(held);
  await eventually('the policies in force are stored', written);
  await plane.end('SIGKILL');
}

const WRONG: [string, Record<string, string>, RegExp][] = [
  ['a field of a Route', { 'route.yaml': ROUTE.replace('hosts', 'hostz') }, /unknown field "hostz".*good state stays/],
  ['a field of a Service', { 'service.yaml': SERVICE.replace('ports', 'portz') }, /"portz".*good state stays/],
  [
    'the name of a Service that others need',
    { 'service.yaml': SERVICE.replace('name', 'nmae') },
    /there is no Service echo in namespace default \(Authorization\/default\/echo\); its last good state stays/,
  ],
  ['an Authorization', { 'authorization.yaml': AUTHORIZATION.replace('ALLOW', 'ALOW') }, /"ALOW".*good state stays/],
  ['the syntax of a file with an Authorization', { 'authorization.yaml': 'kind: {' }, /yaml:1:.*good state stays/],
];

test.each(WRONG)('killed, then %s is wrong: the sidecars keep what they had, and status says so', async (...row) => {
  const [, files, status] = row;
  const mesh = await started();
  const workload = await joined(mesh);
  const before = await view(workload);
  expect(Object.keys(before)).toEqual(ALL);
  await kill(mesh);
  for (const [file, text] of Object.entries(files)) mesh.write(file, text);
  await mesh.start();
  expect(await view(workload)).toEqual(before);
  expect(await statusOf(mesh)).toMatch(status);
  expect(await statusOf(mesh)).not.toContain('it is left out');
});

test('wrong, then killed twice: it stays, and what is mended is taken', async () => {
  const mesh = await started();
  const workload = await joined(mesh);
  const before = await view(workload);
  mesh.write('route.yaml', ROUTE.replace('hosts', 'hostz'));
  await kill(mesh, 'hostz');
  await mesh.start();
  await kill(mesh, 'hostz');
  await mesh.start();
  expect(await view(workload)).toEqual(before);
  mesh.write('route.yaml', ROUTE.replace('rules: [{', 'rules: [{ name: other,'));
  await eventually('the mended Route is taken', async () => (await mesh.api().getStatus({})).problems.length === 0);
  const after = await view(workload);
  expect(Object.keys(after)).toEqual(ALL);
  expect(after).not.toEqual(before);
});

test('what was deleted while it was down is gone', async () => {
  const mesh = await started();
  const workload = await joined(mesh);
  await kill(mesh);
  rmSync(join(mesh.policies, 'route.yaml'));
  mesh.write('service.yaml', SERVICE.replace('ports', 'portz'));
  await mesh.start();
  expect(Object.keys(await view(workload))).toEqual(ALL.filter((name) => !name.startsWith('Route')));
});

test.each([
  ['damaged', '{"version":1,"dir', 'it is damaged'],
  ['of a newer version', '{"version":2}', 'it is of version 2'],
])('a stored file that is %s is told of and not used', async (_what, text, reason) => {
  const mesh = await started();
  const workload = await joined(mesh);
  await kill(mesh);
  writeFileSync(stored(mesh), text);
  mesh.write('authorization.yaml', AUTHORIZATION.replace('ALLOW', 'ALOW'));
  await expect(mesh.start()).rejects.toThrow(/ended with 65.*no last good state of them is stored/s);
  expect(mesh.output).toContain(reason);
  mesh.write('authorization.yaml', AUTHORIZATION);
  mesh.write('route.yaml', ROUTE.replace('hosts', 'hostz'));
  await mesh.start();
  expect(Object.keys(await view(workload))).toEqual(ALL.filter((name) => !name.startsWith('Route')));
  expect(await statusOf(mesh)).toMatch(/"hostz" \(Route\/default\/echo\); it is left out\n/);
  await eventually('the log says it', () => mesh.output.includes('a policy is wrong; it is left out'));
});

test('what is stored of another policy directory is not used', async () => {
  const mesh = await started();
  await kill(mesh);
  const wrong = { ...POLICIES, 'route.yaml': ROUTE.replace('hosts', 'hostz') };
  const other = await started(wrong, ['--data-dir', mesh.dataDir]);
  expect((await other.api(mesh.adminToken).listResources({ kind: 'Route' })).resourcesJson).toEqual([]);
  await eventually('the log says it', () => other.output.includes(`it is of the policies in ${mesh.policies}`));
});

test('a wrong Authorization that never was right: the mesh that ran with it starts with it, another does not', async () => {
  const wrong = AUTHORIZATION.replace('name: echo', 'name: new').replace('ALLOW', 'ALOW');
  const mesh = await started();
  const workload = await joined(mesh);
  const before = await view(workload);
  mesh.write('new.yaml', wrong);
  await kill(mesh, 'Authorization/default/new');
  await mesh.start();
  expect(await view(workload)).toEqual(before);
  expect(await statusOf(mesh)).toMatch(/"ALOW".*\(Authorization\/default\/new\); it is left out\n/);
  await kill(mesh, 'Authorization/default/new');
  mesh.write('new.yaml', `\n${wrong}`);
  await expect(mesh.start()).rejects.toThrow(/ended with 65.*new\.yaml:4/s);
});
