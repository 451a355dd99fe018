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

  test('the longest method and path that HTTP/1.1 takes are taken here, too', () => {
    const path = `/${'a'.repeat(8191)}`;
    const list = [':method', 'M'.repeat(32), ...GET.slice(2, 6), ':path', path];
    expect(requestHead(list)).toMatchObject({ method: 'M'.repeat(32), path });
  });

  test('extended CONNECT keeps its protocol (RFC 8441)', () => {
    const list = [':method', 'CONNECT', ':protocol', 'websocket', ':scheme', 'https', ':authority', 'a', ':path', '/'];
    expect(requestHead(list)).toMatchObject({ protocol: 'websocket', path: '/' });
  });

  test.each([
    ['fieldName', '§8.2.1 upper-case name', [...GET, 'X-A', '1']],
    ['fieldName', '§8.2.1 empty name', [...GET, '', '1']],
    ['fieldName', '§8.2.1 space in a name', [...GET, 'x a', '1']],
    ['fieldName', '§8.2.1 colon in a name', [...GET, 'x:a', '1']],
    ['fieldValue', '§8.2.1 line feed in a value', [...GET, 'x-a', '1\n2']],
    ['fieldValue', '§8.2.1 carriage return in a value', [...GET, 'x-a', '1\r2']],
    ['fieldValue', '§8.2.1 NUL in a value', [...GET, 'x-a', '1\u00002']],
    ['fieldValue', '§8.2.1 leading space', [...GET, 'x-a', ' 1']],
    ['fieldValue', '§8.2.1 trailing tab', [...GET, 'x-a', '1\t']],
    ['fieldValue', '§8.2.1 line feed in :path', [...GET.slice(0, 6), ':path', '/\r\nx: y']],
    ['connectionField', '§8.2.2 connection', [...GET, 'connection', 'close']],
    ['connectionField', '§8.2.2 proxy-connection', [...GET, 'proxy-connection', 'close']],
    ['connectionField', '§8.2.2 keep-alive', [...GET, 'keep-alive', '5']],
    ['connectionField', '§8.2.2 upgrade', [...GET, 'upgrade', 'h2c']],
    ['connectionField', '§8.2.2 transfer-encoding', [...GET, 'transfer-encoding', 'chunked']],
    ['te', '§8.2.2 te', [...GET, 'te', 'gzip']],
    ['te', '§8.2.2 te with more', [...GET, 'te', 'trailers, gzip']],
    ['pseudoHeader', '§8.3 pseudo-header behind a field', ['x-a', '1', ...GET]],
    ['pseudoHeader', '§8.3 pseudo-header twice', [...GET, ':path', '/']],
    ['pseudoHeader', '§8.3 unknown pseudo-header', [...GET, ':up', '1']],
    ['pseudoHeader', '§8.3 response pseudo-header', [...GET, ':status', '200']],
    ['method', '§8.3.1 no method', GET.slice(2)],
    ['method', '§8.3.1 space in the method', [':method', 'GET /x', ...GET.slice(2)]],
    ['method', '33 bytes of method', [':method', 'M'.repeat(33), ...GET.slice(2)]],
    ['uriTooLong', 'RFC 9110 §15.5.15 8 KiB of path and a byte', [...GET.slice(0, 6), ':path', `/${'a'.repeat(8192)}`]],
    ['scheme', '§8.3.1 no scheme', [...GET.slice(0, 2), ...GET.slice(4)]],
    ['path', '§8.3.1 no path', GET.slice(0, 6)],
    ['path', '§8.3.1 empty path', [...GET.slice(0, 6), ':path', '']],
    ['path', '§8.3.1 path without a slash', [...GET.slice(0, 6), ':path', 'a']],
    ['path', '§8.3.1 absolute form', [...GET.slice(0, 6), ':path', 'http://a/']],
    ['path', '§8.3.1 space in the path', [...GET.slice(0, 6), ':path', '/a b']],
    ['path', '§8.3.1 fragment', [...GET.slice(0, 6), ':path', '/a#b']],
    ['path', '§8.3.1 bytes beyond ASCII in the path', [...GET.slice(0, 6), ':path', '/\xe9']],
    ['path', '§8.3.1 asterisk of GET', [...GET.slice(0, 6), ':path', '*']],
    ['hostDisagrees', '§8.3.1 host differs', [...GET, 'host', 'evil']],
    ['hostRepeated', 'RFC 9110 §7.2 host twice', [...GET, 'host', 'orders:80', 'host', 'orders:80']],
    ['host', '§8.3.1 no authority', [...GET.slice(0, 4), ':path', '/']],
    ['host', '§8.3.1 user in authority', [...GET.slice(0, 4), ':authority', 'u@a', ':path', '/']],
    ['host', '§8.3.1 two authorities', [...GET.slice(0, 4), ':authority', 'a,b', ':path', '/']],
    ['host', '§8.3.1 port out of range', [...GET.slice(0, 4), ':authority', 'a:65536', ':path', '/']],
    ['host', '§8.3.1 host field that is none', [...GET.slice(0, 4), ':path', '/', 'host', 'a"b']],
    ['connect', '§8.5 CONNECT with path', [':method', 'CONNECT', ':authority', 'a:1', ':path', '/']],
    ['connect', '§8.5 CONNECT with scheme', [':method', 'CONNECT', ':authority', 'a:1', ':scheme', 'http']],
    ['connect', '§8.5 CONNECT without port', [':method', 'CONNECT', ':authority', 'a']],
    ['connect', '§8.5 CONNECT to port 0', [':method', 'CONNECT', ':authority', 'a:0']],
    [
      'connectBody',
      'RFC 9110 §9.3.6 CONNECT with a body',
      [':method', 'CONNECT', ':authority', 'a:1', 'content-length', '1'],
    ],
    ['protocol', 'RFC 8441 §4 :protocol of GET', [...GET, ':protocol', 'websocket']],
    ['protocol', 'RFC 8441 §4 empty :protocol', [':method', 'CONNECT', ...GET.slice(2), ':protocol', '']],
    ['protocol', 'RFC 8441 §5 :protocol h2c', [':method', 'CONNECT', ...GET.slice(2), ':protocol', 'H2C']],
    ['protocol', 'RFC 8441 §4 two tokens', [':method', 'CONNECT', ...GET.slice(2), ':protocol', 'websocket, h2c']],
    ['path', 'RFC 8441 §4 no path', [':method', 'CONNECT', ...GET.slice(2, 6), ':protocol', 'websocket']],
  ])('%s for %s', (reason, _, list) => expect(requestHead(list)).toMatchObject({ reason }));

  test('CONNECT with a length of 0 is CONNECT (RFC 9110 §9.3.6)', () => {
    const list = [':method', 'CONNECT', ':authority', 'a:1', 'content-length', '0', 'x', 'y'];
    expect(requestHead(list)).toMatchObject({ authority: 'a:1', headers: ['x', 'y'] });
  });
});

test.each([
  ['status', ['content-type', 'a']],
  ['status', []],
  ['status', [':status', '20']],
  ['status', [':status', '099']],
  ['status', [':status', '+20']],
  ['status', [':status', '101']],
  ['pseudoHeader', [':status', '200', ':status', '200']],
  ['pseudoHeader', [':status', '200', ':path', '/']],
  ['connectionField', [':status', '200', 'connection', 'close']],
  ['fieldName', [':status', '200', 'X', '1']],
  ['fieldValue', [':status', '200', 'x', 'a\n']],
])('%s refuses the response %j', (reason, list) => expect(responseHead(list)).toMatchObject({ reason }));

test.each([
  ['pseudoHeader', [':status', '200']],
  ['trailerField', ['content-length', '1']],
  ['trailerField', ['x', '1', 'host', 'b']],
  ['connectionField', ['transfer-encoding', 'chunked']],
  ['fieldName', ['X', '1']],
])('%s refuses the trailers %j', (reason, list) => expect(trailerFields(list, [])).toMatchObject({ reason }));

test('trailers lose what only means something before the body (RFC 9110 §6.5.1)', () => {
  const trailers: string[] = [];
  const list = ['grpc-status', '0', 'authorization', 'x', 'set-cookie', 'y', 'content-type', 'z', 'x', '1'];
  expect(trailerFields(list, trailers)).toBeNull();
  expect(trailers).toEqual(['grpc-status', '0', 'x', '1']);
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
