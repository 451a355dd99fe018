// The HTTP/1.1 grammar as a table: what is refused, by which rule, and what is understood.

import { describe, expect, test } from 'vitest';
import { Http1Parser } from '../../../sidecar/wire/http1/parse.ts';
import type { Rejection } from '../../../sidecar/wire/http1/reject.ts';

interface Outcome {
  rejection: Rejection | null;
  events: unknown[];
  parser: Http1Parser;
}

function parse(role: 'request' | 'response', text: string, method = 'GET', upgrade = false): Outcome {
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

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n';
const POST = 'POST / HTTP/1.1\r\nHost: a\r\n';
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;

const REFUSED: [reason: string, section: string, bytes: string][] = [
  ['bareLf', 'RFC 9112 §2.2', 'GET / HTTP/1.1\nHost: a\n\n'],
  ['bareLf', 'RFC 9112 §2.2', 'GET / HTTP/1.1\r\nHost: a\n\r\n\r\n'],
  ['bareLf', 'RFC 9112 §2.2', `${GET}X: a\nY: b\r\n\r\n`],
  ['bareLf', 'RFC 9112 §2.2', '\nGET / HTTP/1.1\r\n'],
  ['bareCr', 'RFC 9112 §2.2', `${GET}X: a\rY: b\r\n\r\n`],
  ['bareCr', 'RFC 9112 §2.2', '\rGET / HTTP/1.1\r\n'],
  ['emptyLines', 'RFC 9112 §2.2', `\r\n\r\n\r\n${GET}\r\n`],
  ['method', 'RFC 9110 §9.1', ` ${GET}\r\n`],
  ['method', 'RFC 9110 §9.1', 'G(T / HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['method', 'RFC 9110 §9.1', 'GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['method', 'RFC 9110 §9.1', `${'M'.repeat(33)} / HTTP/1.1\r\nHost: a\r\n\r\n`],
  ['method', 'RFC 9110 §9.1', '\x16\x03\x01\x02\x00'],
  ['requestLine', 'RFC 9112 §3', 'GET  / HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['requestLine', 'RFC 9112 §3', 'GET /  HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['requestLine', 'RFC 9112 §3', 'GET / HTTP/1.1 \r\nHost: a\r\n\r\n'],
  ['requestLine', 'RFC 9112 §3', 'GET /\r\nHost: a\r\n\r\n'],
  ['requestLine', 'RFC 9112 §3', 'GET / http/1.1\r\nHost: a\r\n\r\n'],
  ['version', 'RFC 9112 §2.3', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['version', 'RFC 9112 §2.3', 'GET / HTTP/1.2\r\nHost: a\r\n\r\n'],
  ['target', 'RFC 9112 §3.2', 'GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['target', 'RFC 9112 §3.2', 'GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['target', 'RFC 9112 §3.2', 'GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['targetForm', 'RFC 9112 §3.2', 'GET a HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['targetForm', 'RFC 9112 §3.2', 'GET * HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['targetForm', 'RFC 9112 §3.2', 'GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['targetForm', 'RFC 9112 §3.2', 'CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['targetForm', 'RFC 9112 §3.2', 'CONNECT /a:1 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['targetForm', 'RFC 9112 §3.2', 'CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['targetForm', 'RFC 9112 §3.2', 'CONNECT a:65536 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['userinfo', 'RFC 9110 §4.2.4', 'GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['host', 'RFC 9110 §7.2', 'GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['uriTooLong', 'RFC 9110 §15.5.15', `GET /${'a'.repeat(8192)} HTTP/1.1\r\nHost: a\r\n\r\n`],
  ['uriTooLong', 'RFC 9110 §15.5.15', `GET /${'a'.repeat(70000)}`],
  ['headTooLarge', 'RFC 6585 §5', `${GET}X: ${'a'.repeat(70000)}`],
  ['headTooLarge', 'RFC 6585 §5', `${GET}X: ${'a'.repeat(61430)}\r\n\r\n`],
  ['tooManyFields', 'RFC 6585 §5', `${GET}${'x: y\r\n'.repeat(100)}\r\n`],
  ['obsFold', 'RFC 9112 §5.2', `${GET}X: a\r\n b\r\n\r\n`],
  ['obsFold', 'RFC 9112 §5.2', `${GET}X: a\r\n\tb\r\n\r\n`],
  ['obsFold', 'RFC 9112 §2.2', 'GET / HTTP/1.1\r\n Host: a\r\n\r\n'],
  ['spaceBeforeColon', 'RFC 9112 §5.1', `${GET}X : a\r\n\r\n`],
  ['spaceBeforeColon', 'RFC 9112 §5.1', `${POST}Transfer-Encoding : chunked\r\n\r\n`],
  ['spaceBeforeColon', 'RFC 9112 §5.1', `${POST}Content-Length\t: 1\r\n\r\n`],
  ['fieldName', 'RFC 9110 §5.1', `${GET}: a\r\n\r\n`],
  ['fieldName', 'RFC 9110 §5.1', `${GET}X\r\n\r\n`],
  ['fieldName', 'RFC 9110 §5.1', `${GET}X(: a\r\n\r\n`],
  ['fieldName', 'RFC 9110 §5.1', `${GET}\xc3: a\r\n\r\n`],
  ['nul', 'RFC 9110 §5.5', `${GET}X\x00: a\r\n\r\n`],
  ['nul', 'RFC 9110 §5.5', `${GET}X: a\x00b\r\n\r\n`],
  ['fieldValue', 'RFC 9110 §5.5', `${GET}X: a\x7f\r\n\r\n`],
  ['fieldValue', 'RFC 9110 §5.5', `${GET}X: \x0b\r\n\r\n`],
  ['hostMissing', 'RFC 9112 §3.2', 'GET / HTTP/1.1\r\n\r\n'],
  ['hostRepeated', 'RFC 9112 §3.2', `${GET}Host: a\r\n\r\n`],
  ['host', 'RFC 9110 §7.2', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n'],
  ['host', 'RFC 9110 §7.2', 'GET / HTTP/1.1\r\nHost: a, b\r\n\r\n'],
  ['host', 'RFC 9110 §7.2', 'GET / HTTP/1.1\r\nHost: u@a\r\n\r\n'],
  ['host', 'RFC 9110 §7.2', 'GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n'],
  ['hostDisagrees', 'RFC 9112 §3.2.2', 'GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['hostDisagrees', 'RFC 9112 §3.2.2', 'CONNECT b:1 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['lengthRepeated', 'RFC 9112 §6.3', `${POST}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`],
  ['length', 'RFC 9110 §8.6', `${POST}Content-Length: 1, 1\r\n\r\na`],
  ['length', 'RFC 9110 §8.6', `${POST}Content-Length: +1\r\n\r\na`],
  ['length', 'RFC 9110 §8.6', `${POST}Content-Length: -1\r\n\r\na`],
  ['length', 'RFC 9110 §8.6', `${POST}Content-Length: 0x1\r\n\r\na`],
  ['length', 'RFC 9110 §8.6', `${POST}Content-Length:\r\n\r\na`],
  ['length', 'RFC 9110 §8.6', `${POST}Content-Length: 9999999999999999\r\n\r\na`],
  ['lengthAndCoding', 'RFC 9112 §6.1', `${POST}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na`],
  ['coding', 'RFC 9112 §6.1', `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n`],
  ['coding', 'RFC 9112 §6.1', `${POST}Transfer-Encoding: xchunked\r\n\r\n`],
  ['coding', 'RFC 9112 §6.1', `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`],
  ['coding', 'RFC 9112 §6.1', `${POST}Transfer-Encoding: identity\r\n\r\n`],
  ['coding', 'RFC 9112 §6.1', `${POST}Transfer-Encoding: \x0bchunked\r\n\r\n`.replace('\x0b', '"')],
  ['codingInOldVersion', 'RFC 9112 §6.1', 'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n'],
  ['nominated', 'RFC 9110 §7.6.1', `${POST}Content-Length: 1\r\nConnection: content-length\r\n\r\na`],
  ['nominated', 'RFC 9110 §7.6.1', `${GET}Connection: close, Host\r\n\r\n`],
  ['connectBody', 'RFC 9110 §9.3.6', 'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 1\r\n\r\na'],
  ['chunkSize', 'RFC 9112 §7.1', `${CHUNKED}\r\n`],
  ['chunkSize', 'RFC 9112 §7.1', `${CHUNKED}g\r\n`],
  ['chunkSize', 'RFC 9112 §7.1', `${CHUNKED}0x1\r\na\r\n`],
  ['chunkSize', 'RFC 9112 §7.1', `${CHUNKED}1 \r\na\r\n`],
  ['chunkSize', 'RFC 9112 §7.1', `${CHUNKED}-1\r\na\r\n`],
  ['chunkSize', 'RFC 9112 §7.1', `${CHUNKED}1\na\r\n`],
  ['chunkSize', 'RFC 9112 §7.1', `${CHUNKED}${'0'.repeat(14)}\r\n`],
  ['bareCr', 'RFC 9112 §7.1', `${CHUNKED}1\ra\r\n`],
  ['bareLf', 'RFC 9112 §7.1.1', `${CHUNKED}1;x\na\r\n`],
  ['chunkExtension', 'RFC 9112 §7.1.1', `${CHUNKED}1;\x00\r\na\r\n`],
  ['chunkExtensionTooLarge', 'CVE-2023-39326', `${CHUNKED}1;${'x'.repeat(16385)}`],
  ['chunkExtensionTooLarge', 'CVE-2024-22019', `${CHUNKED}${`1;${'x'.repeat(99)}\r\na\r\n`.repeat(170)}`],
  ['chunkEnd', 'RFC 9112 §7.1', `${CHUNKED}1\r\nab\r\n`],
  ['chunkEnd', 'RFC 9112 §7.1', `${CHUNKED}1\r\na\r\r`],
  ['trailerField', 'RFC 9110 §6.5.1', `${CHUNKED}0\r\nContent-Length: 1\r\n\r\n`],
  ['trailerField', 'RFC 9110 §6.5.1', `${CHUNKED}0\r\nHost: b\r\n\r\n`],
  ['obsFold', 'RFC 9112 §5.2', `${CHUNKED}0\r\nX: a\r\n b\r\n\r\n`],
];

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
