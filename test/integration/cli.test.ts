// The `weft` command against real programs: what people read, what scripts parse, and how each failure ends.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { decodeJoinToken } from '../../proto/kit/join-token.ts';
import { EMPTY_SNAPSHOT } from '../../sidecar/config/snapshot.ts';
import { findHost } from '../../sidecar/proxy/decide.ts';
import type { ProxyError } from '../../sidecar/wire/error.ts';
import { ControlPlaneProcess, eventually } from '../support/control-plane.ts';
import { freePort } from '../support/ports.ts';
import { until } from '../support/worker-rig.ts';

const WEFT = fileURLToPath(new URL('../../deploy/cli/weft.ts', import.meta.url));
const LAUNCHER = fileURLToPath(new URL('../../deploy/cli/weft.mjs', import.meta.url));
const RUN = new URL('../../deploy/cli/run.ts', import.meta.url);
const SERVICE = 'kind: Service\nmetadata: { name: orders }\nspec: { ports: [{ port: 80, protocol: GRPC }] }\n';

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs to the end; `environment` comes instead of every WEFT_ variable. */
function run(program: string, args: readonly string[], environment: Record<string, string> = {}): Promise<Outcome> {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(WEFT_|NO_PROXY|no_proxy|OPENAI)/.test(name));
  const env = { ...Object.fromEntries(inherited), ...environment };
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], { env }, (error, out, err) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err });
    });
  });
}

const weft = (...args: string[]) => run(WEFT, args);

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function controlPlane() {
  const plane = new ControlPlaneProcess({ 'orders.yaml': SERVICE });
  cleanups.push(() => plane.remove());
  await plane.start();
  const flags = ['--api', `http://127.0.0.1:${plane.port('api')}`];
  flags.push('--admin-token-file', join(plane.dataDir, 'admin.token'));
  return { plane, flags };
}

test('token, status and get speak of the running control plane', async () => {
  const { plane, flags } = await controlPlane();
  const askedMs = Date.now();
  const token = await weft('token', '--service-account', 'orders', ...flags);
  expect(token).toMatchObject({ code: 0, err: '' });
  const decoded = decodeJoinToken(token.out);
  const lifeMs = decoded.ok ? decoded.token.expiresAtMs - askedMs : 0;
  // An hour from some moment of the call.
  expect(lifeMs).toBeGreaterThanOrEqual(3_600_000);
  expect(lifeMs).toBeLessThanOrEqual(3_600_000 + Date.now() - askedMs);
  const workload = await plane.redeem(token.out);
  cleanups.push(() => workload.close());
  const labels = { version: 'v2' };
  await workload.register().say({ workloadId: 'o1', address: '127.0.0.1', inboundPort: 7, apps: [{}], labels });
  workload.discover(['type.googleapis.com/weft.mesh.v1.Service']);
  await eventually('it is connected', async () => (await plane.api().getStatus({})).sidecars[0]?.inSync === true);
  const status = await weft('status', ...flags);
  expect(status.out).toMatch(/^Policies: revision 1, 0 problems$/m);
  expect(status.out).toMatch(/^spiffe:\/\/mesh\.local\/ns\/default\/sa\/orders +\S+ +\d+s +yes +1 +0$/m);
  const json = JSON.parse((await weft('status', '--json', ...flags)).out);
  expect(json).toMatchObject({ revision: '1', sidecars: [{ inSync: true, resources: 1 }], problems: [] });
  expect((await weft('get', 'Service', ...flags)).out).toBe('NAMESPACE  NAME    SUMMARY\ndefault    orders  80 GRPC\n');
  expect((await weft('get', 'Endpoint', ...flags)).out).toMatch(
    /^default +o1 +default\/orders: 127\.0\.0\.1 7, version=v2$/m,
  );
  expect(JSON.parse((await weft('get', 'Service', 'orders', ...flags)).out)).toMatchObject({
    kind: 'Service',
    metadata: { name: 'orders' },
  });
});

test('get tells one Telemetry from the next', async () => {
  const { plane, flags } = await controlPlane();
  const policy = (name: string, spec: string) => `---\nkind: Telemetry\nmetadata: { name: ${name} }\nspec: ${spec}\n`;
  plane.write(
    'telemetry.yaml',
    SERVICE.replace('orders', 'web') +
      policy('all', '{ tracing: { samplingPercent: 0.5 } }') +
      policy('one', '{ targetRefs: [{ name: orders }], tracing: {}, accessLog: { samplingPercent: 100 } }') +
      policy('quiet', '{ targetRefs: [{ name: web }], accessLog: {} }'),
  );
  let out = '';
  await eventually('all are taken', async () => {
    out = (await weft('get', 'telemetries', ...flags)).out;
    return out.includes('quiet');
  });
  expect(out).toMatch(/^default +all +the namespace, 0\.5 % of traces$/m);
  expect(out).toMatch(/^default +one +orders, 100 % of requests logged$/m);
  expect(out).toMatch(/^default +quiet +web, 0 % of requests logged$/m);
});

test('a kind may be written as kubectl taught: in lower case and in the plural', async () => {
  const { flags } = await controlPlane();
  const table = 'NAMESPACE  NAME    SUMMARY\ndefault    orders  80 GRPC\n';
  for (const kind of ['services', 'service', 'SERVICE', 'svc'])
    expect((await weft('get', kind, ...flags)).out).toBe(table);
  expect((await weft('get', 'telemetries', ...flags)).out).toBe('There is no Telemetry.\n');
  const unknown = await weft('get', 'services', 'nosuch', ...flags);
  expect(unknown.err).toBe('weft: there is no Service nosuch; `weft get services` lists them\n');
  const mistyped = await weft('get', 'services', 'ordres', ...flags);
  expect(mistyped).toMatchObject({ code: 64, err: 'weft: there is no Service ordres; did you mean orders?\n' });
});

test('every command that a message names is one that the command line takes', async () => {
  const { flags } = await controlPlane();
  const host = findHost(EMPTY_SNAPSHOT, '', 'nosuch');
  const [, ...words] = /`weft (\S+) (\S+)` lists them/.exec((host as ProxyError).detail) ?? [];
  expect(words).toHaveLength(2);
  expect(await weft(...words, ...flags)).toMatchObject({ code: 0, err: '' });
});

test('a question that the control plane cannot answer ends with 64 and what to write instead', async () => {
  const { flags } = await controlPlane();
  const wrong = await weft('get', 'Servcie', ...flags);
  expect(wrong).toMatchObject({ code: 64, err: expect.stringContaining('did you mean Service?') });
  expect((await weft('get', 'Service', 'order', ...flags)).code).toBe(64);
  expect((await weft('token', '--service-account', 'a/b', ...flags)).code).toBe(64);
  const unnameable = {
    code: 64,
    out: '',
    err: expect.stringContaining('no Service can name the service account "Bad_"'),
  };
  expect(await weft('token', '--service-account', 'Bad_', ...flags)).toEqual(unnameable);
  const elsewhere = { code: 64, err: expect.stringContaining('the namespace "a.b": write 1 to 63 of a-z') };
  expect(await weft('token', '--service-account', 'a', '--namespace', 'a.b', ...flags)).toMatchObject(elsewhere);
  const caller = { code: 64, err: expect.stringContaining('--caller: SPIFFE id "bogus" does not start with') };
  expect(await weft('explain', 'GET', 'http://orders/', '--caller', 'bogus')).toMatchObject(caller);
  expect((await weft('token', '--service-account', 'a', '--ttl', '25h', ...flags)).code).toBe(64);
  const stranger = await run(WEFT, ['status', ...flags.slice(0, 2)], { WEFT_ADMIN_TOKEN: 'guess' });
  expect(stranger).toMatchObject({ code: 64, err: expect.stringContaining('--admin-token-file') });
});

test('what cannot be reached ends with 69, what was said wrongly with 64, each with what to do', async () => {
  const nowhere = `127.0.0.1:${await freePort()}`;
  const token = { WEFT_ADMIN_TOKEN: 'x' };
  expect(await run(WEFT, ['status', '--api', `http://${nowhere}`], token)).toMatchObject({
    code: 69,
    err: expect.stringContaining('is the control plane running?'),
  });
  const alone = `\nweft: and nobody listens at http://${nowhere}; is the control plane running?`;
  const home = { XDG_STATE_HOME: '/nowhere' };
  for (const command of [['status'], ['get', 'services'], ['token', '--service-account', 'a']]) {
    const asked = await run(WEFT, [...command, '--api', `http://${nowhere}`], home);
    expect(asked).toMatchObject({ code: 69, err: expect.stringContaining('WEFT_ADMIN_TOKEN') });
    expect(asked.err).toContain(alone);
  }
  const misread = await run(WEFT, ['status', '--admin-token-file', join(nowhere, 'x'), '--api', `http://${nowhere}`]);
  expect(misread).toMatchObject({
    code: 69,
    err: expect.stringMatching(/cannot be read \(ENOENT\); is the path right\?/),
  });
  expect(misread.err).toContain(alone);
  const listener = createTcpServer().listen(0, '127.0.0.1');
  cleanups.push(() => listener.close());
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  const tokenless = await run(WEFT, ['status', '--api', `http://127.0.0.1:${port}`], home);
  expect(tokenless).toMatchObject({ code: 69, err: expect.not.stringContaining('nobody listens') });
  expect(await run(WEFT, ['explain', 'GET', 'http://orders/', '--admin', nowhere])).toMatchObject({
    code: 69,
    err: expect.stringContaining('is the sidecar running?'),
  });
  expect((await run(WEFT, ['explain', 'GET', 'http://orders/', '--direction', 'up'])).code).toBe(64);
  expect(await run(WEFT, ['explain', 'GET it', 'http://orders/'])).toMatchObject({
    code: 64,
    err: expect.stringContaining('"GET IT" is not an HTTP method'),
  });
  // All mistakes at once, of a program that the launcher starts without the command line's code.
  const plane = await run(LAUNCHER, ['control-plane', '--grpc-port', 'x', '--certificate-ttl', '1s', '--policy', 'p']);
  expect(plane.code).toBe(64);
  for (const name of ['--grpc-port', '--certificate-ttl', '--policy']) expect(plane.err).toContain(name);
  expect(await run(LAUNCHER, ['control-plane'])).toMatchObject({
    code: 64,
    err: expect.stringContaining('--policies'),
  });
});

test('a control plane without --data-dir keeps its state below the home of its user, where the commands find its token', async () => {
  const home = await mkdtemp(join(tmpdir(), 'weft-home-'));
  cleanups.push(() => rm(home, { recursive: true, force: true }));
  const plane = new ControlPlaneProcess({ 'orders.yaml': SERVICE }, [], { XDG_STATE_HOME: home });
  cleanups.push(() => plane.remove());
  await plane.start();
  // Its log and its ready file come by different ways.
  await until('it says where', () => plane.output.includes(join(home, 'weft', 'control-plane')));
  const api = ['--api', `http://127.0.0.1:${plane.port('api')}`];
  const found = await run(WEFT, ['get', 'services', 'orders', ...api], { XDG_STATE_HOME: home });
  expect(found).toMatchObject({ code: 0, out: expect.stringContaining('"orders"') });
  const elsewhere = await run(WEFT, ['status', ...api], { XDG_STATE_HOME: join(home, 'none') });
  expect(elsewhere).toMatchObject({ code: 69, err: expect.stringContaining(join(home, 'none', 'weft')) });
});

test.each(['grpc', 'api', 'metrics'])(
  'a %s port in use ends the control plane with 69 and what to do',
  async (name) => {
    const holder = createTcpServer().listen(0, '127.0.0.1');
    cleanups.push(() => holder.close());
    await once(holder, 'listening');
    const { port } = holder.address() as AddressInfo;
    const plane = new ControlPlaneProcess({}, [`--${name}-port`, String(port)]);
    cleanups.push(() => plane.remove());
    const said = `${name} port 127.0.0.1:${port} is in use by another process; stop that one, or choose another with --${name}-port`;
    await expect(plane.start()).rejects.toThrow(new RegExp(`ended with 69: .*weft control-plane: ${said}`, 's'));
  },
);

test('a policy directory that is not there ends the control plane with 69', async () => {
  const plane = new ControlPlaneProcess({});
  cleanups.push(() => plane.remove());
  await rm(plane.policies, { recursive: true });
  const said = `weft control-plane: --policies: the policy directory ${plane.policies} is not there \\(ENOENT\\)`;
  await expect(plane.start()).rejects.toThrow(new RegExp(`ended with 69: ${said}`));
});

test('an API that speaks TLS says how to be asked', async () => {
  const plane = new ControlPlaneProcess({ 'orders.yaml': SERVICE }, ['--api-host', '0.0.0.0']);
  cleanups.push(() => plane.remove());
  await plane.start();
  const token = { WEFT_ADMIN_TOKEN: plane.adminToken };
  const ask = (scheme: string, environment = {}) =>
    run(WEFT, ['get', 'services', '--api', `${scheme}://127.0.0.1:${plane.port('api')}`], { ...token, ...environment });
  expect(await ask('http')).toMatchObject({ code: 69, err: expect.stringContaining('write https://') });
  expect(await ask('https')).toMatchObject({ code: 69, err: expect.stringContaining('NODE_EXTRA_CA_CERTS') });
  const [root] = /-----BEGIN CERTIFICATE-----.*/s.exec(await readFile(join(plane.dataDir, 'root.pem'), 'utf8')) ?? [''];
  const roots = join(plane.directory, 'roots.pem');
  await writeFile(roots, root);
  expect(await ask('https', { NODE_EXTRA_CA_CERTS: roots })).toMatchObject({ code: 0, err: '' });
});

test('a ready file that cannot be written ends each program with 69, and no stack', async () => {
  const plane = new ControlPlaneProcess({ 'orders.yaml': SERVICE });
  cleanups.push(() => plane.remove());
  const file = join(plane.directory, 'none', 'ready');
  const ports = ['--grpc-port', '0', '--api-port', '0', '--metrics-port', '0', '--host', '127.0.0.1'];
  const args = ['--policies', plane.policies, '--data-dir', plane.dataDir, '--ready-file', file, ...ports];
  const said = `--ready-file ${file} cannot be written (ENOENT)`;
  expect(await run(LAUNCHER, ['control-plane', ...args])).toMatchObject({
    code: 69,
    err: expect.stringContaining(said),
  });
  const { out } = await weft('render', plane.policies, '--service', 'orders');
  await writeFile(join(plane.directory, 'snapshot.json'), out);
  const names = ['outbound', 'inbound', 'ai', 'admin', 'metrics', 'readiness'];
  const sidecar = ['--snapshot', join(plane.directory, 'snapshot.json'), '--ready-file', file];
  const ended = await run(LAUNCHER, ['sidecar', ...sidecar, ...names.flatMap((name) => [`--${name}-port`, '0'])]);
  expect(ended).toMatchObject({ code: 69, err: expect.stringContaining(`weft sidecar: ${said}`) });
  const directory = await run(WEFT, ['run', '--ready-file', plane.policies, '--', 'true']);
  expect(directory).toMatchObject({ code: 69, err: expect.stringMatching(/^weft run: .*; name a file\n$/) });
});

test('a data directory that cannot be made ends the control plane with 69', async () => {
  const plane = new ControlPlaneProcess({}, ['--data-dir', '/dev/null/weft']);
  cleanups.push(() => plane.remove());
  await expect(plane.start()).rejects.toThrow(/ended with 69: .*\/dev\/null\/weft cannot be made \(ENOTDIR\)/s);
});

test('explain asks the admin port of a sidecar, whole', async () => {
  let asked = '';
  const admin = createServer((request, response) => {
    asked = request.url ?? '';
    const backends = [{ service: 'a', endpoints: [{ name: 'x', health: 'serving' }], others: [] }];
    response.end(JSON.stringify({ route: 'default/orders', endpoints: ['127.0.0.1:1'], rule: null, backends }));
  }).listen(0, '127.0.0.1');
  cleanups.push(() => admin.close());
  await once(admin, 'listening');
  const address = `127.0.0.1:${(admin.address() as AddressInfo).port}`;
  const args = ['explain', 'post', 'orders:81/a?b=c', '--admin', address, '-H', 'X-One: 1', '-H', 'two:2'];
  const { out, code } = await weft(...args);
  expect(code).toBe(0);
  expect(out).toBe(`route: default/orders
endpoints:
  - 127.0.0.1:1
rule: null
backends:
  - service: a
    endpoints:
      - name: x
        health: serving
    others: none
`);
  const query = new URL(asked, 'http://x').searchParams;
  expect(Object.fromEntries([...query].filter(([name]) => name !== 'header'))).toEqual({
    direction: 'outbound',
    method: 'POST',
    authority: 'orders:81',
    path: '/a?b=c',
  });
  expect(query.getAll('header')).toEqual(['x-one:1', 'two:2']);
});

/**
 * What `weft run` sees of a sidecar, and no more: a ready file, then signals. `life` runs once it is ready. The
 * caller's program gives run.ts this file instead of sidecar/main.ts.
 */
async function standIn(life: string): Promise<{ program: string; directory: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'weft-run-test-'));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  const sidecar = `
    import { appendFileSync, renameSync, writeFileSync } from 'node:fs';
    const note = (text) => appendFileSync(${JSON.stringify(join(directory, 'notes'))}, text + '\\n');
    const ready = process.argv[process.argv.indexOf('--ready-file') + 1];
    setInterval(() => {}, 1000);
    process.on('SIGTERM', () => { note('sidecar drained'); process.exit(0); });
    writeFileSync(ready + '.tmp', JSON.stringify({ pid: process.pid, ports: { outbound: 1, ai: 2, admin: 3 } }));
    renameSync(ready + '.tmp', ready);
    ${life}
  `;
  await writeFile(join(directory, 'sidecar.mjs'), sidecar);
  const program = join(directory, 'program.mjs');
  const [run, entry] = [RUN, pathToFileURL(join(directory, 'sidecar.mjs'))].map((url) => JSON.stringify(url.href));
  await writeFile(program, `import { run } from ${run}; await run(process.argv.slice(2), new URL(${entry}));\n`);
  return { program, directory };
}

const notes = (directory: string) => readFile(join(directory, 'notes'), 'utf8').catch(() => '');

test('run gives the application its sidecar, passes its exit code on, and drains the sidecar after it', async () => {
  const { program, directory } = await standIn('');
  const names = ['http_proxy', 'NO_PROXY', 'NODE_USE_ENV_PROXY', 'WEFT_OUTBOUND', 'OPENAI_BASE_URL', 'WEFT_ADMIN'];
  const script = `
    const given = ${JSON.stringify(names)}.map((name) => process.env[name]);
    require('node:fs').appendFileSync(${JSON.stringify(join(directory, 'notes'))}, 'application done\\n');
    console.log(given.join(' '));
    process.exit(7);`;
  const outcome = await run(program, ['--admin-host', '127.0.0.2', '--', process.execPath, '-e', script]);
  expect(outcome).toEqual({
    code: 7,
    out: 'http://127.0.0.1:1 localhost,127.0.0.1,::1 1 http://127.0.0.1:1 http://127.0.0.1:2/v1 127.0.0.2:3\n',
    err: '',
  });
  expect(await notes(directory)).toBe('application done\nsidecar drained\n');
  const readyFile = join(directory, 'mine');
  const look = `process.exit(require('node:fs').existsSync(${JSON.stringify(readyFile)}) ? 0 : 1)`;
  const named = await run(program, ['--', process.execPath, '-e', look], { WEFT_READY_FILE: readyFile });
  expect(named.code).toBe(0);
});

test('run ends the application when its sidecar dies, and says so', async () => {
  const { program } = await standIn('setTimeout(() => process.exit(3), 300);');
  const outcome = await run(program, ['--', process.execPath, '-e', 'setInterval(() => {}, 1000)']);
  expect(outcome).toMatchObject({ code: 69, err: expect.stringContaining('the sidecar ended (exit code 3)') });
});

test('run passes a signal to the application, whose answer decides', async () => {
  const { program, directory } = await standIn('');
  const script = `process.on('SIGTERM', () => process.exit(5)); setInterval(() => {}, 1000); console.log('up');`;
  const child = spawn(process.execPath, [program, '--', process.execPath, '-e', script], { stdio: 'pipe' });
  const exited = once(child, 'exit');
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  expect(await exited).toEqual([5, null]);
  expect(await notes(directory)).toBe('sidecar drained\n');
});

const PASSED = 'HUP QUIT USR1 USR2 WINCH CONT ALRM VTALRM IO PROF PWR STKFLT'
  .split(' ')
  .map((name) => `SIG${name}` as NodeJS.Signals);

test.runIf(process.platform === 'linux').each(PASSED)('run passes %s on and outlives it', async (signal) => {
  const { program, directory } = await standIn('');
  const script = `
    process.on('${signal}', () => { console.log('got ${signal}'); setTimeout(() => process.exit(5), 10); });
    setInterval(() => {}, 1000);
    console.log('up');`;
  const child = spawn(process.execPath, [program, '--', process.execPath, '-e', script], { stdio: 'pipe' });
  const exited = once(child, 'exit');
  let [out, err] = ['', ''];
  child.stderr.on('data', (data) => {
    err += data;
  });
  child.stdout.on('data', (data) => {
    if (out === '') child.kill(signal);
    out += data;
  });
  expect(await exited).toEqual([5, null]);
  expect(out).toBe(`up\ngot ${signal}\n`);
  // Node says here that its inspector listens.
  expect(err).toBe('');
  expect(await notes(directory)).toBe('sidecar drained\n');
});

test('what is not meant to end anything leaves the drain alone', async () => {
  const { program, directory } = await standIn(`
    process.removeAllListeners('SIGTERM');
    process.on('SIGTERM', () => note('sidecar waits'));
    process.on('SIGUSR2', () => { note('sidecar done'); process.exit(0); });
    note('pid ' + process.pid);
    note('flags ' + process.execArgv);
  `);
  const child = spawn(process.execPath, [program, '--', process.execPath, '-e', 'process.exit(5)'], { stdio: 'pipe' });
  const exited = once(child, 'exit');
  await eventually('it drains', async () => (await notes(directory)).includes('sidecar waits'));
  for (const signal of ['SIGUSR1', 'SIGWINCH', 'SIGCONT', 'SIGUSR2'] as const) child.kill(signal);
  const written = await notes(directory);
  expect(written).toContain('flags --disable-sigusr1');
  process.kill(Number(/pid (\d+)/.exec(written)?.[1]), 'SIGUSR2');
  expect(await exited).toEqual([5, null]);
  expect(await notes(directory)).toContain('sidecar done');
});

test.runIf(process.platform === 'linux')('SIGUSR1 opens no inspector in a program', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'weft-usr1-test-'));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  const ready = join(directory, 'ready');
  const args = ['control-plane', '--policies', directory, '--data-dir', join(directory, 'data'), '--ready-file', ready];
  args.push('--host', '127.0.0.1', '--grpc-port', '0', '--api-port', '0', '--metrics-port', '0');
  const child = spawn(process.execPath, [LAUNCHER, ...args], { stdio: 'ignore' });
  const exited = once(child, 'exit');
  await eventually('it serves', async () => existsSync(ready));
  const caught = /SigCgt:\s*(\w+)/.exec(await readFile(`/proc/${child.pid}/status`, 'utf8'))?.[1];
  child.kill('SIGTERM');
  await exited;
  // Node's own handler is the inspector's.
  expect(BigInt(`0x${caught}`) & (1n << BigInt(constants.signals.SIGUSR1 - 1))).toBe(0n);
});

test('a signal while the sidecar drains ends the drain at once, with the exit code of the application', async () => {
  const { program, directory } = await standIn(`
    process.removeAllListeners('SIGTERM');
    process.on('SIGTERM', () => note('sidecar waits'));
  `);
  const child = spawn(process.execPath, [program, '--', process.execPath, '-e', 'process.exit(5)'], { stdio: 'pipe' });
  const exited = once(child, 'exit');
  await eventually('it drains', async () => (await notes(directory)).includes('sidecar waits'));
  child.kill('SIGTERM');
  expect(await exited).toEqual([5, null]);
});

test('run ends with 69 for a command that is not there', async () => {
  const { program, directory } = await standIn('');
  const outcome = await run(program, ['--', join(directory, 'none')]);
  expect(outcome).toMatchObject({ code: 69, err: expect.stringContaining('is it installed?') });
  expect(await notes(directory)).toBe('sidecar drained\n');
});

test('run explains itself', async () => {
  const help = await run(WEFT, ['run', '--help']);
  expect(help.code).toBe(0);
  for (const word of ['-- COMMAND', 'OPENAI_BASE_URL', 'WEFT_ADMIN', 'NO_PROXY', '128 + N'])
    expect(help.out).toContain(word);
  // Every option of the sidecar, as its own help lists them.
  const sidecar = await run(LAUNCHER, ['sidecar', '--help']);
  const listed = (text: string) => text.match(/^ {2}--[a-z-]+/gm);
  expect(listed(help.out)?.length).toBeGreaterThan(20);
  expect(listed(help.out)).toEqual(listed(sidecar.out));
});

test('run ends as the sidecar that cannot start', async () => {
  const bad = await run(WEFT, ['run', '--outbound-port', 'x', '--', 'true']);
  expect(bad).toMatchObject({ code: 64, err: expect.stringContaining('--outbound-port') });
  expect(await run(WEFT, ['run', '--app', '1'])).toMatchObject({ code: 64, err: expect.stringContaining('--') });
});
