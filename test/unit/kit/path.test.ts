// What is decided on is what is forwarded: one row per way a path can lie.

import { describe, expect, test } from 'vitest';
import { normalizePath } from '../../../proto/kit/path.ts';

describe('CVE class 7: normalizePath', () => {
  test.each([
    ['/', '/', null],
    ['/a/b.c', '/a/b.c', null],
    ['/a/', '/a/', null],
    ['/a?x=1&y=%2F..', '/a', 'x=1&y=%2F..'],
    ['/a?', '/a', ''],
    ['/a/./b', '/a/b', null],
    ['/a/../b', '/b', null],
    ['/a/b/..', '/a/', null],
    ['/a/.', '/a/', null],
    ['/a//b', '/a/b', null],
    ['//a', '/a', null],
    ['/a//', '/a/', null],
    ['/a//..', '/', null],
    ['/%61%7e%2D', '/a~-', null],
    ['/a%c3%a4', '/a%C3%A4', null],
    ['/...', '/...', null],
    ['/.hidden', '/.hidden', null],
    ['/..a/b', '/..a/b', null],
    ['/a%3Fb', '/a%3Fb', null],
  ])('%s becomes %s', (target, path, query) => {
    expect(normalizePath(target)).toEqual({ path, query, error: null });
  });

  test.each([
    ['', 'starts with'],
    ['a', 'starts with'],
    ['*', 'starts with'],
    ['http://orders/', 'starts with'],
    ['/admin#x', 'fragment'], // CVE-2021-32779
    ['/a?b#c', 'fragment'],
    ['/a%2Fb', 'escaped slash'], // CVE-2021-29492
    ['/a%5cb', 'escaped slash'],
    ['/a%00', 'escaped slash'],
    ['/a%252f', 'escaped slash'],
    ['/a/%2e%2E/b', 'dot segment'],
    ['/a/.%2e', 'dot segment'],
    ['/a/%2e', 'dot segment'],
    ['/..', 'above the root'],
    ['/a/../../b', 'above the root'],
    ['/a\\b', 'must be escaped'],
    ['/a b', 'must be escaped'],
    ['/ä', 'must be escaped'],
    ['/a\n', 'must be escaped'],
    ['/a%', 'hexadecimal'],
    ['/a%4', 'hexadecimal'],
    ['/a%zz', 'hexadecimal'],
    ['/a?b\r', 'query'],
    [`/${'a'.repeat(65_536)}`, 'too long'],
  ])('%j is refused: %s', (target, why) => {
    expect(normalizePath(target).error).toContain(why);
  });

  test('refuses doubled slashes on request', () => {
    expect(normalizePath('/a//b', { slashes: 'refuse' }).error).toContain('empty segment');
    expect(normalizePath('/a/b', { slashes: 'refuse' }).path).toBe('/a/b');
  });

  test('normalizing twice changes nothing', () => {
    for (const target of ['/a/./b/../c//d/', '/%61//%C3', '/x/..', '/a/.', '/%7Ea/b/..']) {
      const once = normalizePath(target).path as string;
      expect(normalizePath(once).path).toBe(once);
    }
  });
});
