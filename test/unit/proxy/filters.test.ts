// What route filters do to heads: header edits, rewrites, redirects.

import type { MessageInitShape } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import type { PathRewriteSchema } from '../../../proto/gen/weft/policy/v1/route_pb.js';
import { RouteFilterSchema } from '../../../proto/gen/weft/policy/v1/route_pb.js';
import type { CompileError } from '../../../sidecar/config/compile-match.ts';
import { applyHeaderEdit } from '../../../sidecar/filters/header-edit/run.ts';
import { redirectHead } from '../../../sidecar/filters/redirect/run.ts';
import { compileFilters } from '../../../sidecar/filters/registry.ts';
import { applyRewrite } from '../../../sidecar/filters/rewrite/run.ts';
import { headerValue } from '../../../sidecar/wire/headers.ts';
import { Head } from '../../../sidecar/wire/stream.ts';

function compile(...filters: MessageInitShape<typeof RouteFilterSchema>['filter'][]) {
  const errors: CompileError[] = [];
  const messages = filters.map((filter) => create(RouteFilterSchema, filter === undefined ? {} : { filter }));
  const compiled = compileFilters(messages, 'filters', errors);
  return { compiled, errors };
}

const full = (value: string): MessageInitShape<typeof PathRewriteSchema> => ({ rewrite: { case: 'full', value } });
const prefix = (value: string): MessageInitShape<typeof PathRewriteSchema> => ({ rewrite: { case: 'prefix', value } });

test('header edits remove, then set, then add; names in lower case', () => {
  const { compiled, errors } = compile({
    case: 'requestHeaders',
    value: { remove: ['X-Old', 'b'], set: { A: '1' }, add: { B: '2' } },
  });
  expect(errors).toEqual([]);
  const headers = ['x-old', 'x', 'a', '0', 'b', '1', 'a', '9'];
  if (compiled.requestHeaders === null) throw new Error('did not compile');
  applyHeaderEdit(compiled.requestHeaders, headers);
  expect(headers).toEqual(['a', '1', 'b', '2']);
  expect(compiled).toMatchObject({ redirect: null, rewrite: null, responseHeaders: null });
});

test.each<[string, MessageInitShape<typeof PathRewriteSchema>, number, string]>([
  ['/a/b?q=1', prefix('/c'), 2, '/c/b?q=1'],
  ['/a/b', prefix('/'), 2, '/b'],
  ['/a', prefix('/'), 2, '/'],
  ['/a?q', prefix('/'), 2, '/?q'],
  ['/a/', prefix('/c/'), 2, '/c/'],
  ['/x', prefix('/c'), 0, '/c/x'],
  ['/a/b?q=1', full('/z'), 2, '/z?q=1'],
  ['/a', full('/'), 2, '/'],
  ['*', full('/z'), 0, '*'],
])('rewrite of %s by %j', (path, rewrite, prefixLength, expected) => {
  const { compiled, errors } = compile({ case: 'rewrite', value: { path: rewrite, host: 'Other.shop' } });
  expect(errors).toEqual([]);
  const head = Head.request('GET', 'http', 'orders', path, []);
  if (compiled.rewrite === null) throw new Error('did not compile');
  applyRewrite(compiled.rewrite, head, prefixLength);
  expect(head.path).toBe(expected);
  expect(head.authority).toBe('other.shop');
});

type RedirectInit = Extract<
  NonNullable<MessageInitShape<typeof RouteFilterSchema>['filter']>,
  { case: 'redirect' }
>['value'];

test.each<[string, string, NonNullable<RedirectInit>, number, string]>([
  ['orders:80', '/a?q', { scheme: 'https' }, 302, 'https://orders/a?q'],
  ['orders:80', '/a', { status: 308 }, 308, 'http://orders:80/a'],
  [
    'orders',
    '/a',
    { host: 'Shop.example', port: 8443, scheme: 'https', status: 301 },
    301,
    'https://shop.example:8443/a',
  ],
  ['orders:8080', '/a', { scheme: 'https', port: 443 }, 302, 'https://orders/a'],
  ['[::1]:80', '/a', { port: 81 }, 302, 'http://[::1]:81/a'],
  ['[::1]', '/a', { port: 81 }, 302, 'http://[::1]:81/a'],
  ['orders', '/a/b', { path: prefix('/c') }, 302, 'http://orders/c/b'],
  // A path is never read as a host.
  ['orders', '//evil.test/', {}, 302, 'http://orders//evil.test/'],
])('redirect of %s%s by %j', (authority, path, value, status, location) => {
  const { compiled, errors } = compile({ case: 'redirect', value });
  expect(errors).toEqual([]);
  if (compiled.redirect === null) throw new Error('did not compile');
  const head = redirectHead(compiled.redirect, Head.request('GET', 'http', authority, path, []), 2);
  expect(head.status).toBe(status);
  expect(headerValue(head.headers, 'location')).toBe(location);
});

test.each<[string, MessageInitShape<typeof RouteFilterSchema>['filter'], string]>([
  ['path with a query', { case: 'rewrite', value: { path: full('/a?b') } }, 'filters[0].rewrite.path.full'],
  ['dot segments', { case: 'rewrite', value: { path: prefix('/a/..') } }, 'filters[0].rewrite.path.prefix'],
  ['escaped slash', { case: 'redirect', value: { path: full('/a%2Fb') } }, 'filters[0].redirect.path.full'],
  ['host with a path', { case: 'redirect', value: { host: 'a/b' } }, 'filters[0].redirect.host'],
  ['odd scheme', { case: 'redirect', value: { scheme: 'ftp' } }, 'filters[0].redirect.scheme'],
  ['odd status', { case: 'redirect', value: { status: 200 } }, 'filters[0].redirect.status'],
  ['bad name', { case: 'requestHeaders', value: { add: { 'a b': '' } } }, 'filters[0].request_headers.add["a b"]'],
])('%s is refused', (_, filter, path) => {
  expect(compile(filter).errors.map((error) => error.path)).toEqual([path]);
});

test('redirect and rewrite exclude each other', () => {
  const { errors } = compile({ case: 'redirect', value: {} }, { case: 'rewrite', value: {} });
  expect(errors.map((error) => error.path)).toEqual(['filters']);
});
