// HTTP/1.1 bytes cut anywhere give the same events, and no bytes make the parser throw.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Http1Parser } from '../../sidecar/wire/http1/parse.ts';
import { fuzz, fuzzTimeoutMs } from '../support/fuzz.ts';

/** What the parser said, with adjacent data joined: cuts may split data, never anything else. */
function events(pieces: Uint8Array[]): string[] {
  const said: string[] = [];
  let data = '';
  const say = (text: string): void => {
    if (data !== '') said.push(`data ${data}`);
    data = '';
    said.push(text);
  };
  const parser: Http1Parser = new Http1Parser(
    'request',
    {
      onHead: (head, end) => {
        say(`head ${JSON.stringify(head)} ${end}`);
        if (end) parser.next();
      },
      onData: (chunk, end) => {
        data += Buffer.from(chunk).toString('hex');
        if (!end) return;
        say('end');
        parser.next();
      },
      onMessageEnd: (trailers) => {
        say(`end ${JSON.stringify(trailers)}`);
        parser.next();
      },
    },
    'http',
  );
  for (const piece of pieces) {
    const rejection = parser.execute(piece);
    if (rejection === null) continue;
    say(`refused ${rejection.reason}`);
    break;
  }
  return said;
}

function cut(bytes: Buffer, sizes: number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] as number;
    pieces.push(Buffer.from(bytes.subarray(at, at + size)));
    at += size;
  }
  return pieces;
}

const message = fc.constantFrom(
  'GET / HTTP/1.1\r\nHost: a\r\nX-Y:  z \r\n\r\n',
  '\r\nPOST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello',
  'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n',
  'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-t: 1\r\n\r\n',
);
const sizes = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 20 });

test('re-chunking changes nothing', { timeout: fuzzTimeoutMs() }, () => {
  const property = fc.property(fc.array(message, { minLength: 1, maxLength: 4 }), sizes, (messages, by) => {
    const bytes = Buffer.from(messages.join(''), 'latin1');
    const whole = events([bytes]);
    expect(whole.filter((said) => said.startsWith('head'))).toHaveLength(messages.length);
    expect(events(cut(bytes, by))).toEqual(whole);
  });
  fuzz('HTTP/1.1 in pieces', property);
});

test('no bytes make it throw', { timeout: fuzzTimeoutMs() }, () => {
  const junk = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    message.map((text) => Buffer.from(text, 'latin1')),
  );
  const property = fc.property(fc.array(junk, { maxLength: 6 }), (pieces) => {
    expect(Array.isArray(events(pieces))).toBe(true);
  });
  fuzz('HTTP/1.1 of any bytes', property);
});
