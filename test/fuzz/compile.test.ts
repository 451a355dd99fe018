// What crosses into compile is anything a control plane of any version may send: arbitrary bytes that decode, and
// arbitrary values in known fields. Nothing throws; what is in error never allows.

import { create, fromBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AuthorizationSchema, RouteSchema, ServiceSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { compileRoute } from '../../sidecar/config/compile-route.ts';
import { buildRouteTable } from '../../sidecar/config/compile-table.ts';
import { assembleAuthorization, compileAuthorization } from '../../sidecar/filters/authorization/compile.ts';
import { authorize } from '../../sidecar/filters/authorization/run.ts';
import { explainRoute, matchRoute } from '../../sidecar/proxy/route.ts';
import { Head } from '../../sidecar/wire/stream.ts';
import { fuzz, fuzzTimeoutMs } from '../support/fuzz.ts';

// Expressions are not what is fuzzed here: a literal stands for each, and some are refused.
const regex = (source: string) =>
  source.length % 3 === 0 ? { error: 'refused' } : { test: (value: string) => value === source };

const text = fc.oneof(
  fc.constantFrom(
    '',
    '/',
    '/a',
    '/a/b',
    '//',
    '/..',
    '/%2f',
    'GET',
    'POST',
    'a',
    'shop/orders',
    'spiffe://t/ns/a/sa/b',
    'x\r\ny',
  ),
  fc.string({ unit: 'grapheme', maxLength: 20 }),
);
const texts = fc.array(text, { maxLength: 3 });
const list = <T>(item: fc.Arbitrary<T>) => fc.array(item, { maxLength: 3 });
const uint = fc.oneof(fc.nat(100), fc.nat(4_294_967_295));
const oneOf = (...cases: string[]) => fc.record({ case: fc.constantFrom(...cases), value: text });
const some = <T>(item: fc.Arbitrary<T>) => fc.option(item, { nil: undefined });
const labels = fc.dictionary(text, text, { maxKeys: 3, noNullPrototype: true });
const duration = fc.record({ seconds: fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), nanos: fc.integer() });
const stringMatch = fc.oneof(
  fc.constant({}),
  fc.record({ match: oneOf('exact', 'prefix', 'suffix', 'regex') }),
  fc.record({ match: fc.record({ case: fc.constant('present'), value: fc.boolean() }) }),
);
const named = fc.record({ name: text, value: some(stringMatch) });
const pathRewrite = fc.oneof(fc.constant({}), fc.record({ rewrite: oneOf('full', 'prefix') }));
const edit = fc.record({ set: labels, add: labels, remove: texts });
const filter = fc.oneof(
  fc.constant({}),
  fc.record({ filter: fc.record({ case: fc.constantFrom('requestHeaders', 'responseHeaders'), value: edit }) }),
  fc.record({
    filter: fc.record({
      case: fc.constantFrom('redirect', 'rewrite'),
      value: fc.record({ host: text, path: some(pathRewrite), scheme: text, port: uint, status: uint }),
    }),
  }),
);
const routeRule = fc.record({
  name: text,
  matches: list(
    fc.record({
      path: some(fc.oneof(fc.constant({}), fc.record({ match: oneOf('exact', 'prefix', 'regex') }))),
      method: text,
      headers: list(named),
      query: list(named),
      grpc: some(fc.record({ service: text, method: text })),
    }),
  ),
  filters: list(filter),
  backends: list(fc.record({ service: text, port: uint, weight: some(uint), labels })),
  timeouts: some(fc.record({ request: some(duration), perTry: some(duration), idle: some(duration) })),
  retry: some(
    fc.record({
      attempts: some(uint),
      on: list(fc.integer()),
      backoffBase: some(duration),
      backoffMax: some(duration),
    }),
  ),
});
const authorizationRule = fc.record({
  name: text,
  from: list(fc.oneof(fc.constant({}), fc.record({ caller: oneOf('serviceAccount', 'namespace', 'spiffeId') }))),
  to: list(fc.record({ methods: texts, paths: list(stringMatch), ports: list(uint) })),
});

/** fast-check's records are wider than the message types, which is the point. */
function build<S extends Parameters<typeof create>[0]>(schema: S, init: unknown) {
  return create(schema, init as Parameters<typeof create<S>>[1]);
}

const SERVICE = create(ServiceSchema, { name: 'shop/orders', ports: [{ port: 80 }] });

function checkRoute(message: Parameters<typeof compileRoute>[0], path: string): void {
  const { route, errors } = compileRoute(message, regex);
  expect(route === null).toBe(errors.length > 0);
  const { table } = buildRouteTable([SERVICE], route === null ? [] : [{ ...route, services: ['shop/orders'] }], 'shop');
  const head = Head.request('GET', 'http', 'orders', path, ['a', '/a']);
  const matched = matchRoute(table, head);
  const explained = explainRoute(table, head);
  expect(explained.route).toBe(matched);
  // Two algorithms, one answer: the tree, and the list with its reasons.
  const first = explained.reasons.find((reason) => reason.rejected === null);
  expect(first?.rule).toBe(matched?.rule.name);
}

function checkAuthorization(message: Parameters<typeof compileAuthorization>[0], path: string): void {
  const { policy, errors } = compileAuthorization(message, regex);
  const service = assembleAuthorization('shop/orders', 't', [{ ...policy, services: ['shop/orders'] }]);
  const verdict = authorize(
    service,
    { spiffeId: 'spiffe://t/ns/shop/sa/a', trustDomain: 't', namespace: 'shop' },
    'GET',
    path,
    80,
  );
  if (errors.length > 0 && policy.action === 'DENY') expect(verdict.allowed).toBe(false);
  if (policy.action === 'ALLOW' && policy.rules.length === 0) expect(verdict.allowed).toBe(false);
}

const requestPath = fc.constantFrom('/', '/a', '/a/b', '/a/b/c?x=1', '*', '');

test('arbitrary values in known fields of Routes', { timeout: fuzzTimeoutMs() }, () => {
  const property = fc.property(text, texts, list(routeRule), requestPath, (name, services, rules, path) => {
    checkRoute(build(RouteSchema, { name, services, rules }), path);
  });
  fuzz('compile of Routes', property);
});

test('arbitrary values in known fields of Authorizations', { timeout: fuzzTimeoutMs() }, () => {
  const rules = list(authorizationRule);
  const property = fc.property(text, texts, fc.nat(3), rules, requestPath, (name, services, action, some, path) => {
    checkAuthorization(build(AuthorizationSchema, { name, services, action, rules: some }), path);
  });
  fuzz('compile of Authorizations', property);
});

test('arbitrary bytes, where they decode', { timeout: fuzzTimeoutMs() }, () => {
  const property = fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
    const route = decode(() => fromBinary(RouteSchema, bytes));
    if (route !== null) checkRoute(route, '/a');
    const authorization = decode(() => fromBinary(AuthorizationSchema, bytes));
    if (authorization !== null) checkAuthorization(authorization, '/a');
  });
  fuzz('compile of bytes', property);
});

/** Bytes that are no message are the decoder's matter. */
function decode<T>(parse: () => T): T | null {
  try {
    return parse();
  } catch {
    return null;
  }
}
