// HTTP/1.1 messages by a grammar that knows where parsers have differed, then mutated byte by byte; and what a message
// means end to end, so that two parsers can be compared. Without upgrades, 101 and CONNECT: what follows those is no HTTP.

import fc from 'fast-check';

/** A message as its receiver understood it. */
export interface Message {
  /** Method, authority and path, or the status. */
  readonly line: string;
  /** End-to-end fields, `[name, value, …]` in their order. */
  readonly headers: readonly string[];
  body: string;
  readonly trailers: readonly string[];
}

/** What a receiver made of a connection's bytes. */
export interface Said {
  readonly messages: Message[];
  /** Why the bytes behind the messages were not taken, as its own token: `unfinished` when more would have to come; empty: there were none. */
  refused: string;
}

const HOP = new Set([
  'connection',
  'host',
  'keep-alive',
  'proxy-connection',
  'http2-settings',
  'transfer-encoding',
  'upgrade',
]);

/** Of fields as received those that go further than one hop (RFC 9110 §7.6.1), in the words of our header lists. */
export function endToEnd(raw: readonly string[]): string[] {
  const pairs = raw.flatMap((name, i) => (i % 2 === 0 ? [[name.toLowerCase(), raw[i + 1] as string] as const] : []));
  const nominated = new Set(
    pairs
      .filter(([name]) => name === 'connection')
      .flatMap(([, value]) => value.split(',').map((t) => t.trim().toLowerCase())),
  );
  nominated.delete('te');
  const kept: string[] = [];
  for (const [name, value] of pairs) {
    if (HOP.has(name) || nominated.has(name)) continue;
    if (name === 'te') {
      if (/(?:^|,)\s*trailers\s*(?:,|$)/i.test(value)) kept.push('te', 'trailers');
    } else kept.push(name, name === 'content-length' ? String(Number(value)) : value);
  }
  return kept;
}

const often = <T>(weight: number, arbitrary: fc.Arbitrary<T>): fc.WeightedArbitrary<T> => ({ weight, arbitrary });
const mostly = (usual: string, ...rare: string[]): fc.Arbitrary<string> =>
  fc.oneof(often(12, fc.constant(usual)), often(1, fc.constantFrom(...rare)));

const eol = fc.oneof(
  often(60, fc.constant('\r\n')),
  often(1, fc.constantFrom('\n', '\r', '\r\r\n', ' \r\n', '\r\n\r\n')),
);
const version = mostly(
  'HTTP/1.1',
  'HTTP/1.0',
  'HTTP/1.2',
  'HTTP/2.0',
  'HTTP/0.9',
  'http/1.1',
  'HTTP/1.1 ',
  'HTTP/01.1',
  'XTTP/1.1',
  'HTTP/1',
);
const method = mostly('POST', 'GET', 'PUT', 'HEAD', 'OPTIONS', 'DELETE', 'PATCH', 'post', 'PO ST', ' POST', '');
const target = mostly(
  '/',
  '/a?b=c&d',
  '//a/b',
  '/%00',
  '/a b',
  '/\x80',
  '/#f',
  '',
  '*',
  'a',
  'http://a/x?y',
  'http://a',
  'http://b/',
  'http://u@a/',
  '?',
  '/\t',
  '/..;/',
);
const space = mostly(' ', '  ', '\t', '\x0b');
const host = mostly(
  'Host: a',
  'Host: a:80',
  'HOST:a',
  'Host: b',
  'Host: [::1]:8080',
  'Host:',
  'Host: a b',
  'Host: a,b',
  'Host: u@a',
  'Host : a',
  'X: a',
  'Host: a\r\nHost: a',
  'Host: a/b',
);
const field = fc.constantFrom(
  'X-A: b',
  'x-a:c',
  'X-B:\t v w \t',
  'X-C:',
  'X-High: \x80\xff',
  'Accept: */*',
  'Cookie: a=b',
  'Cookie: c=d',
  'Trailer: x-t',
  'TE: trailers',
  'TE: gzip, trailers;q=1',
  'Connection: close',
  'Connection: keep-alive',
  'Connection: x-a, keep-alive',
  'connection: x-b\r\nX-B: 1',
  'Keep-Alive: timeout=5',
  'Upgrade: websocket',
  'Expect: 100-continue',
  'Content-Type: text/plain',
);
/** The long length stays beyond 2^64 when mutations take digits away: of those that fit, we take 15 digits. */
const oddField = fc.constantFrom(
  'X A: b',
  'X-A : b',
  ' folded',
  '\tfolded',
  'X-D: a\r\n b',
  'X-Nul: a\0b',
  'X-Cr: a\rb',
  'X-Ctl: a\x01b',
  'X-Del: \x7f',
  ':empty',
  'NoColon',
  '',
  'X\x80: a',
  'X(y): a',
  'Connection: content-length',
  'Connection: ,,close,',
  'Connection: close, keep-alive',
  'Content-Length: 5',
  'Content-Length: 0',
  'Content-Length: +5',
  'Content-Length: 0x5',
  'Content-Length: 5, 5',
  'Content-Length: 005',
  'Content-Length: -1',
  'Content-Length:',
  'Content-Length: 5 5',
  'Content-Length: 9999999999999999999999',
  'Content-Length: 5;',
  'Content-Length : 5',
  'Content-Length: 1e1',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: CHUNKED',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked, gzip',
  'Transfer-Encoding: identity',
  'Transfer-Encoding: \x0bchunked',
  'Transfer-Encoding: xchunked',
  'Transfer-Encoding: chunked;a=b',
  'Transfer-Encoding:',
  'Transfer-Encoding: chunked, chunked',
  'Transfer-Encoding : chunked',
  'Transfer-Encoding\n: chunked',
  'Transfer-Encoding:\r\n chunked',
);
const fields = fc
  .tuple(
    fc.array(fc.oneof(often(14, field), often(1, oddField)), { maxLength: 4 }),
    fc.array(eol, { minLength: 4, maxLength: 4 }),
  )
  .map(([lines, ends]) => lines.map((line, i) => `${line}${ends[i]}`).join(''));

const data = fc.constantFrom(
  'hello',
  'a',
  '0\r\n\r\n',
  'GET / HTTP/1.1\r\n\r\n',
  '\r\n',
  '\0\xff',
  'x'.repeat(16),
  '5\r\n',
);
const extension = mostly(
  '',
  ';a=b',
  ';a="q;\\"r"',
  ';a',
  ';',
  ' ;a=b',
  ' ',
  ';a =b',
  '\t',
  ';\x80',
  ';\x01',
  ';a\rb',
  ';a\n',
  ';a="\r\n"',
  '\x0b',
);
const size = fc.oneof(
  often(
    12,
    fc.constant((n: number) => n.toString(16)),
  ),
  often(
    1,
    fc.constantFrom(
      (n: number) => n.toString(16).toUpperCase(),
      (n: number) => `0${n.toString(16)}`,
      (n: number) => `0x${n.toString(16)}`,
      (n: number) => ` ${n.toString(16)}`,
      (n: number) => `+${n}`,
      (n: number) => (n + 1).toString(16),
      () => '',
      () => 'fffffffffffffffff',
      () => '10000000000000001',
      (n: number) => `-${n}`,
      (n: number) => `${n.toString(16)}_`,
    ),
  ),
);
const chunk = fc
  .tuple(size, extension, eol, data, eol)
  .map(([s, e, end, d, last]) => `${s(d.length)}${e}${end}${d}${last}`);
const trailer = mostly(
  'X-T: 1',
  'X-T:',
  'x-u: v',
  'Content-Length: 5',
  'Transfer-Encoding: chunked',
  'Host: b',
  'X T: 1',
  ' fold',
  'X-T: a\nb',
  'NoColon',
  'Connection: close',
);
const chunks = fc
  .tuple(
    fc.array(chunk, { maxLength: 3 }),
    mostly('0', '00', '0;x=y', '000;a', '', '0 '),
    eol,
    fc.array(fc.tuple(trailer, eol), { maxLength: 2 }),
    eol,
  )
  .map(([list, last, end, trailers, empty]) => `${list.join('')}${last}${end}${trailers.flat().join('')}${empty}`);

/** A framing's fields and the body in it. */
const body = fc.oneof(
  often(2, fc.constant(['', ''] as const)),
  often(
    3,
    fc.tuple(data, eol).map(([d, end]) => [`Content-Length: ${d.length}${end}`, d] as const),
  ),
  often(
    5,
    fc.tuple(chunks, eol).map(([c, end]) => [`Transfer-Encoding: chunked${end}`, c] as const),
  ),
);

const request = fc
  .tuple(
    mostly('', '\r\n', '\n', ' ', '\r\n\r\n', '\r'),
    fc.tuple(method, space, target, space, version, eol),
    host,
    eol,
    fields,
    body,
    eol,
  )
  .map(
    ([before, line, h, end, more, [framing, b], empty]) =>
      `${before}${line.join('')}${h}${end}${more}${framing}${empty}${b}`,
  );

const statusLine = mostly(
  'HTTP/1.1 200 OK',
  'HTTP/1.1 200 ',
  'HTTP/1.1 200',
  'HTTP/1.0 200 OK',
  'HTTP/1.1 204 No Content',
  'HTTP/1.1 304 Not Modified',
  'HTTP/1.1 404 \x80',
  'HTTP/1.2 200 OK',
  'HTTP/2 200 OK',
  'HTTP/1.1  200 OK',
  'HTTP/1.1 20 OK',
  'HTTP/1.1 2000 OK',
  'HTTP/1.1 099 OK',
  'HTTP/1.1 200OK',
  'http/1.1 200 OK',
  ' HTTP/1.1 200 OK',
  'HTTP/1.1\t200 OK',
  'HTTP/1.1 200 O\0K',
  'HTTP/1.1 600 Odd',
  'HTTP/1.1 +20 OK',
);
const interim = fc.constantFrom(
  '',
  '',
  '',
  'HTTP/1.1 100 Continue\r\n\r\n',
  'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n',
  'HTTP/1.1 102 Processing\r\nContent-Length: 5\r\n\r\n',
  'HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n',
  '\r\n',
);
const response = fc
  .tuple(interim, statusLine, eol, fields, body, eol)
  .map(([before, line, end, more, [framing, b], empty]) => `${before}${line}${end}${more}${framing}${empty}${b}`);

/** One byte put in, replaced or taken away: [where, of what, by what]. */
const mutation = fc.tuple(
  fc.nat(400),
  fc.constantFrom('insert', 'replace', 'delete'),
  fc.constantFrom(...'\r\n\0 \t:;,0a9F+-/x\x0b\x7f\x80"'),
);

function mutate(text: string, changes: readonly (readonly [number, string, string])[]): Buffer {
  let changed = text;
  for (const [where, how, byte] of changes) {
    const at = where % (changed.length + 1);
    changed = changed.slice(0, at) + (how === 'delete' ? '' : byte) + changed.slice(how === 'insert' ? at : at + 1);
  }
  return Buffer.from(changed, 'latin1');
}

const mutations = fc.oneof(often(3, fc.constant([])), often(2, fc.array(mutation, { minLength: 1, maxLength: 2 })));

/** Behind any requests: shows where a parser thinks that the last one ended. */
const LAST = 'GET /last HTTP/1.1\r\nHost: a\r\n\r\n';

/** One to three requests on a connection, and one that is good. */
export const requests = fc
  .tuple(fc.array(request, { minLength: 1, maxLength: 3 }), mutations)
  .map(([list, changes]) => Buffer.concat([mutate(list.join(''), changes), Buffer.from(LAST)]));

/** What an upstream might send for one request. */
export const responses = fc.tuple(response, mutations).map(([text, changes]) => mutate(text, changes));
