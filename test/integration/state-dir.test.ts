// What the real program keeps in --state-dir, and what it does with it: start without a control plane, renew what is
// past its half-life, and name a damaged file instead of stumbling over it.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openAuthority } from '../../control-plane/identity/authority.ts';
import { checkCsr } from '../../control-plane/identity/csr.ts';
import { createWorkloadKey } from '../../sidecar/identity/key.ts';
import { writeStoredIdentity } from '../../sidecar/identity/stored.ts';
import { callHttp } from '../support/apps.ts';
import { ControlPlaneProcess } from '../support/control-plane.ts';
import { pemOf } from '../support/identities.ts';
import { type SidecarProcess, snapshotText } from '../support/sidecar-process.ts';
import { useApps, useAuthority, useSidecars } from '../support/use.ts';
import { endpoint, service, until } from '../support/worker-rig.ts';

const apps = useApps();
const planes: ControlPlaneProcess[] = [];
afterEach(async () => {
  for (const plane of planes.splice(0)) await plane.remove();
});
const processes = useSidecars();
let stateDir: string;
beforeEach(() => {
  stateDir = join(processes.folder, 'state');
});

const file = (name: string): string => join(stateDir, name);

/** `orders` outside the mesh on `port`, and `web`, which is the sidecar's own. */
function policies(port: number): string {
  return `
kind: Service
metadata: { name: orders }
spec: { ports: [{ port: 80, tls: TLS_MODE_OFF }], static: { endpoints: [{ address: 127.0.0.1, port: ${port} }] } }
---
kind: Service
metadata: { name: web }
spec: { ports: [{ port: 80 }] }
`;
}

async function named(name: string): Promise<number> {
  return apps.http((_request, response) => void response.end(name));
}

const call = async (sidecar: SidecarProcess): Promise<string> =>
  (await callHttp(sidecar.ports.outbound as number, 'orders')).body;

/** A control plane, and the arguments with which a sidecar of `web` joins it. */
async function joinable(plane: ControlPlaneProcess): Promise<string[]> {
  planes.push(plane);
  await plane.start();
  const { token } = await plane.api().createJoinToken({ serviceAccount: 'web' });
  const tokenFile = join(processes.folder, 'token');
  writeFileSync(tokenFile, token, { mode: 0o600 });
  const where = `127.0.0.1:${plane.port('grpc')}`;
  return ['--state-dir', stateDir, '--control-plane', where, '--join-token-file', tokenFile];
}

test('a second sidecar on one directory ends with 69, and the first serves on', async () => {
  const plane = new ControlPlaneProcess({ 'all.yaml': policies(await named('one')) });
  const joining = await joinable(plane);
  const first = await processes.start(joining);
  const ports = readFileSync(file('ports.json'), 'utf8');
  const second = processes.run(joining);
  expect(await second.ended()).toBe(69);
  expect(second.err).toContain(`--state-dir ${stateDir} is in use by another sidecar`);
  expect(readFileSync(file('ports.json'), 'utf8')).toBe(ports);
  expect(await call(first)).toBe('one');
});

test('after kill -9 of both it serves what was last in force, from its directory alone', async () => {
  const plane = new ControlPlaneProcess({ 'all.yaml': policies(await named('one')) });
  const first = await processes.start(await joinable(plane));
  expect(await call(first)).toBe('one');
  await until('it is on the disk', () => existsSync(file('snapshot.json')));
  const before = statSync(file('snapshot.json')).ino;
  plane.write('all.yaml', policies(await named('two')));
  await until('the change is in force', async () => (await call(first)) === 'two');
  await until('and on the disk, as a new file', () => statSync(file('snapshot.json')).ino !== before);
  await plane.end('SIGKILL');
  first.child.kill('SIGKILL');
  await first.ended();

  const second = await processes.start(['--state-dir', stateDir, '--log-level', 'warn']);
  expect(await call(second)).toBe('two');
  const { certificate } = JSON.parse((await second.get('admin', '/certificates')).text);
  expect(certificate.spiffeId).toBe('spiffe://mesh.local/ns/default/sa/web');
  expect(JSON.parse(readFileSync(file('snapshot.json'), 'utf8'))).toMatchObject({
    format: 1,
    spiffeId: 'spiffe://mesh.local/ns/default/sa/web',
  });
  for (const name of readdirSync(stateDir)) expect(statSync(file(name)).mode & 0o777, name).toBe(0o600);
  expect(second.err).toBe('');
});

test('an identity past its half-life is renewed, with a new key, on the disk and on the wire', async () => {
  const plane = new ControlPlaneProcess({ 'all.yaml': policies(1) });
  const thirteenHoursAgo = () => Date.now() - 13 * 3_600_000;
  const authority = await openAuthority({
    dataDir: plane.dataDir,
    trustDomain: 'mesh.local',
    now: thirteenHoursAgo,
  });
  const { privateKeyPem, csr } = await createWorkloadKey();
  const checked = await checkCsr(csr);
  if (!checked.ok) throw new Error(checked.error);
  const issued = await authority.sign(checked.publicKey, 'default', 'web');
  const chainPem = issued.chain.map(pemOf).join('');
  const rootsPem = authority.trustBundle.map(pemOf);
  writeStoredIdentity(stateDir, { spiffeId: issued.spiffeId, privateKeyPem, chainPem, rootsPem });
  const old = readFileSync(file('identity.pem'), 'utf8');

  const sidecar = await processes.start([...(await joinable(plane)), '--app', 'web=1']);
  await until('it is renewed', () => sidecar.err.includes('certificate renewed'));
  const renewed = readFileSync(file('identity.pem'), 'utf8');
  const lines = (pem: string) => pem.split('-----END PRIVATE KEY-----')[0];
  expect(lines(renewed)).not.toBe(lines(old));
  expect(statSync(file('identity.pem')).mode & 0o777).toBe(0o600);
  const { certificate } = JSON.parse((await sidecar.get('admin', '/certificates')).text);
  expect(Date.parse(certificate.notBefore)).toBeGreaterThan(Date.now() - 3_600_000);
  const expiry = await sidecar.metric('weft_certificate_expiry_timestamp_seconds');
  expect(expiry * 1_000).toBe(Date.parse(certificate.notAfter));
  await until(
    'callers see it',
    async () => (await shownSerial(sidecar.ports.inbound as number)) === certificate.serial,
  );
});

/** The serial number of what the inbound port shows to a caller of `web`. */
function shownSerial(port: number): Promise<string> {
  return new Promise((resolve) => {
    const options = { port, host: '127.0.0.1', servername: '80.web.default', rejectUnauthorized: false };
    const socket = connectTls({ ...options, ALPNProtocols: ['h2'] }, () => {
      resolve(socket.getPeerX509Certificate()?.serialNumber ?? '');
      socket.destroy();
    });
    socket.on('error', () => resolve(''));
  });
}

describe('a damaged file', () => {
  const authority = useAuthority();
  beforeEach(async () => {
    mkdirSync(stateDir, { mode: 0o700 });
    const identity = await authority.issue('web');
    writeStoredIdentity(stateDir, identity);
    const resources = [service('shop/orders'), endpoint('shop/orders', await named('good'))];
    writeFileSync(file('snapshot.json'), snapshotText(resources, identity.spiffeId), { mode: 0o600 });
  });

  const replace = (name: string, content: string) => (): void => writeFileSync(file(name), content);
  const cutHalf = (name: string) => (): void => truncateSync(file(name), Math.floor(statSync(file(name)).size / 2));
  const NO_CONFIG = 'holds no usable config; give --control-plane or --snapshot';
  const JOIN = 'join with --control-plane and --join-token-file';
  test.each<[string, () => void, string, string]>([
    ['a snapshot cut in half', () => cutHalf('snapshot.json')(), 'snapshot.json is not usable', NO_CONFIG],
    ['a snapshot that is empty', () => replace('snapshot.json', '')(), 'snapshot.json is not usable', NO_CONFIG],
    ['no snapshot', () => unlinkSync(file('snapshot.json')), NO_CONFIG, NO_CONFIG],
    [
      'a snapshot of a newer version',
      () => replace('snapshot.json', '{"format":2}')(),
      'it is of format 2, this version reads format 1',
      NO_CONFIG,
    ],
    ['a snapshot for all to read', () => chmodSync(file('snapshot.json'), 0o644), 'has mode 0644', NO_CONFIG],
    ['an identity cut in half', () => cutHalf('identity.pem')(), `the identity in`, JOIN],
    ['an identity of zeros', () => replace('identity.pem', '\0'.repeat(900))(), 'holds no private key', JOIN],
    ['a bundle cut in half', () => cutHalf('bundle.pem')(), 'the trust bundle holds no certificate', JOIN],
    ['a bundle that is missing', () => unlinkSync(file('bundle.pem')), 'bundle.pem is missing', JOIN],
    ['a key for all to read', () => chmodSync(file('identity.pem'), 0o644), 'has mode 0644', 'chmod 600'],
  ])('%s is named, with what to do, and exit code 69', async (_what, damage, wrong, fix) => {
    damage();
    const sidecar = processes.run(['--state-dir', stateDir]);
    expect(await sidecar.ended()).toBe(69);
    expect(sidecar.err).toContain(wrong);
    expect(sidecar.err).toContain(fix);
    expect(sidecar.err).toContain(stateDir);
    expect(sidecar.err).not.toMatch(/this is a bug|^\s+at /m);
  });

  test('ports that do not parse are as none, and a temporary file of a killed writer is nothing', async () => {
    writeFileSync(file('ports.json'), '{"outbound":', { mode: 0o600 });
    writeFileSync(file('snapshot.json.0123456789ab.tmp'), 'half of', { mode: 0o600 });
    const sidecar = await processes.start(['--state-dir', stateDir]);
    expect(await call(sidecar)).toBe('good');
    const stored = JSON.parse(readFileSync(file('ports.json'), 'utf8'));
    expect(stored).toEqual(sidecar.ports);
    sidecar.child.kill('SIGKILL');
    await sidecar.ended();
    expect((await processes.start(['--state-dir', stateDir])).ports).toEqual(stored);
  });

  test('a snapshot is waited for where there is a control plane, and the identity joins anew', async () => {
    cutHalf('snapshot.json')();
    cutHalf('identity.pem')();
    const plane = new ControlPlaneProcess({ 'all.yaml': policies(await named('fresh')) });
    const sidecar = await processes.start(await joinable(plane));
    for (const said of ['waiting for the control plane instead', 'joining again'])
      await until(
        () => `it says "${said}": ${sidecar.err}`,
        () => sidecar.err.includes(said),
      );
    expect(await call(sidecar)).toBe('fresh');
  });

  describe('beside a control plane', () => {
    /** A sidecar that joins with an empty directory but for what `damage` puts there. */
    async function joining(damage: () => void): Promise<SidecarProcess> {
      rmSync(stateDir, { recursive: true });
      mkdirSync(stateDir, { mode: 0o700 });
      damage();
      const plane = new ControlPlaneProcess({ 'all.yaml': policies(1) });
      return processes.run([...(await joinable(plane)), '--app', 'web=1']);
    }

    test('ports that cannot be stored are told of and keep it from nothing', async () => {
      const sidecar = await joining(() => mkdirSync(file('ports.json')));
      await until(
        () => `it registers: ${sidecar.err}`,
        () => sidecar.err.includes('registered'),
      );
      expect(sidecar.err).toContain('the ports could not be stored');
    });

    test('a workload id that can be neither read nor written is named, and ends it with 69', async () => {
      const sidecar = await joining(() => mkdirSync(file('workload-id')));
      expect(await sidecar.ended()).toBe(69);
      expect(sidecar.err).toContain(`${file('workload-id')} cannot be used`);
      expect(sidecar.err).toContain('remove it, or give --workload-id');
      expect(sidecar.err).not.toContain('this is a bug');
    });
  });
});
