// Matches and filters of a Route through a real worker: what the application is asked, and what the caller is answered.
import { once } from 'node:events';
import http2 from 'node:http2';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { beforeEach, expect, test } from 'vitest';
import { type RouteRule, RouteRuleSchema } from '../../proto/gen/weft/policy/v1/route_pb.js';
import { callHttp } from '../support/apps.ts';
import { useApps, useWorkerRig } from '../support/use.ts';
import { endpoint, route, service } from '../support/worker-rig.ts';

const rig = useWorkerRig();
const apps = useApps();

beforeEach(async () => {
  const named = (name: string) =>
    apps.http((request, response) => {
      const told = Object.entries(request.headers).filter(([key]) => key.startsWith('x-'));
      response.setHeader('x-app', name);
      response.end(
        JSON.stringify({ name, url: request.url, host: request.headers.host, told: Object.fromEntries(told) }),
      );
    });
  const services = ['exact', 'prefix', 'regex', 'method', 'header', 'query', 'other'].map((name) => `shop/${name}`);
  await rig.apply(
    service('shop/orders'),
    endpoint('shop/orders', await named('orders')),
    ...services.map((name) => service(name)),
    ...(await Promise.all(services.map(async (name) => endpoint(name, await named(name.slice(5)))))),
  );
});

type Rule = MessageInitShape<typeof RouteRuleSchema>;

const rules = (...all: Rule[]): Promise<unknown> => {
  const made: RouteRule[] = all.map((rule) => create(RouteRuleSchema, rule));
  return rig.apply(route('shop/r', { services: ['shop/orders'], rules: made })).then((errors) => {
    expect(errors).toEqual([]);
  });
};
const to = (name: string) => [{ service: `shop/${name}` }];
const call = (path: string, options: { method?: string; headers?: Record<string, string> } = {}) =>
  callHttp(rig.port, 'orders', { path, ...options });

/** Which rule takes which request. */
const TAKEN: [string, string, { method?: string; headers?: Record<string, string> }][] = [
  ['exact', '/items', {}],
  ['exact', '/items?a=b', {}],
  ['prefix', '/items/1', {}],
  ['regex', '/v12/x', {}],
  ['other', '/vx/x', {}],
  ['method', '/any', { method: 'PURGE' }],
  ['header', '/any', { headers: { 'X-Beta': 'yes' } }],
  ['other', '/any', { headers: { 'X-Beta': 'no' } }],
  ['query', '/any?stage=canary', {}],
  ['other', '/any?stage=x', {}],
  ['other', '/itemsize', {}],
];

test('the most specific match decides: path, then method, headers and query', async () => {
  await rules(
    { matches: [{ path: { match: { case: 'exact', value: '/items' } } }], backends: to('exact') },
    { matches: [{ path: { match: { case: 'prefix', value: '/items' } } }], backends: to('prefix') },
    { matches: [{ path: { match: { case: 'regex', value: '/v[0-9]+/.*' } } }], backends: to('regex') },
    { matches: [{ method: 'PURGE' }], backends: to('method') },
    {
      matches: [{ headers: [{ name: 'x-beta', value: { match: { case: 'exact', value: 'yes' } } }] }],
      backends: to('header'),
    },
    {
      matches: [{ query: [{ name: 'stage', value: { match: { case: 'exact', value: 'canary' } } }] }],
      backends: to('query'),
    },
    { backends: to('other') },
  );
  const taken: typeof TAKEN = [];
  for (const [, path, options] of TAKEN) {
    const answer = await call(path, options);
    taken.push([answer.headers['x-app'] as string, path, options]);
  }
  expect(taken).toEqual(TAKEN);
});

test('a gRPC method is matched by service and name', async () => {
  await rules(
    { matches: [{ grpc: { service: 'shop.v1.Sums', method: 'One' } }], backends: to('exact') },
    { backends: to('other') },
  );
  const session = http2.connect(`http://127.0.0.1:${rig.port}`);
  apps.onClose(() => session.destroy());
  const grpc = async (path: string, type: string): Promise<unknown> => {
    const headers = { ':method': 'POST', ':authority': 'orders', ':path': path, 'content-type': type };
    const stream = session.request(headers, { endStream: true });
    const [answer] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders];
    stream.resume();
    return answer['x-app'];
  };
  expect(await grpc('/shop.v1.Sums/One', 'application/grpc')).toBe('exact');
  expect(await grpc('/shop.v1.Sums/Two', 'application/grpc')).toBe('other');
  expect(await grpc('/shop.v1.Sums/One', 'application/json')).toBe('other');
});

test('headers are edited on the way there and on the way back', async () => {
  const edits = (set: string, add: string, remove: string) => ({
    set: { 'x-set': set },
    add: { 'x-add': add },
    remove: [remove],
  });
  await rules({
    filters: [
      { filter: { case: 'requestHeaders', value: edits('there', 'more', 'x-gone') } },
      { filter: { case: 'responseHeaders', value: edits('back', 'again', 'x-app') } },
    ],
  });
  const answer = await call('/', { headers: { 'x-set': 'mine', 'x-add': 'mine', 'x-gone': 'mine' } });
  expect(JSON.parse(answer.body).told).toMatchObject({ 'x-set': 'there', 'x-add': 'mine, more' });
  expect(JSON.parse(answer.body).told).not.toHaveProperty('x-gone');
  expect(answer.headers).toMatchObject({ 'x-set': 'back', 'x-add': 'again' });
  expect(answer.headers).not.toHaveProperty('x-app');
});

test('a rewrite changes what the application is asked, and keeps the query', async () => {
  const prefix = { rewrite: { case: 'prefix' as const, value: '/new' } };
  await rules({
    matches: [{ path: { match: { case: 'prefix', value: '/old' } } }],
    filters: [{ filter: { case: 'rewrite', value: { host: 'inner.example', path: prefix } } }],
  });
  const answer = JSON.parse((await call('/old/a?b=c')).body);
  expect([answer.url, answer.host]).toEqual(['/new/a?b=c', 'inner.example']);
});

test('a redirect is answered here, without a call', async () => {
  const full = { rewrite: { case: 'full' as const, value: '/there' } };
  await rules({
    filters: [
      { filter: { case: 'redirect', value: { scheme: 'https', host: 'shop.example', path: full, status: 308 } } },
    ],
  });
  const answer = await call('/here');
  expect([answer.status, answer.headers['location']]).toEqual([308, 'https://shop.example/there']);
  expect(answer.headers).not.toHaveProperty('x-app');
});

test('a redirect that names no host leads back to where the caller called, also on a local port', async () => {
  const prefix = { rewrite: { case: 'prefix' as const, value: '/new' } };
  await rules({
    matches: [{ path: { match: { case: 'prefix', value: '/old' } } }],
    filters: [{ filter: { case: 'redirect', value: { path: prefix } } }],
  });
  const here = `localhost:${rig.localPort}`;
  const location = async (port: number, host: string) =>
    (await callHttp(port, host, { path: '/old/a' })).headers['location'];
  expect(await location(rig.localPort, here)).toBe(`http://${here}/new/a`);
  expect(await location(rig.port, 'orders')).toBe('http://orders/new/a');
});
