// What the real program does when its certificate ends, and when somebody gives it another: by a token, or as files.
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { openAuthority } from '../../control-plane/identity/authority.ts';
import { checkCsr } from '../../control-plane/identity/csr.ts';
import type { WorkerIdentity } from '../../sidecar/base/messages.ts';
import { createWorkloadKey } from '../../sidecar/identity/key.ts';
import { writeStoredIdentity } from '../../sidecar/identity/stored.ts';
import { ControlPlaneProcess } from '../support/control-plane.ts';
import { pemOf } from '../support/identities.ts';
import type { SidecarProcess } from '../support/sidecar-process.ts';
import { identityOptions, useSidecars } from '../support/use.ts';
import { until } from '../support/worker-rig.ts';

const processes = useSidecars();
const planes: ControlPlaneProcess[] = [];
afterEach(async () => {
  for (const plane of planes.splice(0)) await plane.remove();
});

/** Longer than a sidecar takes to start on a busy machine. */
const SHORT_LIFE_MS = 15_000;

/** A certificate for `web` of the mesh whose root is in `dataDir`. */
async function issue(dataDir: string, certificateTtlMs?: number): Promise<WorkerIdentity> {
  const ttl = certificateTtlMs === undefined ? {} : { certificateTtlMs };
  const authority = await openAuthority({ dataDir, trustDomain: 'mesh.local', now: Date.now, ...ttl });
  const { privateKeyPem, csr } = await createWorkloadKey();
  const checked = await checkCsr(csr);
  if (!checked.ok) throw new Error(checked.error);
  const issued = await authority.sign(checked.publicKey, 'default', 'web');
  const rootsPem = authority.trustBundle.map(pemOf);
  return { spiffeId: issued.spiffeId, privateKeyPem, chainPem: issued.chain.map(pemOf).join(''), rootsPem };
}

async function missing(sidecar: SidecarProcess): Promise<string> {
  return (JSON.parse((await sidecar.get('readiness', '/ready')).text) as { missing: string[] }).missing.join('; ');
}

const serial = async (sidecar: SidecarProcess): Promise<string> =>
  JSON.parse((await sidecar.get('admin', '/certificates')).text).certificate.serial;

test('a certificate that ends is told of by log, readiness and metric, and a new token in the file mends it', async () => {
  const plane = new ControlPlaneProcess({
    'all.yaml': 'kind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}',
  });
  planes.push(plane);
  await plane.start();
  const stateDir = join(processes.folder, 'state');
  writeStoredIdentity(stateDir, await issue(plane.dataDir, SHORT_LIFE_MS));
  const snapshot = processes.snapshot([], 'spiffe://mesh.local/ns/default/sa/web');
  const tokenFile = join(processes.folder, 'token');
  const where = `127.0.0.1:${plane.port('grpc')}`;
  await plane.end('SIGKILL');
  const sidecar = await processes.start([
    ...['--state-dir', stateDir, '--control-plane', where, '--join-token-file', tokenFile, '--snapshot', snapshot],
  ]);
  expect((await sidecar.get('readiness', '/ready')).status).toBe(200);

  await until('its end is in the log', () => sidecar.err.includes('other sidecars refuse this one from now on'));
  expect(sidecar.err).toMatch(
    /"level":50,[^\n]*the certificate of [^ ]+\/sa\/web expired at [^\n]*write a new one to /,
  );
  expect((await sidecar.get('readiness', '/ready')).status).toBe(503);
  expect(await missing(sidecar)).toContain('the certificate of spiffe://mesh.local/ns/default/sa/web expired at ');
  expect(await sidecar.metric('weft_certificate_renewal_failures_total')).toBeGreaterThan(0);

  await plane.start();
  const { token } = await plane.api().createJoinToken({ serviceAccount: 'web' });
  writeFileSync(tokenFile, token, { mode: 0o600 });
  await until('it has joined anew', () => sidecar.err.includes('certificate renewed'));
  await until('it is ready', async () => (await missing(sidecar)) === '');
  await until('it is in sync', async () => (await sidecar.metric('weft_control_plane_connected')) === 1);
}, 90_000);

test('identity files that are replaced are taken, and files that do not agree are not', async () => {
  const dataDir = join(processes.folder, 'authority');
  const options = identityOptions(processes.folder, 'web', await issue(dataDir));
  const snapshot = processes.snapshot([], 'spiffe://mesh.local/ns/default/sa/web');
  const sidecar = await processes.start([...options, '--snapshot', snapshot]);
  const before = await serial(sidecar);

  const next = await issue(dataDir);
  const replace = (name: string, content: string): void => {
    writeFileSync(join(processes.folder, 'new'), content, { mode: 0o600 });
    renameSync(join(processes.folder, 'new'), join(processes.folder, `web-${name}.pem`));
  };
  replace('key', next.privateKeyPem);
  await until('it is told of', () => sidecar.err.includes('key and certificate do not belong together'));
  expect(await serial(sidecar)).toBe(before);
  replace('cert', next.chainPem);
  await until('they are taken', async () => (await serial(sidecar)) !== before);
  expect(sidecar.err).toContain('the identity files were replaced, valid until ');
}, 60_000);
