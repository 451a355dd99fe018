// What the real program says to an operator whose options do not fit the mesh: at once, with what to do, and in
// readiness where it matters.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { callHttp } from '../support/apps.ts';
import { ControlPlaneProcess } from '../support/control-plane.ts';
import { useSidecars } from '../support/use.ts';
import { service, until } from '../support/worker-rig.ts';

const planes: ControlPlaneProcess[] = [];
afterEach(async () => {
  for (const plane of planes.splice(0)) await plane.remove();
});
const processes = useSidecars();

const policy = (name: string, account: string) =>
  `kind: Service\nmetadata: { name: ${name} }\nspec: { ports: [{ port: 80 }], serviceAccounts: [${account}] }\n`;

/** A sidecar of the account `web`. */
async function joined(plane: ControlPlaneProcess, ...args: string[]) {
  planes.push(plane);
  await plane.start();
  const { token } = await plane.api().createJoinToken({ serviceAccount: 'web' });
  const tokenFile = join(processes.folder, 'token');
  writeFileSync(tokenFile, token, { mode: 0o600 });
  const where = ['--control-plane', `127.0.0.1:${plane.port('grpc')}`, '--join-token-file', tokenFile];
  return processes.start([...where, ...args]);
}

test('an application that its identity may not serve: the log says the fix, readiness the reason, until a policy allows it', async () => {
  const plane = new ControlPlaneProcess({ 'web.yaml': policy('web', 'web'), 'orders.yaml': policy('orders', 'other') });
  const sidecar = await joined(plane, '--app', 'orders=1');
  const refusals = () => sidecar.err.split('registration refused').length - 1;
  await until('it is refused', () => refusals() > 0);
  expect(sidecar.err).toMatch(/may not serve \\"orders\\"; it may serve web.*PERMISSION_DENIED.*serviceAccounts/);
  const unready = await sidecar.get('readiness', '/ready');
  expect(unready.status).toBe(503);
  expect(JSON.parse(unready.text).missing).toEqual([
    expect.stringContaining('registration refused: web.default may not'),
  ]);
  expect(await sidecar.metric('weft_registered')).toBe(0);
  expect(JSON.parse((await sidecar.get('admin', '/stats')).text).controlPlane).toMatchObject({
    registered: false,
    registrationRefused: expect.stringContaining('may not serve'),
  });
  plane.write('orders.yaml', policy('orders', 'web'));
  await until('it is taken', async () => (await sidecar.get('readiness', '/ready')).status === 200);
  expect(await sidecar.metric('weft_registered')).toBe(1);
  expect(refusals()).toBe(1);
});

test('an application of another namespace is refused, not taken for one of the own', async () => {
  const plane = new ControlPlaneProcess({ 'orders.yaml': policy('orders', 'web') });
  const sidecar = await joined(plane, '--app', 'shop/orders=1');
  await until('it is refused', () => sidecar.err.includes('registration refused'));
  expect(sidecar.err).toContain('may not serve \\"shop/orders\\"');
});

test('a local port for a Service that is not there is said once config is in, and its answer names it', async () => {
  const plane = new ControlPlaneProcess({ 'web.yaml': policy('web', 'web') });
  const sidecar = await joined(plane, '--local', 'wbe=0', '--local', 'web:81=0');
  // The log and the ready file come by different ways.
  await until('the second is said', () => sidecar.err.includes('--local web: '));
  expect(sidecar.err).toContain('--local wbe: there is no Service default/wbe for this identity; did you mean web?');
  expect(sidecar.err).toContain('--local web: Service default/web has no port 81; it has 80');
  const answer = await callHttp(sidecar.ports['local:wbe'] as number, 'anything');
  expect(answer.status).toBe(404);
  expect(answer.body).toContain('no Service of this mesh is called wbe.default');
});

test('a snapshot without an identity says what will not work, and which application nobody answers for', async () => {
  const snapshot = processes.snapshot([service('shop/web', { ports: [{ port: 80 }] })]);
  const sidecar = await processes.start(['--snapshot', snapshot, '--app', 'wbe=1']);
  await until('the last is said', () => sidecar.err.includes('--app wbe: '));
  expect(sidecar.err).toContain('there is no identity: calls to Services with TLS MUTUAL, the default, fail');
  expect(sidecar.err).toContain('--identity-key');
  expect(sidecar.err).toContain('--app wbe: there is no Service shop/wbe for this identity; did you mean web?');
});

test('a snapshot that is not there ends it with 69, the path and how to write one', async () => {
  const path = join(processes.folder, 'nosuch.json');
  const sidecar = processes.run(['--snapshot', path]);
  expect(await sidecar.ended()).toBe(69);
  expect(sidecar.err).toBe(
    `weft sidecar: snapshot ${path} cannot be read (ENOENT); is the path of --snapshot right? weft render DIR --service NAME > FILE writes one\n`,
  );
});
