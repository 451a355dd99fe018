// HTTP/1.1 bytes cut anywhere give the same events, and no bytes make the parser throw.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Http1Parser } from '../../sidecar/wire/http1/parse.ts';
import { cut, cuts, fuzz, fuzzTimeoutMs } from '../support/fuzz.ts';
import { requests, responses } from '../support/http1-messages.ts';

/** What the parser said, with adjacent data joined: cuts may split data, never anything else. */
function events(role: 'request' | 'response', pieces: Uint8Array[]): string[] {
  const said: string[] = [];
  let data = '';
  const say = (text: string): void => {
    if (data !== '') said.push(`data ${data}`);
    data = '';
    said.push(text);
  };
  const parser: Http1Parser = new Http1Parser(
    role,
    {
      onHead: (head, end) => {
        say(`head ${JSON.stringify(head)} ${end} ${parser.keepAlive}`);
        if (end || parser.isDone) parser.next();
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
    role === 'request' ? 'http' : '',
  );
  if (role === 'response') parser.expect('GET', '');
  for (const piece of pieces) {
    const rejection = parser.execute(piece);
    if (rejection === null) continue;
    say(`refused ${rejection.reason}`);
    break;
  }
  return said;
}

const message = fc.constantFrom(
  'GET / HTTP/1.1\r\nHost: a\r\nX-Y:  z \r\n\r\n',
  '\r\nPOST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello',
  'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n',
  'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-t: 1\r\n\r\n',
);

test('re-chunking changes nothing', { timeout: fuzzTimeoutMs() }, () => {
  const property = fc.property(fc.array(message, { minLength: 1, maxLength: 4 }), cuts, (messages, by) => {
    const bytes = Buffer.from(messages.join(''), 'latin1');
    const whole = events('request', [bytes]);
    expect(whole.filter((said) => said.startsWith('head'))).toHaveLength(messages.length);
    expect(events('request', cut(bytes, by))).toEqual(whole);
  });
  fuzz('HTTP/1.1 in pieces', property);
});

test.each([
  ['request', requests],
  ['response', responses],
] as const)('re-chunking changes nothing of a %s that may be wrong', { timeout: fuzzTimeoutMs() }, (role, made) => {
  const property = fc.property(made, cuts, (bytes, by) => {
    expect(events(role, cut(bytes, by)), JSON.stringify(bytes.toString('latin1'))).toEqual(events(role, [bytes]));
  });
  fuzz(`HTTP/1.1 ${role}s, wrong ones too, in pieces`, property);
});

test('no bytes make it throw', { timeout: fuzzTimeoutMs() }, () => {
  const junk = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    message.map((text) => Buffer.from(text, 'latin1')),
  );
  const property = fc.property(fc.array(junk, { maxLength: 6 }), (pieces) => {
    expect(Array.isArray(events('request', pieces))).toBe(true);
  });
  fuzz('HTTP/1.1 of any bytes', property);
});
