// The words of HTTP that policies may say, and what is offered instead of others.
import { expect, test } from 'vitest';
import {
  headerNameMistake,
  headerValueMistake,
  methodMistake,
  queryNameMistake,
} from '../../../proto/kit/http-words.ts';
import { grpcNameMistake, pathMistake, rewritePathMistake } from '../../../proto/kit/path.ts';

test.each([
  ['GET', null],
  ["!#$%&'*+-.^_`|~09aZ", null], // RFC 9110 §5.6.2: every mark of a token
  ['purge', null],
  ['', 'write one method'],
  ['get it', 'write one method'],
  ['GÉT', 'write one method'],
  ['Get', 'write `GET`'],
])('method %j: %s', (method, fix) => {
  if (fix === null) expect(methodMistake(method)).toBeNull();
  else expect(methodMistake(method)?.fix).toContain(fix);
});

test.each([
  ['x-a', null, null],
  ['a'.repeat(256), null, null],
  ['a'.repeat(257), 'write 1 to 256', 'write 1 to 256'],
  ['', 'write 1 to 256', 'write 1 to 256'],
  ['a:b', 'write 1 to 256', 'write 1 to 256'],
  [':path', 'match `path`', 'use a rewrite filter with `path`'],
  [':Authority', 'name the host under `hosts`', 'use a rewrite filter with `host`'],
  [':status', 'remove it', 'remove it'],
  ['HOST', 'name the host under `hosts`', 'use a rewrite filter with `host`'],
  ['Connection', 'remove it', 'remove it'],
  ['transfer-encoding', 'remove it', 'remove it'],
  ['content-length', null, 'remove it'],
  ['te', null, 'remove it'],
  ['trailer', null, 'remove it'],
])('header %j: to match %s, to edit %s', (name, match, edit) => {
  expect(headerNameMistake(name, 'match')?.fix.slice(0, match?.length) ?? null).toBe(match);
  expect(headerNameMistake(name, 'edit')?.fix.slice(0, edit?.length) ?? null).toBe(edit);
});

test.each([
  ['', true, true, true],
  ['a\tb é', true, true, true],
  [' a', false, false, true],
  ['a ', false, true, false],
  ['a\r\nb', false, false, false],
  ['a\0', false, false, false],
  ['\x7f', false, false, false],
  ['€', false, false, false],
])('header value %j: whole %s, start %s, end %s', (value, whole, start, end) => {
  expect(headerValueMistake(value, 'whole') === null).toBe(whole);
  expect(headerValueMistake(value, 'start') === null).toBe(start);
  expect(headerValueMistake(value, 'end') === null).toBe(end);
});

test.each([
  ['a b[]', true],
  ['100%', true],
  ['?a', false],
  ['a=b', false],
  ['a&b', false],
  ['%5B', false],
])('query parameter %j: %s', (name, good) => {
  expect(queryNameMistake(name) === null).toBe(good);
});

test.each([
  ['/a', 'whole', null],
  ['/a/', 'start', null],
  ['/a/.', 'start', null],
  ['/a/..', 'start', null],
  ['/%E3%8', 'start', null],
  ['.json', 'end', null],
  ['/..', 'whole', 'leads above the root'],
  ['/a//', 'start', 'write `/a/`'],
  ['/a/../b', 'start', 'write `/b`'],
  ['/%e3', 'whole', 'write `/%E3`'],
  ['/a%2Fb', 'end', 'escaped slash'],
  ['/a?b', 'whole', 'remove what begins with "?"'],
  ['a', 'start', 'write `/a`'],
  ['', 'start', 'use `present`'],
  ['//a', 'end', 'write `/a`'],
  ['/a b', 'end', 'must be escaped'],
] as const)('path %j as %s: %s', (value, part, fix) => {
  if (fix === null) expect(pathMistake(value, part)).toBeNull();
  else expect(pathMistake(value, part)?.fix).toContain(fix);
});

test.each([
  ['/a.b/~c/%E3', null],
  ['/', null],
  ['/a//b', 'write `/a/b`'],
  ['/a?b', 'escape other characters'],
  ['/a"b', 'escape other characters'],
  ['/a%zz', 'escape other characters'],
])('rewrite to %j: %s', (value, fix) => {
  if (fix === null) expect(rewritePathMistake(value)).toBeNull();
  else expect(rewritePathMistake(value)?.fix).toContain(fix);
});

test.each([
  ['shop.v1.Orders', 'service', true],
  ['Orders', 'service', true],
  ['', 'service', true],
  ['.Orders', 'service', false],
  ['shop.v1/Orders', 'service', false],
  ['1shop', 'service', false],
  ['Get_1', 'method', true],
  ['Orders.Get', 'method', false],
  ['', 'method', true],
] as const)('gRPC name %j as %s: %s', (name, what, good) => {
  expect(grpcNameMistake(name, what) === null).toBe(good);
});
