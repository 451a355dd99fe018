// The names of services as both programs read them.

import { describe, expect, test } from 'vitest';
import { hostsOf, normalizeHost, parseAuthority } from '../../../proto/kit/host.ts';

describe('CVE class 8: parseAuthority', () => {
  test.each([
    ['orders', 'orders', null],
    ['Orders.Shop:8080', 'orders.shop', 8080],
    ['orders.shop.mesh.', 'orders.shop.mesh', null],
    ['10.0.0.7:80', '10.0.0.7', 80],
    ['[::1]:80', '::1', 80],
    ['[2001:DB8::7]', '2001:db8::7', null],
    ['[::ffff:10.0.0.1]', '::ffff:10.0.0.1', null],
    ['[1:2:3:4:5:6:7:8]', '1:2:3:4:5:6:7:8', null],
    ['my_svc', 'my_svc', null],
  ])('%s is host %s, port %s', (authority, host, port) => {
    expect(parseAuthority(authority)).toEqual({ host, port });
  });

  test.each([
    '',
    ':80',
    'a:',
    'a:0',
    'a:65536',
    'a:8x',
    'a:+8',
    'user@a',
    'a..b',
    '-a',
    'a-',
    'a/b',
    'a b',
    'ä',
    '::1',
    '[::1',
    '[::1]x',
    '[]',
    '[:::]',
    '[1::2::3]',
    '[1:2:3:4:5:6:7]',
    '[1:2:3:4:5:6:7:8:9]',
    '[12345::]',
    '[::1%lo]',
    '[::ffff:10.0.0.256]',
    '.',
    `${'a'.repeat(64)}.b`,
  ])('%j is no host', (authority) => {
    expect(parseAuthority(authority)).toBeNull();
  });
});

test('a name under localhost is the name itself', () => {
  expect(normalizeHost('Orders.localhost:15001')).toBe('orders');
  expect(normalizeHost('orders.shop.localhost')).toBe('orders.shop');
  expect(normalizeHost('localhost:1')).toBe('localhost');
  expect(normalizeHost('a b')).toBeNull();
});

test('a service has three hosts in its namespace and two elsewhere', () => {
  expect(hostsOf('shop', 'orders')).toEqual(['orders', 'orders.shop', 'orders.shop.mesh']);
  expect(hostsOf('shop', 'orders', 'bank')).toEqual(['orders.shop', 'orders.shop.mesh']);
});
