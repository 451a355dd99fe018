// SIGTERM to the real program with calls under way: readiness fails, both protocols are told to go elsewhere, what is
// under way ends or the drain time does, and the exit code is 0.
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import { connect, type Socket } from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import type { SidecarProcess } from '../support/sidecar-process.ts';
import { useApps, useSidecars } from '../support/use.ts';
import { endpoint, service, until } from '../support/worker-rig.ts';

const apps = useApps();
const processes = useSidecars();

/** An application that answers when told to. */
interface SlowApp {
  readonly port: number;
  readonly waiting: (() => void)[];
}

async function slowApp(): Promise<SlowApp> {
  const waiting: (() => void)[] = [];
  const port = await apps.http((_request, response) => void waiting.push(() => response.end('late')));
  return { port, waiting };
}

async function sidecarOf(app: SlowApp, ...args: string[]): Promise<SidecarProcess> {
  const snapshot = processes.snapshot([service('shop/orders'), endpoint('shop/orders', app.port)]);
  return processes.start(['--snapshot', snapshot, '--log-level', 'error', ...args]);
}

/** A kept-alive HTTP/1.1 call. */
async function call(sidecar: SidecarProcess): Promise<{ connection: string | undefined; body: string }> {
  const agent = new http.Agent({ keepAlive: true });
  apps.onClose(() => agent.destroy());
  const request = http.get({ port: sidecar.ports.outbound, host: '127.0.0.1', headers: { host: 'orders' }, agent });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  return { connection: response.headers.connection, body: await text(response) };
}

async function isRefused(port: number | undefined): Promise<boolean> {
  const socket = connect(port as number, '127.0.0.1');
  const refused = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(false));
    socket.once('error', () => resolve(true));
  });
  socket.destroy();
  return refused;
}

test('calls under way in both protocols end well, new ones are sent elsewhere, and nothing is said', async () => {
  const app = await slowApp();
  const sidecar = await sidecarOf(app);
  expect((await sidecar.get('readiness', '/ready')).status).toBe(200);
  const first = call(sidecar);
  const session = http2.connect(`http://127.0.0.1:${sidecar.ports.outbound}`);
  apps.onClose(() => session.destroy());
  const stream = session.request({ ':path': '/', ':authority': 'orders' });
  await until('both calls arrive', () => app.waiting.length === 2);
  const idle = connect(sidecar.ports.outbound as number, '127.0.0.1');
  apps.onClose(() => void idle.destroy());
  await once(idle, 'connect');
  const idleEnded = once(idle.resume(), 'end');
  await until('all three are accepted', async () => (await sidecar.metric('weft_connections_active')) === 3);

  sidecar.child.kill('SIGTERM');
  const [code] = (await once(session, 'goaway')) as [number];
  expect(code).toBe(http2.constants.NGHTTP2_NO_ERROR);
  const ready = await sidecar.get('readiness', '/ready');
  expect([ready.status, ready.text]).toEqual([503, expect.stringContaining('draining')]);
  expect((await sidecar.get('readiness', '/live')).status).toBe(200);
  await idleEnded;
  await until('nothing new is accepted', () => isRefused(sidecar.ports.outbound));
  expect(sidecar.child.exitCode).toBeNull();

  for (const answer of app.waiting) answer();
  expect(await first).toEqual({ connection: 'close', body: 'late' });
  expect((await buffer(stream)).toString()).toBe('late');
  expect(await sidecar.ended()).toBe(0);
  expect(sidecar.err).toBe('');
});

test('what is under way longer than the drain time is ended by it, with exit code 0 and nothing said', async () => {
  const app = await slowApp();
  const sidecar = await sidecarOf(app, '--drain-time', '200ms');
  const pending = call(sidecar).catch((error: NodeJS.ErrnoException) => error.code);
  await until('the call arrives', () => app.waiting.length === 1);
  sidecar.child.kill('SIGTERM');
  expect(await sidecar.ended()).toBe(0);
  expect(await pending).toBe('ECONNRESET');
  expect(sidecar.err).toBe('');
});

test('a tunnel that nobody ends is ended by the drain time, too', async () => {
  const app = await slowApp();
  const sidecar = await sidecarOf(app, '--drain-time', '200ms');
  const request = http.request({
    port: sidecar.ports.outbound,
    host: '127.0.0.1',
    method: 'CONNECT',
    path: 'orders:80',
    agent: false,
  });
  request.end();
  const [, socket] = (await once(request, 'connect')) as [unknown, Socket];
  socket.on('error', () => {});
  socket.resume().write('GET / HTTP/1.1\r\nhost: orders\r\n\r\n');
  await until('the call arrives', () => app.waiting.length === 1);
  const closed = once(socket, 'close');
  sidecar.child.kill('SIGTERM');
  expect(await sidecar.ended()).toBe(0);
  await closed;
  expect(sidecar.err).toBe('');
});

test.each([
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const)('a second signal, %s, says that waiting is over: %d', async (signal, code) => {
  const app = await slowApp();
  const sidecar = await sidecarOf(app);
  const pending = call(sidecar).catch((error: NodeJS.ErrnoException) => error.code);
  await until('the call arrives', () => app.waiting.length === 1);
  sidecar.child.kill('SIGTERM');
  await until('the drain', async () => (await sidecar.get('readiness', '/ready')).status === 503);
  sidecar.child.kill(signal);
  expect(await sidecar.ended()).toBe(code);
  expect(await pending).toBe('ECONNRESET');
});
