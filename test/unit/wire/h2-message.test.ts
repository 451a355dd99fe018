// Malformed messages, one row a rule (RFC 9113 §8), and the budgets of the flood guard under an injected clock.

import { describe, expect, test } from 'vitest';
import { FloodGuard } from '../../../sidecar/wire/http2/flood.ts';
import { FLOOD_LIMITS } from '../../../sidecar/wire/http2/limits.ts';
import { contentLength, requestHead, responseHead, trailerFields } from '../../../sidecar/wire/http2/message.ts';

const GET = [':method', 'GET', ':scheme', 'https', ':authority', 'Orders:80', ':path', '/a?b'];

describe('requests', () => {
  test('a good one becomes a head: host dropped, cookies joined', () => {
    expect(
      requestHead([...GET, 'host', 'orders:80', 'cookie', 'a=1', 'te', 'trailers', 'cookie', 'b=2']),
    ).toMatchObject({
      method: 'GET',
      scheme: 'https',
      authority: 'orders:80',
      path: '/a?b',
      headers: ['cookie', 'a=1; b=2', 'te', 'trailers'],
    });
  });

  test('extended CONNECT keeps its protocol (RFC 8441)', () => {
    const list = [':method', 'CONNECT', ':protocol', 'websocket', ':scheme', 'https', ':authority', 'a', ':path', '/'];
    expect(requestHead(list)).toMatchObject({ protocol: 'websocket', path: '/' });
  });

  test.each([
    ['§8.2.1 upper-case name', [...GET, 'X-A', '1']],
    ['§8.2.1 line feed in a value', [...GET, 'x-a', '1\n2']],
    ['§8.2.1 NUL in a value', [...GET, 'x-a', '1\u00002']],
    ['§8.2.1 leading space', [...GET, 'x-a', ' 1']],
    ['§8.2.2 connection', [...GET, 'connection', 'close']],
    ['§8.2.2 transfer-encoding', [...GET, 'transfer-encoding', 'chunked']],
    ['§8.2.2 te', [...GET, 'te', 'gzip']],
    ['§8.3 pseudo-header behind a field', ['x-a', '1', ...GET]],
    ['§8.3 pseudo-header twice', [...GET, ':path', '/']],
    ['§8.3 unknown pseudo-header', [...GET, ':up', '1']],
    ['§8.3 response pseudo-header', [...GET, ':status', '200']],
    ['§8.3.1 no method', GET.slice(2)],
    ['§8.3.1 empty path', [...GET.slice(0, 6), ':path', '']],
    ['§8.3.1 host differs', [...GET, 'host', 'evil']],
    ['§8.3.1 user in authority', [':method', 'GET', ':scheme', 'https', ':authority', 'u@a', ':path', '/']],
    ['§8.5 CONNECT with path', [':method', 'CONNECT', ':authority', 'a', ':path', '/']],
  ])('%s', (_, list) => expect(requestHead(list)).toBeTypeOf('string'));
});

test.each([[['content-type', 'a']], [[':status', '20']], [[':status', '101']], [[':status', '200', ':status', '200']]])(
  'response %j is malformed',
  (list) => expect(responseHead(list)).toBeTypeOf('string'),
);

test('trailers with a pseudo-header are malformed', () => {
  expect(trailerFields([':status', '200'])).toBeTypeOf('string');
  expect(trailerFields(['grpc-status', '0'])).toEqual({ trailers: ['grpc-status', '0'] });
});

test.each([
  [['content-length', '5'], 5],
  [['content-length', '5', 'content-length', '5'], 5],
  [['content-length', '5', 'content-length', '6'], -2],
  [['content-length', '+5'], -2],
  [[], -1],
])('content length of %j is %i', (list, length) => expect(contentLength(list)).toBe(length));

test('a flood budget is its burst, then its rate', () => {
  let now = 0;
  const guard = new FloodGuard(() => now);
  for (let i = 0; i < FLOOD_LIMITS.ping.burst; i++) expect(guard.take('ping')).toBe(true);
  expect(guard.take('ping')).toBe(false);
  now += 1000;
  for (let i = 0; i < FLOOD_LIMITS.ping.perSecond; i++) expect(guard.take('ping')).toBe(true);
  expect(guard.take('ping')).toBe(false);
  expect(guard.take('settings')).toBe(true);
});
