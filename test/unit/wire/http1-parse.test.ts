// The HTTP/1.1 grammar as a table: what is refused, by which rule, and what is understood.

import { describe, expect, test } from 'vitest';
import { Http1Parser } from '../../../sidecar/wire/http1/parse.ts';
import type { Rejection } from '../../../sidecar/wire/http1/reject.ts';
import { CHUNKED, GET, REFUSED } from './http1-refused.ts';

interface Outcome {
  rejection: Rejection | null;
  events: unknown[];
  parser: Http1Parser;
}

function parse(role: 'request' | 'response', text: string, method = 'GET', upgrade = ''): Outcome {
  const events: unknown[] = [];
  const parser = new Http1Parser(
    role,
    {
      onHead: (head, end) => events.push(['head', { ...head }, end]),
      onData: (chunk, end) => events.push(['data', Buffer.from(chunk).toString('latin1'), end]),
      onMessageEnd: (trailers) => events.push(['end', trailers]),
    },
    'http',
  );
  if (role === 'response') parser.expect(method, upgrade);
  return { rejection: parser.execute(Buffer.from(text, 'latin1')), events, parser };
}

const REFUSED_RESPONSES: [reason: string, bytes: string][] = [
  ['statusLine', 'garbage'],
  ['statusLine', 'HTTP/1.1 20 OK\r\n\r\n'],
  ['statusLine', 'HTTP/1.1 2000 OK\r\n\r\n'],
  ['statusLine', 'HTTP/1.1  200 OK\r\n\r\n'],
  ['version', 'HTTP/2.0 200 OK\r\n\r\n'],
  ['lengthAndCoding', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n'],
  ['upgradeUnasked', 'HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n'],
  ['interimHeads', 'HTTP/1.1 103 X\r\n\r\n'.repeat(33)],
];

describe('the HTTP/1.1 parser', () => {
  test.each(REFUSED)('refuses %s (%s): %j', (reason, _section, bytes) => {
    expect(parse('request', bytes).rejection?.reason).toBe(reason);
  });

  test.each([
    ['RFC 9110 §7.8 no token', 'HTTP/1.1 101 X\r\n\r\n'],
    ['RFC 9110 §7.8 another token', 'HTTP/1.1 101 X\r\nUpgrade: h2c\r\n\r\n'],
    ['RFC 9110 §7.8 two tokens', 'HTTP/1.1 101 X\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n'],
  ])('a switch to what was not asked for is refused: %s', (_rule, bytes) => {
    expect(parse('response', bytes, 'GET', 'websocket').rejection?.reason).toBe('upgradeUnasked');
    expect(parse('response', 'HTTP/1.1 101 X\r\nUpgrade: WebSocket\r\n\r\n', 'GET', 'websocket').rejection).toBeNull();
  });

  test.each([
    ['CONNECT (RFC 9110 §9.3.6)', 'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 0\r\n\r\n'],
    ['an upgrade (RFC 8441 §5)', `${GET}Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n`],
  ])('a length of 0 does not go into the tunnel of %s', (_name, bytes) => {
    const { rejection, events } = parse('request', bytes);
    expect(rejection).toBeNull();
    expect(events).toMatchObject([['head', { headers: [] }, false]]);
  });

  test('trailers lose what only means something before the body (RFC 9110 §6.5.1)', () => {
    const trailers = 'Authorization: x\r\nX-T: 1\r\nCookie: y\r\nContent-Type: z\r\nTE: trailers\r\nGrpc-Status: 0\r\n';
    const { rejection, events } = parse('request', `${CHUNKED}0\r\n${trailers}\r\n`);
    expect(rejection).toBeNull();
    expect(events.at(-1)).toEqual(['end', ['x-t', '1', 'grpc-status', '0']]);
  });

  test.each(REFUSED_RESPONSES)('refuses a response for %s: %j', (reason, bytes) => {
    expect(parse('response', bytes).rejection?.reason).toBe(reason);
  });

  test('lower-cases names, trims values and removes what belongs to one hop', () => {
    const { rejection, events } = parse(
      'request',
      'GET /p?q HTTP/1.1\r\nHOST: Orders:80\r\nX-Own:  v \t\r\nConnection: keep-alive, X-Hop, TE\r\nx-hop: 1\r\nKeep-Alive: 5\r\n' +
        'TE: trailers\r\nUpgrade: h2c\r\nCookie:\r\n\r\n',
    );
    expect(rejection).toBeNull();
    const headers = ['x-own', 'v', 'te', 'trailers', 'cookie', ''];
    const head = {
      method: 'GET',
      scheme: 'http',
      authority: 'orders:80',
      path: '/p?q',
      status: 0,
      headers,
      protocol: '',
      closes: false,
    };
    expect(events).toEqual([['head', head, true]]);
  });

  test.each([
    ['GET http://A/x HTTP/1.1\r\nHost: a:80\r\n\r\n', 'http', 'a', '/x'],
    ['GET https://a?x HTTP/1.1\r\nHost: a\r\n\r\n', 'https', 'a', '/?x'],
    ['OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n', 'http', 'a', '*'],
    ['CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n', '', '[::1]:443', ''],
    ['GET / HTTP/1.0\r\n\r\n', 'http', '', '/'],
  ])('understands the target of %j', (bytes, scheme, authority, path) => {
    const { rejection, events } = parse('request', bytes);
    expect(rejection).toBeNull();
    expect(events[0]).toMatchObject(['head', { scheme, authority, path }, expect.any(Boolean)]);
  });

  test('reads chunks, extensions and trailers', () => {
    const { rejection, events } = parse(
      'request',
      `${CHUNKED}3;a="b"\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n`,
    );
    expect(rejection).toBeNull();
    expect(events.slice(1)).toEqual([
      ['data', 'abc', false],
      ['data', '0123456789', false],
      ['end', ['x-t', '1']],
    ]);
  });

  test.each([
    ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n', true],
    ['GET', 'HTTP/1.1 204\r\nContent-Length: 9\r\n\r\n', true],
    ['GET', 'HTTP/1.1 304 X\r\nTransfer-Encoding: chunked\r\n\r\n', true],
    ['GET', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', true],
    ['GET', 'HTTP/1.1 200 OK\r\n\r\n', false],
    ['CONNECT', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n', false],
  ])('ends the response to %s at %j: %j', (method, bytes, end) => {
    const { rejection, events, parser } = parse('response', bytes, method);
    expect(rejection).toBeNull();
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject(['head', {}, end]);
    expect(parser.isRaw).toBe(!end);
  });

  test('holds a pipelined request until the first is answered', () => {
    const { events, parser } = parse('request', `${GET}\r\n${GET}\r\n`);
    expect(events).toHaveLength(1);
    parser.next();
    expect(parser.continue()).toBeNull();
    expect(events).toHaveLength(2);
    expect(parser.buffered).toBe(0);
  });
});
