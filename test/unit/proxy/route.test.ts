// Which rule decides a request: the order of specificity, hosts, weights, and that `explain` says the same.

import type { MessageInitShape } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { RouteSchema, ServiceSchema } from '../../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { RouteMatchSchema, RouteRuleSchema } from '../../../proto/gen/weft/policy/v1/route_pb.js';
import { linearRegex } from '../../../sidecar/config/compile-match.ts';
import { compileRoute } from '../../../sidecar/config/compile-route.ts';
import { buildRouteTable } from '../../../sidecar/config/compile-table.ts';
import type { RouteTable } from '../../../sidecar/proxy/route.ts';
import { explainRoute, matchHost, matchRoute, pickBackend } from '../../../sidecar/proxy/route.ts';
import { Head } from '../../../sidecar/wire/stream.ts';

const ORDERS = create(ServiceSchema, { name: 'shop/orders', ports: [{ port: 80 }] });
const CART = create(ServiceSchema, { name: 'web/cart', ports: [{ port: 8080 }] });

function compile(rules: MessageInitShape<typeof RouteRuleSchema>[], name = 'shop/r') {
  return compileRoute(create(RouteSchema, { name, services: ['shop/orders'], rules }), linearRegex);
}

function table(...rules: MessageInitShape<typeof RouteRuleSchema>[]): RouteTable {
  const { route, errors } = compile(rules);
  expect(errors).toEqual([]);
  const built = buildRouteTable([ORDERS, CART], route === null ? [] : [route], 'shop');
  expect(built.errors).toEqual([]);
  return built.table;
}

function rule(name: string, ...matches: MessageInitShape<typeof RouteMatchSchema>[]) {
  return { name, matches, backends: [{ service: 'shop/orders' }] };
}

const exact = (value: string) => ({ path: { match: { case: 'exact' as const, value } } });
const prefix = (value: string) => ({ path: { match: { case: 'prefix' as const, value } } });
const regexp = (value: string) => ({ path: { match: { case: 'regex' as const, value } } });
const named = (name: string, value: string) => ({ name, value: { match: { case: 'exact' as const, value } } });

const TABLE = table(
  rule('any'),
  rule('root-exact', exact('/')),
  rule('a', prefix('/a')),
  rule('ab', prefix('/a/b')),
  rule('ab-post', { ...prefix('/a/b'), method: 'POST' }),
  rule('abc-del', { ...prefix('/a/b/c'), method: 'DELETE' }),
  rule('exact', exact('/a/b/x')),
  rule('exact-v2', { ...exact('/a/b/x'), headers: [named('X-Ver', '1, 2')] }),
  rule('regex', regexp('/r[0-9]+')),
  rule('query', { ...exact('/q'), query: [named('k', 'v w')] }),
  rule('slash', prefix('/s/')),
  rule('grpc-one', { grpc: { service: 'p.S', method: 'M' } }),
  rule('grpc-service', { grpc: { service: 'p.S' } }),
  rule('grpc-method', { grpc: { method: 'Get' } }),
);

const GRPC = ['content-type', 'application/grpc+proto'];

describe('the most specific match wins', () => {
  test.each<[string, string, string[], string]>([
    ['GET', '/', [], 'root-exact'],
    ['GET', '/?x=1', [], 'root-exact'],
    ['GET', '/other', [], 'any'],
    ['GET', '/a', [], 'a'],
    ['GET', '/a?b=/a/b', [], 'a'],
    ['GET', '/a/', [], 'a'],
    ['GET', '/ab', [], 'any'],
    ['GET', '/a/bc', [], 'a'],
    ['GET', '/a/b', [], 'ab'],
    ['POST', '/a/b/z', [], 'ab-post'],
    ['GET', '/a/b/c/d', [], 'ab'],
    ['DELETE', '/a/b/c/d', [], 'abc-del'],
    ['GET', '/a/b/x', [], 'exact'],
    ['POST', '/a/b/x', [], 'exact'],
    ['GET', '/a/b/x/', [], 'ab'],
    ['GET', '/a/b/x', ['x-ver', '1'], 'exact'],
    ['GET', '/r12', [], 'regex'],
    ['GET', '/r12?x', [], 'regex'],
    ['GET', '/r12x', [], 'any'],
    ['GET', '/q?k=v+w', [], 'query'],
    ['GET', '/q?k=v%20w&k=z', [], 'query'],
    ['GET', '/q?k=z', [], 'any'],
    ['GET', '/q', [], 'any'],
    ['GET', '/s', [], 'slash'],
    ['GET', '/s/x', [], 'slash'],
    ['POST', '/p.S/M', GRPC, 'grpc-one'],
    ['POST', '/p.S/N', GRPC, 'grpc-service'],
    ['POST', '/p.T/Get', GRPC, 'grpc-method'],
    ['POST', '/p.T/x/Get', GRPC, 'any'],
    ['POST', '/p.S/M', ['content-type', 'application/json'], 'any'],
    ['GET', '/p.S/M', GRPC, 'any'],
    ['OPTIONS', '*', [], 'any'],
    ['CONNECT', '', [], 'any'],
  ])('%s %s %j -> %s', (method, path, headers, expected) => {
    const head = Head.request(method, 'http', 'orders', path, headers);
    const route = matchRoute(TABLE, head);
    expect(route?.rule.name).toBe(`shop/r#${expected}`);
    const explained = explainRoute(TABLE, head);
    expect(explained.route).toBe(route);
    // The first route without a reason against it is the one taken.
    expect(explained.reasons.find((reason) => reason.rejected === null)?.rule).toBe(route?.rule.name);
    expect(explained.reasons.filter((reason) => reason.rejected === null)).toHaveLength(1);
  });

  test('CVE class 9: all values of a field are matched, joined (CVE-2021-32777)', () => {
    const head = Head.request('GET', 'http', 'orders', '/a/b/x', ['x-ver', '1', 'x-ver', '2']);
    expect(matchRoute(TABLE, head)?.rule.name).toBe('shop/r#exact-v2');
    expect(explainRoute(TABLE, head).route?.rule.name).toBe('shop/r#exact-v2');
  });

  test('a tree of many paths finds each of them', () => {
    const paths = Array.from({ length: 500 }, (_, i) => `/p${(i * 7919) % 1000}/${i % 10}`);
    const unique = [...new Set(paths)];
    const many = table(...unique.map((path) => rule(path.slice(1).replace('/', '-'), prefix(path))));
    for (const path of unique) {
      const route = matchRoute(many, Head.request('GET', 'http', 'orders', `${path}/end?x`, []));
      expect(route?.path).toBe(path);
    }
  });

  test('nothing matches: null, although the host is known', () => {
    expect(matchRoute(table(rule('only', exact('/x'))), Head.request('GET', 'http', 'orders', '/y', []))).toBeNull();
  });

  test('a Service without a Route has the default rule', () => {
    const built = buildRouteTable([ORDERS], [], 'shop');
    const route = matchRoute(built.table, Head.request('GET', 'http', 'orders', '/y', []));
    expect(route?.rule).toMatchObject({ name: '(default)', requestTimeoutMs: 15_000, idleTimeoutMs: 300_000 });
  });
});

test.each<[string, string | undefined]>([
  ['orders', 'shop/orders'],
  ['orders:80', 'shop/orders'],
  ['orders:9999', 'shop/orders'],
  ['orders.localhost:15001', 'shop/orders'],
  ['orders.shop', 'shop/orders'],
  ['orders.shop.mesh:80', 'shop/orders'],
  ['cart', undefined],
  ['cart.web', 'web/cart'],
  ['cart.web.mesh.', 'web/cart'],
  ['[::1]:80', undefined],
  ['', undefined],
])('host %s is %s', (authority, service) => {
  expect(matchHost(TABLE, authority)?.service).toBe(service);
});

describe('backends', () => {
  const { route } = compile([
    {
      backends: [
        { service: 'shop/v1', weight: 9, labels: { version: 'v1' } },
        { service: 'shop/off', weight: 0 },
        { service: 'shop/v2' },
      ],
    },
  ]);
  const backends = route?.routes[0]?.rule.backends ?? [];
  test.each([
    [0, 'shop/v1'],
    [0.899, 'shop/v1'],
    [0.9, 'shop/v2'],
    [0.999, 'shop/v2'],
  ])('random %d picks %s', (random, service) => {
    expect(pickBackend(backends, random)?.service).toBe(service);
  });
  test('labels are kept; no backend, no pick', () => {
    expect(backends[0]?.labels).toEqual(['version', 'v1']);
    expect(pickBackend([], 0)).toBeNull();
  });
});

describe('mistakes have a path', () => {
  test.each<[string, MessageInitShape<typeof RouteRuleSchema>, string]>([
    ['path of an unknown case', { matches: [{ path: {} }] }, 'rules[0].matches[0].path'],
    ['relative path', { matches: [exact('x')] }, 'rules[0].matches[0].path.exact'],
    ['path that normalization changes', { matches: [prefix('/a/../b')] }, 'rules[0].matches[0].path.prefix'],
    ['bad regex', { matches: [regexp('(')] }, 'rules[0].matches[0].path.regex'],
    ['lower-case method', { matches: [{ method: 'get' }] }, 'rules[0].matches[0].method'],
    ['grpc and path', { matches: [{ ...exact('/'), grpc: {} }] }, 'rules[0].matches[0].grpc'],
    ['header without value', { matches: [{ headers: [{ name: 'a' }] }] }, 'rules[0].matches[0].headers[0].value'],
    ['weights of 0', { backends: [{ service: 'a/b', weight: 0 }] }, 'rules[0].backends'],
    ['short backend name', { backends: [{ service: 'b' }] }, 'rules[0].backends[0].service'],
    ['negative timeout', { timeouts: { request: { seconds: -1n } } }, 'rules[0].timeouts.request'],
    ['endless timeout', { timeouts: { idle: { seconds: 9_000_000_000n } } }, 'rules[0].timeouts.idle'],
    ['unknown retry condition', { retry: { on: [99 as number] } }, 'rules[0].retry.on[0]'],
    ['too many attempts', { retry: { attempts: 11 } }, 'rules[0].retry.attempts'],
    ['filter of an unknown case', { filters: [{}] }, 'rules[0].filters[0]'],
    [
      'second filter of a kind',
      { filters: [{ filter: { case: 'rewrite', value: {} } }, { filter: { case: 'rewrite', value: {} } }] },
      'rules[0].filters[1]',
    ],
    [
      'header value that smuggles',
      { filters: [{ filter: { case: 'requestHeaders', value: { set: { a: 'x\r\nb: c' } } } }] },
      'rules[0].filters[0].request_headers.set["a"]',
    ],
    [
      'framing field',
      { filters: [{ filter: { case: 'responseHeaders', value: { remove: ['Content-Length'] } } }] },
      'rules[0].filters[0].response_headers.remove[0]',
    ],
    [
      'prefix rewrite of an exact match',
      {
        matches: [exact('/a')],
        filters: [{ filter: { case: 'rewrite', value: { path: { rewrite: { case: 'prefix', value: '/b' } } } } }],
      },
      'rules[0].matches[0]',
    ],
  ])('%s', (_, bad, path) => {
    const { route, errors } = compile([bad]);
    expect(route).toBeNull();
    expect(errors.map((error) => error.path)).toContain(path);
  });

  test('a newer field is reported, not ignored', () => {
    const message = create(RouteSchema, { name: 'shop/r', rules: [{}] });
    const first = message.rules[0];
    if (first === undefined) throw new Error('no rule');
    first.$unknown = [{ no: 77, wireType: 0, data: new Uint8Array([1]) }];
    expect(compileRoute(message, linearRegex)).toMatchObject({ route: null, errors: [{ path: 'rules[0]' }] });
  });

  test('two Routes that tie: the first by name stays, the other is named', () => {
    const a = compile([rule('one', exact('/x'))], 'shop/a').route;
    const b = compile([rule('two', exact('/x'))], 'shop/b').route;
    if (a === null || b === null) throw new Error('did not compile');
    const built = buildRouteTable([ORDERS], [b, a], 'shop');
    expect(built.errors.map((error) => error.path)).toEqual(['shop/b#two']);
    expect(matchRoute(built.table, Head.request('GET', 'http', 'orders', '/x', []))?.rule.name).toBe('shop/a#one');
  });
});

test('timeouts and retries: rounded up, 0 means none, attempts may be 0', () => {
  const { route } = compile([
    {
      timeouts: { request: { seconds: 0n }, perTry: { nanos: 1 } },
      retry: { attempts: 0, on: [2], backoffBase: { seconds: 1n } },
    },
  ]);
  expect(route?.routes[0]?.rule).toMatchObject({
    requestTimeoutMs: 0,
    perTryTimeoutMs: 1,
    idleTimeoutMs: 300_000,
    retry: { attempts: 0, onConnectFailure: false, onGatewayError: true, backoffBaseMs: 1000, backoffMaxMs: 1000 },
  });
});
