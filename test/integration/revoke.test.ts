// `weft revoke` in a whole mesh: the control plane keeps and streams it, real sidecars end what is open, and nothing is
// signed for who is revoked.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { printResources, revoke } from '../../deploy/cli/api.ts';
import { Apps, callHttp } from '../support/apps.ts';
import { ControlPlaneProcess, eventually } from '../support/control-plane.ts';
import { type SidecarProcess, SidecarProcesses } from '../support/sidecar-process.ts';

const SERVICE = 'kind: Service\nmetadata: { name: orders }\nspec: { ports: [{ port: 80 }] }\n';
const WEB = 'spiffe://mesh.local/ns/default/sa/web';
const REVOCATION = 'type.googleapis.com/weft.mesh.v1.Revocation';

let apps: Apps;
let processes: SidecarProcesses;
let plane: ControlPlaneProcess;

beforeEach(async () => {
  apps = new Apps();
  processes = new SidecarProcesses();
  plane = new ControlPlaneProcess({ 'orders.yaml': SERVICE });
  await plane.start();
});
afterEach(async () => {
  await processes.close();
  await plane.remove();
  apps.close();
});

/** What the command prints. */
async function weft(options: Partial<Parameters<typeof revoke>[0]>): Promise<string> {
  let printed = '';
  const out = { write: (text: string) => (printed += text) };
  await revoke({ ...api(), namespace: 'default', reason: '', ...options }, out);
  return printed;
}

const api = () => ({
  api: `http://127.0.0.1:${plane.port('api')}`,
  adminTokenFile: join(plane.dataDir, 'admin.token'),
});

async function sidecar(account: string, ...args: string[]): Promise<SidecarProcess> {
  const { token } = await plane.api().createJoinToken({ serviceAccount: account });
  const file = join(processes.folder, `${account}.token`);
  writeFileSync(file, token, { mode: 0o600 });
  const where = ['--control-plane', `127.0.0.1:${plane.port('grpc')}`];
  return processes.start([
    ...where,
    '--join-token-file',
    file,
    '--state-dir',
    join(processes.folder, account),
    ...args,
  ]);
}

test('a revoked account is cut off everywhere, and comes back when that is lifted', async () => {
  const app = await apps.http((_request, response) => void response.end('hello'));
  const orders = await sidecar('orders', '--app', `orders=${app}`);
  const web = await sidecar('web');
  const batch = await sidecar('batch');
  const call = async (from: SidecarProcess) => (await callHttp(from.ports.outbound as number, 'orders')).status;
  for (const from of [web, batch]) await eventually('it answers', async () => (await call(from)) === 200);

  expect(await weft({ serviceAccount: 'web', reason: 'stolen' })).toBe(`${WEB} is revoked; told to 2 sidecars\n`);
  await eventually('the open connection ends', async () => {
    return (await orders.metric('weft_revoked_connections_total', { side: 'inbound' })) >= 1;
  });
  expect(orders.err).toContain('connections ended: their peer is revoked');
  expect(await call(web)).toBe(503);
  expect(await orders.metric('weft_handshake_failures_total', { reason: 'revoked' })).toBeGreaterThan(0);
  expect(await call(batch)).toBe(200);
  expect(JSON.parse((await orders.get('admin', '/certificates')).text)).toMatchObject({
    revocations: [{ spiffeId: WEB, reason: 'stolen' }],
  });
  await eventually('its stream ends', () => web.err.includes(`${WEB} is revoked (stolen)`));
  let listed = '';
  await printResources('revocations', undefined, api(), { write: (text: string) => (listed += text) });
  expect(listed).toMatch(/NAMESPACE +NAME +SUMMARY\ndefault +web +since \S+: stolen\n/);

  expect(await weft({ serviceAccount: 'web', lift: true })).toBe(`${WEB} is trusted again; told to 2 sidecars\n`);
  await eventually('it is let in again', async () => (await call(web)) === 200);
  await expect(weft({ serviceAccount: 'web', lift: true })).rejects.toThrow('is not revoked');
  await expect(weft({})).rejects.toThrow('give one of --serial HEX and --service-account NAME');
});

test('a revoked certificate loses streams and endpoint at once, over a restart too, and renews no more', async () => {
  const workload = await plane.join('orders');
  const other = await plane.join('orders');
  const watcher = await plane.join('watcher');
  const seen = watcher.discover(['type.googleapis.com/weft.mesh.v1.Endpoint', REVOCATION]);
  const registering = workload.register();
  await registering.say({ workloadId: 'one', address: '10.0.0.1', inboundPort: 15006, apps: [{ service: 'orders' }] });
  const stream = workload.discover([REVOCATION]);
  const untouched = other.discover([REVOCATION]);
  await eventually('the endpoint is seen', () => seen.held.has('Endpoint default/orders/one'));

  await eventually('all are subscribed', () => [seen, stream, untouched].every(({ messages }) => messages.length > 0));

  const { serial } = workload;
  expect(await weft({ serial })).toMatch(new RegExp(`^${serial} is revoked until 20[^;]+; told to 2 sidecars\n$`));
  await eventually('both streams end', () => stream.error !== null && registering.error !== null);
  expect([stream.error?.details, registering.error?.details].join()).toContain(`certificate ${serial} of`);
  await eventually('the endpoint is withdrawn', () => !seen.held.has('Endpoint default/orders/one'));
  await eventually('others are told', () => untouched.held.has(`Revocation ${serial}`));
  expect(untouched.error).toBeNull();
  await expect(workload.renew()).rejects.toMatchObject({ details: expect.stringContaining('is revoked') });
  await other.renew();

  await plane.end();
  await plane.start();
  await expect(workload.renew()).rejects.toMatchObject({ details: expect.stringContaining('is revoked') });
  const metrics = await (await fetch(`http://127.0.0.1:${plane.port('metrics')}/metrics`)).text();
  expect(metrics).toContain('weft_revocations 1\n');
  for (const one of [workload, other, watcher]) one.close();
});
