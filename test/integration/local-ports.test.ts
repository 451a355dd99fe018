// `spec.localPort` of a Service: a port of its own on localhost in every caller's sidecar.
import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import type { ListenerConfig } from '../../sidecar/base/messages.ts';
import { LocalPorts } from '../../sidecar/workers/local-ports.ts';
import { callHttp } from '../support/apps.ts';
import { freePort } from '../support/ports.ts';
import { useApps, useSidecars } from '../support/use.ts';
import { endpoint, service, until } from '../support/worker-rig.ts';

const apps = useApps();
const processes = useSidecars();

test.each(['1', '2'])('is opened by %s workers, whatever Host says, and is nobody else’s', async (workers) => {
  const port = await freePort();
  const app = await apps.http((request, response) => void response.end(`orders for ${request.headers.host}`));
  const snapshot = processes.snapshot([service('shop/orders', { localPort: port }), endpoint('shop/orders', app)]);
  const first = await processes.start(['--snapshot', snapshot, '--workers', workers]);
  await until('it is opened', () => first.err.includes(`shop/orders is at 127.0.0.1:${port}`));
  let body = '';
  await until('it answers', async () => {
    body = await callHttp(port, 'anything').then(
      (answer) => answer.body,
      () => '',
    );
    return body !== '';
  });
  expect(body).toBe('orders for orders.shop');

  const second = await processes.start(['--snapshot', snapshot]);
  await until('the second says so', () => second.err.includes(`127.0.0.1:${port} is in use`));
  expect(second.err).toContain('choose another spec.localPort');
  expect((await callHttp(second.ports.outbound as number, 'orders.shop')).status).toBe(200);
  first.child.kill('SIGTERM');
  expect(await first.ended()).toBe(0);
});

test('comes, changes hands and goes with the config; a complaint is told once', async () => {
  const [port, other] = [await freePort(), await freePort()];
  const taken = createServer().listen(other, '127.0.0.1');
  await once(taken, 'listening');
  const told: (readonly ListenerConfig[])[] = [];
  const warned: string[] = [];
  const ports = new LocalPorts({
    host: '127.0.0.1',
    reusePort: false,
    held: new Set([1]),
    listen: (listeners) => void told.push(listeners),
    info() {},
    warn: (sentence) => void warned.push(sentence),
  });
  const open = (): unknown => told.at(-1)?.map((one) => [one.service, one.port]);
  await ports.update([]);
  expect(told).toEqual([]);
  await ports.update([{ service: 'shop/a', port }]);
  await ports.update([{ service: 'shop/a', port }]);
  expect([told.length, open()]).toEqual([1, [['shop/a', port]]]);
  const wanted = [
    { service: 'shop/b', port },
    { service: 'shop/c', port: other },
    { service: 'shop/d', port: 1 },
  ];
  await ports.update(wanted);
  await ports.update(wanted);
  expect([told.length, open()]).toEqual([2, [['shop/b', port]]]);
  expect(warned.map((sentence) => sentence.slice(0, sentence.indexOf(';')))).toEqual([
    `Service shop/c asks for local port ${other}, which is not to be had: 127.0.0.1:${other} is in use`,
    'Service shop/d asks for local port 1, which is not to be had: 127.0.0.1:1 is in use by this sidecar itself',
  ]);
  taken.close();
  await once(taken, 'close');
  await ports.update(wanted.slice(1, 2));
  expect(open()).toEqual([['shop/c', other]]);
});
