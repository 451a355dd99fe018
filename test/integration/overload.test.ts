// The overload ladder in a real worker: each rung as callers see it, and the way down.

import { once } from 'node:events';
import http from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, expect, test } from 'vitest';
import { endpoint, service, until, type WorkerRig, workerRig } from '../support/worker-rig.ts';

const cleanups: (() => unknown)[] = [];
let rig: WorkerRig;

afterEach(async () => {
  expect(rig.contained).toEqual([]);
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(heldBytesMax: number, handle: http.RequestListener): Promise<void> {
  rig = await workerRig([], { heldBytesMax, heapBytesMax: Number.POSITIVE_INFINITY });
  cleanups.push(() => rig.close());
  const server = http.createServer(handle).listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  await rig.apply(service('shop/orders'), endpoint('shop/orders', port));
}

async function call(options: http.RequestOptions): Promise<http.IncomingMessage> {
  const request = http.request({ host: '127.0.0.1', port: rig.port, headers: { host: 'orders' }, ...options });
  request.end();
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  return response;
}

/** A request body is kept for another attempt until the application answers: so much each call holds. */
const HELD = 50_000;

test('calls lose first their keep-alive, then their answer, then their connection, and get all of it back', async () => {
  const waiting: http.ServerResponse[] = [];
  let bodies = 0;
  await start(20 * HELD, (request, response) => {
    if (request.method === 'GET') return void response.end('ok');
    waiting.push(response);
    request.resume().on('end', () => bodies++);
  });
  const agent = new http.Agent({ keepAlive: true });
  cleanups.push(() => agent.destroy());
  // Let in while all is well: their bodies come later.
  const posts: http.ClientRequest[] = [];
  for (let i = 0; i < 19; i++) {
    const headers = { host: 'orders', 'content-length': HELD };
    const request = http.request({ ...ORDERS(), method: 'POST', agent, headers });
    request.flushHeaders();
    posts.push(request);
  }
  const answers = posts.map((request) => once(request, 'response'));
  await until('all are let in', () => waiting.length === posts.length);
  const holdUntil = async (count: number): Promise<void> => {
    for (const request of posts.slice(bodies, count)) request.end(Buffer.alloc(HELD));
    await until(`${count} bodies arrived`, () => bodies === count);
  };
  const keeps = { host: 'orders', connection: 'keep-alive' };
  expect((await call({ agent: false, headers: keeps })).headers.connection).toBeUndefined();
  await holdUntil(16);
  expect(rig.count('guards', 'outbound', 'stopKeepAlive')).toBe(0);
  const last = await call({ agent: false, headers: keeps });
  expect([last.statusCode, last.headers.connection]).toEqual([200, 'close']);
  expect(rig.count('guards', 'outbound', 'stopKeepAlive')).toBeGreaterThan(0);

  await holdUntil(18);
  const refused = await call({ agent: false });
  expect([refused.statusCode, refused.headers['x-weft-error']]).toEqual([503, 'OM']);
  expect(await text(refused)).toContain('--memory-limit');

  await holdUntil(19);
  const late = connect(rig.port, '127.0.0.1');
  late.on('error', () => {});
  await once(late, 'close');
  await until('it is counted', () => rig.count('guards', 'outbound', 'overload') === 1);

  for (const response of waiting) response.end();
  await Promise.all(answers);
  await until('nothing is held any more', async () => (await rig.dump()).heldBytes === 0);
  const again = await call({ agent: false, headers: keeps });
  expect([again.statusCode, again.headers.connection]).toEqual([200, undefined]);
});

test('whoever reads too slowly is ended, the largest first, and nobody else', async () => {
  const chunk = Buffer.alloc(64 * 1024);
  await start(1024 * 1024, (request, response) => {
    if (request.url === '/small') return void response.end('ok');
    const more = (): void => {
      while (response.write(chunk));
      response.once('drain', more);
    };
    more();
  });
  const open = new Set<Socket>();
  for (let i = 0; i < 12; i++) {
    const socket = connect(rig.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.on('close', () => open.delete(socket));
    open.add(socket);
    cleanups.push(() => socket.destroy());
    socket.write('GET /endless HTTP/1.1\r\nhost: orders\r\n\r\n');
    // Never read: the sidecar keeps what the kernel does not take.
  }
  await until('one is ended', () => rig.count('guards', 'outbound', 'shed') > 0);
  await until('there is room again', async () => (await rig.dump()).connections < 12);
  await until('calls are answered', async () => {
    const request = http.get({ ...ORDERS(), path: '/small', agent: false, headers: { host: 'orders' } });
    const answer = await Promise.race([
      once(request, 'response').then(([response]) => (response as http.IncomingMessage).statusCode),
      once(request, 'error').then(() => 0),
    ]).catch(() => 0);
    return answer === 200;
  });
  for (const socket of open) socket.destroy();
  await until('nothing is held any more', async () => (await rig.dump()).heldBytes === 0);
});

function ORDERS() {
  return { host: '127.0.0.1', port: rig.port };
}
