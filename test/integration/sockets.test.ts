// What every socket of the data path is set to, as the kernel says, and names with addresses of both families.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import { afterEach, expect, test, vi } from 'vitest';
import { LIMITS } from '../../sidecar/base/limits.ts';
import { bindListener } from '../../sidecar/listen/bind.ts';
import { connectorTo } from '../../sidecar/upstream/connect.ts';
import { alternatesOf } from '../../sidecar/upstream/dns.ts';
import { upstreamRig } from '../support/upstream-rig.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const CLEAR = { tls: 'off' } as const;
const onLinux = test.skipIf(process.platform !== 'linux');

interface KernelRow {
  readonly local: number;
  readonly remote: number;
  readonly queued: number;
  /** 2: the keep-alive timer. */
  readonly timer: number;
  readonly ringsInMs: number;
}

/** TCP over IPv4 as the kernel has it (Documentation/networking/proc_net_tcp). */
function kernelRows(): KernelRow[] {
  const port = (address = ''): number => Number.parseInt(address.split(':')[1] ?? '', 16);
  return readFileSync('/proc/net/tcp', 'utf8')
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => {
      const [, local, remote, , queues = '', timer = ''] = line.trim().split(/\s+/);
      const [number = '', when = ''] = timer.split(':');
      return {
        local: port(local),
        remote: port(remote),
        queued: Number.parseInt(queues.split(':')[1] ?? '', 16),
        timer: Number.parseInt(number, 16),
        // In hundredths of a second (USER_HZ).
        ringsInMs: Number.parseInt(when, 16) * 10,
      };
    });
}

async function freePort(host = '127.0.0.1'): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A listener of the data path; what it accepts. */
async function listener(): Promise<{ port: number; accepted: Socket[] }> {
  const port = await freePort();
  const config = { kind: 'outbound', host: '127.0.0.1', port, service: '', servicePort: 0, reusePort: false } as const;
  const accepted: Socket[] = [];
  // It counts nothing here.
  const context = { guard() {}, overload: { rung: 0 } };
  const bound = await bindListener(context, config, (socket) => accepted.push(socket.on('error', () => {})));
  cleanups.push(() => {
    bound.stop();
    for (const socket of accepted) socket.destroy();
  });
  return { port, accepted };
}

async function web(host: string, port = 0): Promise<{ port: number; server: Server; seen: string[] }> {
  const seen: string[] = [];
  const server = createHttp((request, response) => {
    seen.push(request.socket.localAddress ?? '');
    response.end();
  }).listen(port, host);
  await once(server, 'listening');
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, server, seen };
}

onLinux('who connects is asked after a minute of silence whether it is there', async () => {
  const { port, accepted } = await listener();
  const client = connect(port, '127.0.0.1');
  cleanups.push(() => void client.destroy());
  await expect.poll(() => accepted.length).toBe(1);
  await expect
    .poll(() => kernelRows().find((row) => row.local === port && row.remote === client.localPort)?.timer)
    .toBe(2);
  const row = kernelRows().find((one) => one.local === port && one.remote === client.localPort);
  expect(row?.ringsInMs).toBeGreaterThan(LIMITS.keepAliveIdleMs / 2);
  expect(row?.ringsInMs).toBeLessThanOrEqual(LIMITS.keepAliveIdleMs);
});

onLinux('so is who was called', async () => {
  const { port } = await web('127.0.0.1');
  const rig = upstreamRig({}, { port }, CLEAR);
  cleanups.push(() => rig.close());
  expect(await rig.call()).toBe(200);
  await expect.poll(() => kernelRows().find((one) => one.remote === port && one.local !== port)?.timer).toBe(2);
  const row = kernelRows().find((one) => one.remote === port && one.local !== port);
  expect(row?.ringsInMs).toBeLessThanOrEqual(LIMITS.keepAliveIdleMs);
});

/** What the kernel allows at most, whatever is asked for. */
const SOMAXCONN = process.platform === 'linux' ? Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8')) : 0;

test.skipIf(SOMAXCONN < 1_000)('a burst waits in the kernel, where Node would have it dropped', async () => {
  const { port } = await listener();
  for (let i = 0; i < 700; i++) {
    const client = connect(port, '127.0.0.1').on('error', () => {});
    cleanups.push(() => void client.destroy());
  }
  // Every connect has begun by then, and the loop has not turned, so that none is accepted.
  await new Promise<void>((resolve) => process.nextTick(resolve));
  expect(kernelRows().find((row) => row.local === port && row.remote === 0)?.queued).toBe(700);
});

test('a family that refuses is passed over', async () => {
  const { port, seen } = await web('127.0.0.1');
  const rig = upstreamRig({}, { host: '::1', alternates: ['127.0.0.1'], port }, CLEAR);
  cleanups.push(() => rig.close());
  expect(await rig.call()).toBe(200);
  expect(seen).toEqual(['127.0.0.1']);
});

test('the first address is taken where it answers', async () => {
  const six = await web('::1');
  await web('127.0.0.1', six.port);
  const rig = upstreamRig({}, { host: '::1', alternates: ['127.0.0.1'], port: six.port }, CLEAR);
  cleanups.push(() => rig.close());
  expect(await rig.call()).toBe(200);
  expect(six.seen).toEqual(['::1']);
});

/** Listens at `host` and never accepts; its queue is full, so that the kernel answers nobody. */
async function silent(host: string, port = 0): Promise<{ port: number }> {
  const code = `
    const { createServer } = require('node:net');
    const { parentPort } = require('node:worker_threads');
    const server = createServer().listen({ host: '${host}', port: ${port}, backlog: 1 }, () => {
      parentPort.postMessage(server.address().port);
      setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
    });`;
  const worker = new Worker(code, { eval: true });
  cleanups.push(() => worker.terminate());
  const [bound] = (await once(worker, 'message')) as [number];
  const fillers = Array.from({ length: 8 }, () => connect(bound, host).on('error', () => {}));
  cleanups.push(() => {
    for (const filler of fillers) filler.destroy();
  });
  await Promise.race(fillers.map((filler) => once(filler, 'connect')));
  return { port: bound };
}

test('an IPv6 that leads nowhere costs a moment, and the connection is over IPv4', async () => {
  const { port, seen } = await web('127.0.0.1');
  await silent('::1', port);
  const rig = upstreamRig(
    {},
    { host: '::1', alternates: ['127.0.0.1'], port },
    { ...CLEAR, connectTimeoutMs: 600_000 },
  );
  cleanups.push(() => rig.close());
  expect(await rig.call()).toBe(200);
  expect(seen).toEqual(['127.0.0.1']);
});

test('when both fail, both are named', async () => {
  const port = await freePort();
  const rig = upstreamRig({}, { host: '::1', alternates: ['127.0.0.1'], port }, CLEAR);
  cleanups.push(() => rig.close());
  const answer = String(await rig.call());
  expect(answer).toMatch(/^connectFailed: connection to \[::1\]:\d+ failed: /);
  expect(answer).toContain(`connect ECONNREFUSED ::1:${port}; connect ECONNREFUSED 127.0.0.1:${port}`);
});

onLinux('a connection that times out names who refused and who was silent', async () => {
  const { port } = await silent('::1');
  const rig = upstreamRig({}, { alternates: ['::1'], port }, { ...CLEAR, connectTimeoutMs: LIMITS.connectTimeoutMs });
  cleanups.push(() => rig.close());
  const detail = `connection to 127.0.0.1:${port} timed out after ${LIMITS.connectTimeoutMs} ms (connect ECONNREFUSED 127.0.0.1:${port}; ::1 did not answer); is a network policy blocking the port?`;
  expect(await rig.call()).toBe(`connectTimeout: ${detail}`);
});

test('the families of a name take turns from each of its addresses, and the load stays spread', () => {
  const [a, b, c, six, seven] = ['10.0.0.1', '10.0.0.2', '10.0.0.3', 'fd00::1', 'fd00::2'];
  const all = [a, b, c, six, seven];
  expect(alternatesOf(six, all)).toEqual([a, seven, b]);
  expect(alternatesOf(seven, all)).toEqual([b, six, c]);
  expect(alternatesOf(a, all)).toEqual([six, b, seven]);
  expect(alternatesOf(b, all)).toEqual([seven, c, six]);
  expect(alternatesOf(c, all)).toEqual([six, a, seven]);
  // One that is alone in its family is followed by all of the other.
  expect(alternatesOf(six, [a, b, six])).toEqual([a, b]);
  expect(alternatesOf(b, [a, b, c])).toEqual([c, a]);
  expect(alternatesOf(a, [a])).toEqual([]);
});

onLinux('a name with other addresses than before keeps its connections, but for those to one that went', async () => {
  const one = await web('127.0.0.1');
  const two = await web('127.0.0.2', one.port);
  const { port } = one;
  const opened: string[] = [];
  const closed: string[] = [];
  for (const { server } of [one, two])
    server.on('connection', (socket: Socket) => {
      const to = `${socket.localAddress}`;
      opened.push(to);
      socket.once('close', () => closed.push(to));
    });
  const rig = upstreamRig({}, { host: '::1', alternates: ['127.0.0.1'], port }, CLEAR);
  cleanups.push(() => rig.close());
  const change = (alternates: readonly string[], host = '::1'): void =>
    rig.upstream.set({ name: 'shop/orders/1', host, alternates, port, labels: [], spiffeId: '' });
  expect(await rig.call()).toBe(200);
  // Another order: what is there stays, and what is dialled from now on follows it.
  change(['127.0.0.2', '127.0.0.1']);
  expect(await Promise.all([rig.call(), rig.call()])).toEqual([200, 200]);
  expect(opened).toEqual(['127.0.0.1', '127.0.0.2']);
  expect(closed).toEqual([]);
  change(['127.0.0.2']);
  await expect.poll(() => closed.length).toBe(2);
  expect(await rig.call()).toBe(200);
  // What went before is forgotten: this change touches no connection that is there.
  change(['127.0.0.2', '127.0.0.3']);
  expect(await rig.call()).toBe(200);
  expect(opened).toEqual(['127.0.0.1', '127.0.0.2', '127.0.0.2']);
  // Neither does one of the alternates, where the endpoint's own address is the one that answered.
  change(['::1'], '127.0.0.1');
  expect(await rig.call()).toBe(200);
  change(['127.0.0.3'], '127.0.0.1');
  expect(await rig.call()).toBe(200);
  expect(opened.slice(3)).toEqual(['127.0.0.1']);
});

test('who gives up dialling dials nothing more', () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  cleanups.push(() => vi.useRealTimers());
  const address = { host: '::1', alternates: ['127.0.0.1'], port: 1, protocol: 'http1', tls: null } as const;
  const gone: unknown[] = [];
  const observer = { onReady() {}, onRoom() {}, onGone: (error: unknown) => gone.push(error) };
  const abandon = connectorTo({ ...address, connectTimeoutMs: 1 })(observer);
  expect(vi.getTimerCount()).toBe(2);
  abandon();
  expect(vi.getTimerCount()).toBe(0);
  connectorTo({ ...address, connectTimeoutMs: 1 })(observer);
  vi.advanceTimersByTime(1);
  expect(vi.getTimerCount()).toBe(0);
  expect(gone).toHaveLength(1);
});
