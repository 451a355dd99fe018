// What `explain` and the admin dump say of endpoints, held against where a worker really sends: who is chosen from, who
// is out, and why.
import { expect, test } from 'vitest';
import { Protocol } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { callHttp } from '../support/apps.ts';
import { useApps, useWorkerRig } from '../support/use.ts';
import { endpoint, route, service } from '../support/worker-rig.ts';

const rig = useWorkerRig();
const apps = useApps();

const named = (name: string, status = 200) =>
  apps.http((_request, response) => void response.writeHead(status).end(name));

interface Explained {
  readonly backends: readonly (Record<string, unknown> & { readonly endpoints: readonly Record<string, unknown>[] })[];
}

const backends = async (authority = 'orders') => ((await rig.explain({ authority })) as Explained).backends;

test('a backend with labels lists the endpoints that have them, and says of the others why not', async () => {
  const [one, two] = [await named('one'), await named('two')];
  await rig.apply(
    service('shop/orders'),
    endpoint('shop/orders', one, { version: 'v1' }),
    endpoint('shop/orders', two, { version: 'v2', zone: 'a' }),
    route('shop/r', {
      services: ['shop/orders'],
      rules: [{ backends: [{ service: 'shop/orders', labels: { version: 'v2' }, weight: 1 }] }],
    }),
  );
  expect((await callHttp(rig.port, 'orders')).body).toBe('two');
  expect(await rig.explain({ authority: 'orders' })).toMatchObject({ decision: 'sent', filters: {} });
  const [backend] = await backends();
  expect(backend).toMatchObject({ service: 'shop/orders', labels: 'version=v2' });
  expect(backend?.endpoints).toEqual([
    {
      name: `shop/orders/${two}`,
      labels: expect.stringMatching(/^(version=v2,zone=a|zone=a,version=v2)$/),
      takesRequests: true,
      health: 'serving',
      inFlight: 0,
    },
  ]);
  expect(backend?.['others']).toEqual([
    { name: `shop/orders/${one}`, why: 'it has the labels version=v1, and the rule wants version=v2' },
  ]);
});

test('labels that nobody has are the reason for a 503', async () => {
  await rig.apply(
    service('shop/orders'),
    endpoint('shop/orders', await named('one')),
    route('shop/r', {
      services: ['shop/orders'],
      rules: [{ backends: [{ service: 'shop/orders', labels: { version: 'v9' }, weight: 1 }] }],
    }),
  );
  expect((await callHttp(rig.port, 'orders')).status).toBe(503);
  expect(await rig.explain({ authority: 'orders' })).toMatchObject({ decision: 'refused', status: 503 });
  expect((await backends())[0]).toMatchObject({
    why: 'none of the 1 endpoints of shop/orders has the labels version=v9',
    endpoints: [],
    others: [{ why: 'it has the labels (none), and the rule wants version=v9' }],
  });
});

test('an ejected endpoint takes no requests, and says for how long', async () => {
  const [bad, good] = [await named('bad', 500), await named('good')];
  await rig.apply(
    service('shop/orders', { outlierDetection: { consecutiveFailures: 1, ejectionBase: { seconds: 60n } } }),
    endpoint('shop/orders', bad),
    endpoint('shop/orders', good),
  );
  let ejected = false;
  for (let i = 0; i < 40 && !ejected; i++) ejected = (await callHttp(rig.port, 'orders')).status === 500;
  const endpoints = (await backends())[0]?.endpoints ?? [];
  expect(endpoints.find((one) => one['name'] === `shop/orders/${bad}`)).toMatchObject({
    takesRequests: false,
    health: expect.stringMatching(/^ejected for \d+ ms more$/),
  });
  expect(endpoints.find((one) => one['name'] === `shop/orders/${good}`)).toMatchObject({ takesRequests: true });
});

test('with too few healthy ones their health is ignored, as the data path does', async () => {
  const [bad, good] = [await named('bad', 500), endpoint('shop/orders', await named('good'))];
  const outlierDetection = { consecutiveFailures: 1, ejectionBase: { seconds: 60n } };
  await rig.apply(service('shop/orders', { outlierDetection }), endpoint('shop/orders', bad), good);
  let ejected = false;
  for (let i = 0; i < 40 && !ejected; i++) ejected = (await callHttp(rig.port, 'orders')).status === 500;
  await rig.remove(good);
  expect((await callHttp(rig.port, 'orders')).body).toBe('bad');
  const [one] = (await backends())[0]?.endpoints ?? [];
  expect(one).toMatchObject({
    takesRequests: true,
    health: expect.stringMatching(/^ejected for \d+ ms more; health is ignored, since too few are healthy$/),
  });
});

test('the port that the caller names is the one that is explained, and one that speaks TCP is refused', async () => {
  const ports = [{ port: 80 }, { port: 81 }, { port: 90, protocol: Protocol.TCP }];
  const backend = { service: 'shop/orders', weight: 1 };
  await rig.apply(
    service('shop/orders', { ports }),
    route('shop/r', { services: ['shop/orders'], rules: [{ backends: [backend] }] }),
  );
  expect((await backends('orders:81'))[0]).toMatchObject({ port: 81 });
  expect((await backends('orders:90'))[0]).toMatchObject({ why: expect.stringContaining('is opaque TCP') });
  expect(await rig.explain({ authority: 'orders:90' })).toMatchObject({ decision: 'refused', status: 404 });
  expect((await callHttp(rig.port, 'orders:90')).status).toBe(404);
});

test('a Service without endpoints is a cluster of the dump, and explain says what is missing', async () => {
  await rig.apply(service('shop/orders'), service('shop/stock'), endpoint('shop/orders', await named('one')));
  const { clusters } = await rig.dump();
  const shown = { direction: 'outbound', port: 80, requestsMax: 1024 };
  expect(clusters).toEqual([
    { ...shown, service: 'shop/orders', endpoints: 1, takeRequests: 1 },
    { ...shown, service: 'shop/stock', endpoints: 0, takeRequests: 0 },
  ]);
  expect((await backends('stock'))[0]).toMatchObject({
    why: expect.stringContaining('weft get endpoints'),
    endpoints: [],
  });
});
