// The sidecar's main thread as a process: its options, addresses, files, admin, metrics, telemetry, and what happens when a
// worker dies or a signal comes. The worker is a fake that speaks the messages and carries no traffic.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { create, toJsonString } from '@bufbuild/protobuf';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openAuthority } from '../../control-plane/identity/authority.ts';
import { SnapshotSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { encodeJoinToken } from '../../proto/kit/join-token.ts';

const MAIN = fileURLToPath(new URL('../../sidecar/main.ts', import.meta.url));
const FAKE = fileURLToPath(new URL('../support/fake-sidecar.ts', import.meta.url));
const CONTROL_PLANE = fileURLToPath(new URL('../../control-plane/main.ts', import.meta.url));
const ANY_PORTS = ['outbound', 'inbound', 'ai', 'admin', 'metrics', 'readiness'].flatMap((name) => [
  `--${name}-port`,
  '0',
]);
const LOOPBACK = ['--inbound-host', '127.0.0.1', '--metrics-host', '127.0.0.1', '--advertise-address', '127.0.0.1'];

let folder = '';
const children: ChildProcess[] = [];
const cleanups: (() => void)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-sidecar-'));
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  for (const cleanup of cleanups.splice(0)) cleanup();
  rmSync(folder, { recursive: true, force: true });
});

interface Running {
  readonly child: ChildProcess;
  readonly ports: Readonly<Record<string, number>>;
  out(): string;
  err(): string;
  ended(): Promise<number>;
}

function run(program: string, args: readonly string[], env: Record<string, string> = {}): Omit<Running, 'ports'> {
  const child = spawn(process.execPath, [program, ...args], { env: { ...process.env, ...env } });
  children.push(child);
  let out = '';
  let err = '';
  child.stdout.on('data', (data) => {
    out += data;
  });
  child.stderr.on('data', (data) => {
    err += data;
  });
  const exit = once(child, 'close') as Promise<[number]>;
  return { child, out: () => out, err: () => err, ended: async () => (await exit)[0] };
}

/** Waits for a condition, at most 10 s. */
async function until<T>(what: string, look: () => T | Promise<T>, hint: () => string = () => ''): Promise<T> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const value = await look();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`${what} did not come: ${hint()}`);
    await pause(20);
  }
}

async function start(program: string, args: readonly string[], env: Record<string, string> = {}): Promise<Running> {
  const readyFile = join(folder, `ready-${children.length}.json`);
  const started = run(program, [...args, '--ready-file', readyFile], env);
  await until('the ready file', () => existsSync(readyFile) || started.child.exitCode !== null, started.err);
  if (!existsSync(readyFile)) throw new Error(started.err());
  return { ...started, ports: JSON.parse(readFileSync(readyFile, 'utf8')).ports };
}

const get = async (port: number | undefined, path: string, headers: Record<string, string> = {}) => {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers });
  return { status: response.status, text: await response.text() };
};

/** Gives the fake worker a command. */
async function command(sidecar: Running, text: string): Promise<Socket> {
  const socket = connect(sidecar.ports.outbound as number, '127.0.0.1');
  socket.on('error', () => {});
  cleanups.push(() => socket.destroy());
  socket.write(`${text}\n`);
  await Promise.race([once(socket, 'data'), once(socket, 'close')]);
  return socket;
}

const RESOURCES = ['default/orders', 'default/refused'].map((name) => ({
  typeUrl: 'type.googleapis.com/weft.mesh.v1.Service',
  name,
  version: '1',
}));

function snapshotFile(): string {
  const path = join(folder, 'snapshot-given.json');
  const snapshot = create(SnapshotSchema, {
    format: 1,
    spiffeId: 'spiffe://mesh.local/ns/default/sa/web',
    resources: RESOURCES,
  });
  writeFileSync(path, toJsonString(SnapshotSchema, snapshot));
  return path;
}

const fromSnapshot = (...more: string[]) => [...ANY_PORTS, ...LOOPBACK, '--snapshot', snapshotFile(), ...more];

async function controlPlane(): Promise<Running & { token(): Promise<string> }> {
  const policies = join(folder, 'policies');
  const data = join(folder, 'control-plane');
  mkdirSync(policies, { recursive: true });
  const service = (name: string) =>
    `kind: Service\nmetadata:\n  name: ${name}\nspec:\n  ports:\n    - port: 80\n      protocol: HTTP1\n`;
  writeFileSync(join(policies, 'orders.yaml'), service('orders'));
  writeFileSync(join(policies, 'refused.yaml'), service('refused'));
  const ports = ['--grpc-port', '0', '--api-port', '0', '--metrics-port', '0', '--host', '127.0.0.1'];
  const running = await start(CONTROL_PLANE, ['--policies', policies, '--data-dir', data, ...ports]);
  const weft = fileURLToPath(new URL('../../deploy/cli/weft.ts', import.meta.url));
  return {
    ...running,
    token: async () => {
      const api = `http://127.0.0.1:${running.ports.api}`;
      const admin = join(data, 'admin.token');
      const made = run(weft, ['token', '--service-account', 'orders', '--api', api, '--admin-token-file', admin]);
      expect(await made.ended(), made.err()).toBe(0);
      const path = join(folder, 'token');
      writeFileSync(path, made.out());
      return path;
    },
  };
}

test('every mistake of the command line is reported at once, with exit code 64', async () => {
  const args = ['--app', 'x=y', '--workers', '0', '--control-plane', 'nowhere', '--nonsense'];
  const sidecar = run(MAIN, args, { WEFT_DRAIN_TIME: 'soon' });
  expect(await sidecar.ended()).toBe(64);
  for (const name of ['--app', '--workers', '--control-plane', '--nonsense', 'WEFT_DRAIN_TIME']) {
    expect(sidecar.err()).toContain(`weft sidecar: ${name}: `);
  }
});

test('options that contradict each other are refused with exit code 64', async () => {
  const sidecar = run(MAIN, ['--identity-key', 'k', '--join-token-file', 't']);
  expect(await sidecar.ended()).toBe(64);
  expect(sidecar.err().trim().split('\n')).toHaveLength(3);
});

test.each(['outbound', 'admin', 'readiness'])('a %s port in use ends it with exit code 69', async (name) => {
  const holder = createServer().listen(0, '127.0.0.1');
  await once(holder, 'listening');
  cleanups.push(() => holder.close());
  const { port } = holder.address() as AddressInfo;
  const args = fromSnapshot().map((arg, i, all) => (all[i - 1] === `--${name}-port` ? String(port) : arg));
  const sidecar = run(FAKE, args);
  expect(await sidecar.ended()).toBe(69);
  expect(sidecar.err()).toContain(`${name} port 127.0.0.1:${port} is in use`);
});

test('a broken snapshot is named and ends it with exit code 65', async () => {
  const path = join(folder, 'broken.json');
  writeFileSync(path, '{"format":2}');
  const sidecar = run(FAKE, [...ANY_PORTS, ...LOOPBACK, '--snapshot', path]);
  expect(await sidecar.ended()).toBe(65);
  expect(sidecar.err()).toContain(`snapshot ${path} is not usable: it is of format 2`);
});

test('joins, serves, and starts again from its state directory without control plane and token', async () => {
  const plane = await controlPlane();
  const state = join(folder, 'state');
  const args = [...ANY_PORTS, ...LOOPBACK, '--app', 'orders=1', '--state-dir', state];
  const where = ['--control-plane', `127.0.0.1:${plane.ports.grpc}`];
  const first = await start(FAKE, [...args, ...where, '--join-token-file', await plane.token()]);
  await until('the registration', () => first.err().includes('"registered"'), first.err);
  const certificates = (await get(first.ports.admin, '/certificates')).text;
  expect(certificates).toContain('spiffe://mesh.local/ns/default/sa/orders');
  // The other Service's name is one that the fake worker refuses: the rest is in force.
  const stats = JSON.parse((await get(first.ports.admin, '/stats')).text);
  expect(stats.controlPlane.connected).toBe(true);
  const config = (await get(first.ports.admin, '/config')).text;
  expect(config).toContain('default/orders');
  expect(config).not.toContain('default/refused');
  expect(stats.config.rejected).toMatchObject([{ name: 'default/refused' }]);
  const planeLog = () => plane.out() + plane.err();
  await until('the NACK', () => planeLog().includes('default/refused'), planeLog);
  first.child.kill('SIGTERM');
  expect(await first.ended(), first.err()).toBe(0);
  expect(statSync(state).mode & 0o777).toBe(0o700);
  for (const file of ['identity.pem', 'bundle.pem', 'snapshot.json', 'ports.json', 'workload-id']) {
    expect(statSync(join(state, file)).mode & 0o777, file).toBe(0o600);
  }
  const key = readFileSync(join(state, 'identity.pem'), 'utf8').split('\n')[1] as string;
  plane.child.kill('SIGTERM');
  await plane.ended();

  const second = await start(FAKE, [...args, ...where]);
  expect(second.ports.inbound).toBe(first.ports.inbound);
  expect((await get(second.ports.readiness, '/ready')).status).toBe(200);
  expect((await get(second.ports.admin, '/certificates')).text).toBe(certificates);
  for (const path of ['/config', '/certificates', '/stats', '/endpoints', '/']) {
    expect((await get(second.ports.admin, path)).text, path).not.toContain(key);
  }
  for (const text of [first.err(), first.out(), second.err()]) expect(text).not.toContain(key);
});

test('CVE class 11: a token of another mesh is refused before it is shown to anybody, with exit code 69', async () => {
  const plane = await controlPlane();
  const dataDir = join(folder, 'other');
  const other = await openAuthority({ dataDir, trustDomain: 'mesh.local', now: Date.now });
  const path = join(folder, 'foreign');
  const names = { trustDomain: 'mesh.local', namespace: 'default', serviceAccount: 'orders' };
  const token = { ...names, id: 'x', secret: new Uint8Array(32), rootKeyHash: other.rootKeyHash };
  writeFileSync(path, encodeJoinToken({ ...token, expiresAtMs: Date.now() + 60_000 }));
  const where = ['--control-plane', `127.0.0.1:${plane.ports.grpc}`, '--join-token-file', path];
  const sidecar = run(FAKE, [...ANY_PORTS, ...LOOPBACK, ...where]);
  expect(await sidecar.ended()).toBe(69);
  expect(sidecar.err()).toContain('its root is not the one that the join token names');
});

test('a worker that dies is started again: gauges fall to zero, counts stay, config comes back', async () => {
  const sidecar = await start(FAKE, fromSnapshot());
  await command(sidecar, 'count');
  const before = (await get(sidecar.ports.metrics, '/metrics')).text;
  expect(before).toContain('weft_retries_total{service="default/orders"} 1');
  expect(before).toContain('weft_requests_active{direction="outbound"} 1');
  await command(sidecar, 'die');
  const deaths = async () => JSON.parse((await get(sidecar.ports.admin, '/stats')).text).workers.deaths;
  await until('the death', async () => (await deaths()) === 1);
  await until('the restart', async () => (await get(sidecar.ports.readiness, '/ready')).status === 200);
  const after = (await get(sidecar.ports.metrics, '/metrics')).text;
  expect(after).toContain('weft_retries_total{service="default/orders"} 1');
  expect(after).toContain('weft_requests_active{direction="outbound"} 0');
  expect(after).toContain('weft_worker_deaths_total 1');
  expect((await get(sidecar.ports.admin, '/endpoints')).text).toContain('default/orders');
});

test('a worker that dies again and again ends the sidecar with exit code 70', async () => {
  const sidecar = await start(FAKE, fromSnapshot());
  for (let deaths = 1; deaths <= 6; deaths++) {
    await command(sidecar, 'die');
    if (deaths === 6) break;
    const counted = async () => JSON.parse((await get(sidecar.ports.admin, '/stats')).text).workers.deaths === deaths;
    await until('the death', counted);
    await until('the restart', async () => (await get(sidecar.ports.readiness, '/ready')).status === 200);
  }
  expect(await sidecar.ended()).toBe(70);
});

test('the metrics are text that Prometheus parses', async () => {
  const sidecar = await start(FAKE, fromSnapshot());
  await command(sidecar, 'count');
  const { text } = await get(sidecar.ports.metrics, '/metrics');
  const sample = /^[a-z_:][a-z0-9_:]*(\{[a-z_]+="[^"\n]*"(,[a-z_]+="[^"\n]*")*\})? [0-9.e+-]+$/i;
  const lines = text.trimEnd().split('\n');
  expect(lines.filter((line) => !line.startsWith('# ') && !sample.test(line))).toEqual([]);
  expect(lines.length).toBeGreaterThan(20);
});

test('CVE class 15: admin answers under loopback names only, says why, and changes nothing', async () => {
  const sidecar = await start(FAKE, fromSnapshot());
  const explained = await get(sidecar.ports.admin, '/explain?authority=orders&path=/x&header=A:b');
  expect(JSON.parse(explained.text)).toMatchObject({ method: 'GET', authority: 'orders', headers: ['a', 'b'] });
  expect((await get(sidecar.ports.admin, '/explain?path=/x')).status).toBe(400);
  const put = await fetch(`http://127.0.0.1:${sidecar.ports.admin}/log-level?level=debug`, { method: 'PUT' });
  expect(put.status).toBe(405);
  const socket = connect(sidecar.ports.admin as number, '127.0.0.1');
  socket.end('GET /config HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n');
  const [answer] = (await once(socket, 'data')) as [Buffer];
  expect(answer.toString()).toContain('HTTP/1.1 421');
});

test('SIGTERM fails readiness, lets work in flight end, and exits with 0', async () => {
  const sidecar = await start(FAKE, fromSnapshot());
  const busy = await command(sidecar, 'hello');
  sidecar.child.kill('SIGTERM');
  await until('the drain', async () => (await get(sidecar.ports.readiness, '/ready')).status === 503);
  expect(sidecar.child.exitCode).toBe(null);
  busy.end();
  expect(await sidecar.ended(), sidecar.err()).toBe(0);
});

test('the drain time ends what does not end by itself', async () => {
  const sidecar = await start(FAKE, fromSnapshot('--drain-time', '100ms'));
  await command(sidecar, 'hello');
  sidecar.child.kill('SIGTERM');
  expect(await sidecar.ended(), sidecar.err()).toBe(0);
});

test('a finished request is a log line and a span with the ids that it travelled with', async () => {
  const bodies: Buffer[] = [];
  const receiver = createHttpServer((request, response) => {
    request.on('data', (data) => bodies.push(data));
    request.on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end('{}'));
  }).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  cleanups.push(() => void receiver.close().closeAllConnections());
  const { port } = receiver.address() as AddressInfo;
  const sidecar = await start(FAKE, fromSnapshot(), {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    OTEL_SERVICE_NAME: 'shop',
    OTEL_BSP_SCHEDULE_DELAY: '10',
  });
  await command(sidecar, 'telemetry');
  await until('the export', () => bodies.length > 0, sidecar.err);
  const [group] = JSON.parse(Buffer.concat(bodies).toString()).resourceSpans;
  expect(group.resource.attributes).toContainEqual({ key: 'service.name', value: { stringValue: 'shop' } });
  expect(group.scopeSpans[0].spans[0]).toMatchObject({
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId: 'b7ad6b7169203331',
    parentSpanId: '00f067aa0ba902b7',
    name: 'GET default/orders',
    kind: 3,
  });
  await until('the log line', () => sidecar.out().includes('\n'), sidecar.err);
  expect(JSON.parse(sidecar.out().split('\n')[0] as string)).toMatchObject({
    time: '2023-11-14T22:13:20.000Z',
    method: 'GET',
    status: 200,
    flag: '-',
    durationMs: 12.5,
    traceId: '0af7651916cd43dd8448eb211c80319c',
  });
});
