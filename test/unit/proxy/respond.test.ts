// The one table of errors: statuses, flags, and the replies that callers read.

import { describe, expect, test } from 'vitest';
import { errorLine, localReply, replyFor, respond } from '../../../sidecar/proxy/respond.ts';
import type { ErrorKind, ErrorSource } from '../../../sidecar/wire/error.ts';
import { ProxyError } from '../../../sidecar/wire/error.ts';
import type { HeaderList } from '../../../sidecar/wire/headers.ts';
import { headerValue } from '../../../sidecar/wire/headers.ts';
import type { HttpStream } from '../../../sidecar/wire/stream.ts';
import { Head } from '../../../sidecar/wire/stream.ts';

function request(headers: HeaderList, method = 'GET'): Head {
  return Head.request(method, 'http', 'orders', '/', headers);
}

test.each<[ErrorKind, ErrorSource, number, number, string, boolean]>([
  ['malformed', 'downstream', 400, 13, 'DPE', true],
  ['malformed', 'upstream', 502, 13, 'UPE', false],
  ['headersTooLarge', 'downstream', 431, 8, 'DPE', true],
  ['headersTooLarge', 'upstream', 502, 13, 'UPE', false],
  ['bodyTooLarge', 'downstream', 413, 8, 'DPE', true],
  ['uriTooLong', 'downstream', 414, 8, 'DPE', true],
  ['misdirected', 'local', 421, 14, 'NR', false],
  ['headerTimeout', 'downstream', 408, 4, 'DT', true],
  ['requestTimeout', 'local', 504, 4, 'UT', false],
  ['perTryTimeout', 'upstream', 504, 4, 'UT', false],
  ['idleTimeout', 'local', 504, 4, 'SI', true],
  ['idleTimeout', 'downstream', 408, 4, 'SI', true],
  ['connectFailed', 'upstream', 503, 14, 'UF', false],
  ['connectTimeout', 'upstream', 503, 14, 'UF', false],
  ['tlsFailed', 'upstream', 503, 14, 'UF', false],
  ['refused', 'upstream', 503, 14, 'UR', false],
  ['connectionClosed', 'upstream', 503, 14, 'UC', false],
  ['connectionClosed', 'downstream', 499, 1, 'DC', true],
  ['streamReset', 'upstream', 503, 14, 'UR', false],
  ['streamReset', 'downstream', 499, 1, 'DR', true],
  ['protocolError', 'upstream', 502, 13, 'UPE', false],
  ['noRoute', 'local', 404, 12, 'NR', false],
  ['noEndpoint', 'local', 503, 14, 'UH', false],
  ['noUpgrade', 'local', 501, 12, 'UR', false],
  ['overflow', 'local', 503, 14, 'UO', false],
  ['denied', 'local', 403, 7, 'RBAC', false],
  ['unavailable', 'local', 503, 14, 'OM', true],
  ['cancelled', 'downstream', 499, 1, 'DC', true],
  ['internal', 'local', 500, 13, 'IE', true],
])('%s by %s is %d, gRPC %d, %s', (kind, source, status, grpcStatus, flag, close) => {
  expect(replyFor(new ProxyError(kind, source, 'd'))).toMatchObject({ status, grpcStatus, flag, close });
});

describe('the reply', () => {
  const denied = new ProxyError('denied', 'local', 'shop/p#rule-0 — 100% "no"\n');

  test.each<[string, HeaderList, string, string]>([
    ['no accept', [], 'text/plain; charset=utf-8', 'access denied\n'],
    ['curl', ['accept', '*/*'], 'text/plain; charset=utf-8', 'access denied\n'],
    [
      'JSON',
      ['accept', 'text/html', 'accept', 'application/json;q=0.9'],
      'application/json',
      '{"error":{"kind":"denied","flag":"RBAC","message":"access denied"}}\n',
    ],
    ['JSON sequence is not JSON', ['accept', 'application/jsonl'], 'text/plain; charset=utf-8', 'access denied\n'],
  ])('%s', (_, headers, type, body) => {
    const reply = localReply(request(headers), denied);
    expect(reply.head.status).toBe(403);
    expect(headerValue(reply.head.headers, 'content-type')).toBe(type);
    expect(headerValue(reply.head.headers, 'content-length')).toBe(String(body.length));
    expect(reply.body?.toString()).toBe(body);
  });

  test('the detail is for the own application alone', () => {
    expect(localReply(request([]), denied, true).body?.toString()).toContain('shop/p#rule-0');
    expect(localReply(request([]), denied).body?.toString()).not.toContain('shop/p');
  });

  test('gRPC gets trailers-only with an encoded message', () => {
    const reply = localReply(request(['content-type', 'application/grpc+proto'], 'POST'), denied, true);
    expect(reply.body).toBeNull();
    expect(reply.head.status).toBe(200);
    expect(reply.head.headers).toEqual([
      'content-type',
      'application/grpc+proto',
      'grpc-status',
      '7',
      'grpc-message',
      'access denied: shop/p#rule-0 %E2%80%94 100%25 "no"%0A',
      'x-weft-error',
      'RBAC',
    ]);
  });

  test('HEAD has the length but no body; no request, text', () => {
    const head = localReply(request([], 'HEAD'), denied);
    expect(head.body).toBeNull();
    expect(headerValue(head.head.headers, 'content-length')).toBe('14');
    expect(localReply(null, denied).body?.toString()).toBe('access denied\n');
  });

  test('respond writes it whole and says whether to close', () => {
    const written: string[] = [];
    const stream: HttpStream = {
      isDirect: true,
      events: { onHead() {}, onData() {}, onEnd() {}, onDrain() {}, onReset() {} },
      writeHead: (head, end) => void written.push(`${head.status} ${end}${head.closes ? ' closes' : ''}`),
      writeData: (chunk, end) => written.push(`${Buffer.from(chunk)} ${end}`) > 0,
      writeEnd: () => void written.push('end'),
      reset: () => void written.push('reset'),
      pause() {},
      resume() {},
    };
    respond(stream, request([]), denied);
    respond(stream, request([], 'HEAD'), new ProxyError('malformed', 'downstream', 'd'));
    expect(written).toEqual(['403 false', 'access denied\n true', '400 true closes']);
  });

  test('the log line names flag, kind, source and detail', () => {
    expect(errorLine(new ProxyError('noRoute', 'local', 'no Route for host x'))).toBe(
      'NR 404 noRoute (local): no Route for host x',
    );
  });
});
