// The AI stream between a client and an exchange, both played by the test.

import { describe, expect, test } from 'vitest';
import { type ChatCall, ChatStream } from '../../../sidecar/ai/chat-stream.ts';
import { Secret } from '../../../sidecar/ai/secret.ts';
import { parsePrices } from '../../../sidecar/ai/usage.ts';
import { LIMITS } from '../../../sidecar/base/limits.ts';
import { ProxyError } from '../../../sidecar/wire/error.ts';
import { headerValue } from '../../../sidecar/wire/headers.ts';
import { Head } from '../../../sidecar/wire/stream.ts';
import { MemoryStream, Recorder } from '../../support/memory-stream.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const SSE = ['content-type', 'text/event-stream'];

function setup(bodyBytesMax?: number) {
  const client = new MemoryStream();
  const upstream = new Recorder();
  const calls: ChatCall[] = [];
  const local: number[] = [];
  const discarded: ChatCall[] = [];
  const stream = new ChatStream(client, {
    resolveModel: (alias) =>
      alias === 'fast'
        ? {
            provider: {
              authority: 'api.example:443',
              pathPrefix: '/v1',
              key: Secret.fromEnvironment('KEY', { KEY: 'sk-provider' }),
              headers: ['x-org', 'weft'],
            },
            model: 'gpt-x-mini',
            prices: parsePrices('2.50', '10'),
          }
        : null,
    servesHost: () => true,
    servesOrigin: () => true,
    listModels: () => ['fast', 'org/large'],
    onUsage: (call) => calls.push(call),
    onDiscard: () => discarded.push(...calls),
    onLocal: (_request, status) => local.push(status),
    ...(bodyBytesMax === undefined ? {} : { bodyBytesMax }),
  });
  stream.events = upstream;
  const ask = (body: string) => {
    const headers = ['authorization', 'Bearer mine', 'x-api-key', 'mine', 'content-length', String(body.length)];
    stream.onHead(Head.request('POST', 'http', 'ai', '/v1/chat/completions', headers), false);
    stream.onData(bytes(body.slice(0, 9)), false);
    if (!client.sent.ended) stream.onData(bytes(body.slice(9)), true);
  };
  return { client, upstream, calls, local, discarded, stream, ask };
}

const STREAMED = '{"model":"fast","stream":true,"seed":12345678901234567890}';
const DELTA = 'data: {"choices":[{"index":0,"delta":{"content":"hi"}}],"usage":null}\n\n';
/** What a client gets of it that did not ask for usage. */
const BARE = 'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n';
const USAGE = 'data: {"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":7}}\n\n';

describe('the request', () => {
  test('goes to the provider with its key, its model and no byte changed elsewhere', () => {
    const { ask, upstream } = setup();
    ask(STREAMED);
    const head = upstream.head as Head;
    expect([head.authority, head.path]).toEqual(['api.example:443', '/v1/chat/completions']);
    expect(headerValue(head.headers, 'authorization')).toBe('Bearer sk-provider');
    expect(headerValue(head.headers, 'x-api-key')).toBeUndefined();
    expect(headerValue(head.headers, 'x-org')).toBe('weft');
    const body =
      '{"stream_options":{"include_usage":true},"model":"gpt-x-mini","stream":true,"seed":12345678901234567890}';
    expect(upstream.text).toBe(body);
    expect(headerValue(head.headers, 'content-length')).toBe(String(body.length));
    expect(upstream.ended).toBe(true);
  });

  test.each([
    ['{"model":"slow"}', 404, 'model_not_found'],
    ['{"model":3}', 400, null],
    ['{"model":"fast"', 400, null],
    ['{"model":"fast","model":"other"}', 400, null],
    // CVE class 13: nested deeper than 200 levels.
    [`{"model":"fast","x":${'['.repeat(200)}${']'.repeat(200)}}`, 400, null],
  ])('%s is refused with %i', (body, status, code) => {
    const { ask, client, upstream, calls, local } = setup();
    ask(body);
    expect(local).toEqual([status]);
    expect(client.sent.head?.status).toBe(status);
    expect(JSON.parse(client.sent.text).error).toMatchObject({ type: 'invalid_request_error', code });
    expect(upstream.head).toBeNull();
    expect(calls).toEqual([]);
  });

  test.each([
    ['GET', '/v1/models', 200],
    ['GET', '/v1/models/', 404],
    ['DELETE', '/v1/models/fast', 405],
    ['GET', '/v1/chat/completions', 405],
    ['POST', '/v1/models', 405],
    ['POST', '/v1/embeddings', 404],
  ])('%s %s is answered here with %i, once', (method, path, status) => {
    const { stream, client, upstream, local, calls } = setup();
    stream.onHead(Head.request(method, 'http', 'ai', `${path}?x=1`, []), true);
    expect(client.sent.head?.status).toBe(status);
    expect([upstream.head, local, calls]).toEqual([null, [status], []]);
    if (status === 200)
      expect(JSON.parse(client.sent.text).data).toMatchObject([{ id: 'fast', object: 'model' }, { id: 'org/large' }]);
  });

  test.each([
    ['/v1/models/fast', 'fast'],
    ['/v1/models/fast?x=1', 'fast'],
    ['/v1/models/%66ast', 'fast'],
    ['/v1/models/org/large', 'org/large'],
  ])('%s is the model %s', (path, id) => {
    const { stream, client, local } = setup();
    stream.onHead(Head.request('GET', 'http', 'ai', path, []), true);
    expect(client.sent.head?.status).toBe(200);
    expect(JSON.parse(client.sent.text)).toEqual({ id, object: 'model', created: 0, owned_by: 'weft' });
    expect(local).toEqual([200]);
  });

  test.each([
    ['/v1/models/slow', 'slow'],
    ['/v1/models/%zz', '%zz'],
  ])('%s is no model, in the words of OpenAI', (path, name) => {
    const { stream, client } = setup();
    stream.onHead(Head.request('GET', 'http', 'ai', path, []), true);
    expect(client.sent.head?.status).toBe(404);
    const message = `The model '${name}' does not exist or you do not have access to it.`;
    expect(JSON.parse(client.sent.text)).toEqual({
      error: { message, type: 'invalid_request_error', param: 'model', code: 'model_not_found' },
    });
  });

  test('a client that leaves before its body is whole is told of once, as no call', () => {
    const { stream, upstream, local, calls } = setup();
    stream.onHead(Head.request('POST', 'http', 'ai', '/v1/chat/completions', []), false);
    stream.onData(bytes('{"mod'), false);
    stream.onReset(new ProxyError('cancelled', 'downstream', 'gone'));
    expect([upstream.head, upstream.error, local, calls]).toEqual([null, null, [0], []]);
  });

  test('CVE class 13: a body above the limit is 413, announced or not', () => {
    const announced = setup(20);
    announced.ask(STREAMED);
    expect(announced.client.sent.head?.status).toBe(413);
    const { stream, client } = setup(20);
    stream.onHead(Head.request('POST', 'http', 'ai', '/', []), false);
    stream.onData(bytes(STREAMED), false);
    stream.onData(bytes('more'), true);
    expect(client.sent.head?.status).toBe(413);
  });
});

describe('the response', () => {
  test('streams through; the usage chunk is counted and withheld from a client that did not ask', () => {
    const { ask, stream, client, calls } = setup();
    ask(STREAMED);
    stream.writeHead(Head.response(200, SSE.slice()), false);
    stream.writeData(bytes(DELTA + USAGE.slice(0, 20)), false);
    stream.writeData(bytes(`${USAGE.slice(20)}data: [DONE]\n\n`), true);
    expect(client.sent.text).toBe(`${BARE}data: [DONE]\n\n`);
    expect(client.sent.ended).toBe(true);
    expect(calls).toHaveLength(1);
    expect(calls[0]).toMatchObject({ alias: 'fast', model: 'gpt-x-mini', status: 200, complete: true, outcome: 'ok' });
    expect(calls[0]?.costMicroDollars).toBe(320n);
  });

  test('a client that asked for usage gets every event as it came', () => {
    const { ask, stream, client } = setup();
    ask('{"model":"fast","stream":true,"stream_options":{"include_usage":true}}');
    stream.writeHead(Head.response(200, SSE.slice()), false);
    stream.writeData(bytes(`${DELTA}${USAGE}data: [DONE]\n\n`), true);
    expect(client.sent.text).toBe(`${DELTA}${USAGE}data: [DONE]\n\n`);
  });

  test.each(['end', 'reset'])('a stream cut by %s ends in an error event', (how) => {
    const { ask, stream, client, calls } = setup();
    ask(STREAMED);
    stream.writeHead(Head.response(200, SSE.slice()), false);
    stream.writeData(bytes(`${DELTA}data: {"cho`), false);
    if (how === 'end') stream.writeEnd(null);
    else stream.reset(new ProxyError('connectionClosed', 'upstream', 'gone'));
    expect(client.sent.text.startsWith(BARE)).toBe(true);
    const last = client.sent.text.slice(BARE.length);
    expect(JSON.parse(last.slice('data: '.length)).error.code).toBe('stream_incomplete');
    expect(last).not.toContain('[DONE]');
    expect(client.sent.ended).toBe(true);
    expect(calls).toMatchObject([{ usage: null, complete: false, outcome: 'cut', choiceEvents: 1 }]);
  });

  test('not streamed: bytes as they came, usage counted', () => {
    const { ask, stream, client, calls } = setup();
    ask('{"model":"fast"}');
    const body = '{ "choices":[{}], "usage":{"prompt_tokens":4,"completion_tokens":1} }';
    stream.writeHead(Head.response(200, ['content-type', 'application/json']), false);
    stream.writeData(bytes(body.slice(0, 30)), false);
    stream.writeData(bytes(body.slice(30)), false);
    stream.writeEnd(null);
    expect(client.sent.text).toBe(body);
    expect(calls).toMatchObject([{ costMicroDollars: 20n, complete: true }]);
  });

  test("a middlebox's page becomes an error in the client's format", () => {
    const { ask, stream, client, calls } = setup();
    ask('{"model":"fast"}');
    stream.writeHead(Head.response(503, ['content-type', 'text/html']), false);
    stream.writeData(bytes('<html>'), true);
    expect(client.sent.head?.status).toBe(503);
    expect(JSON.parse(client.sent.text).error.type).toBe('server_error');
    expect(calls).toMatchObject([{ outcome: 'error' }]);
  });

  test('our own reply in place of the provider keeps its flag', () => {
    const { ask, stream, client } = setup();
    ask('{"model":"fast"}');
    stream.writeHead(Head.response(503, ['content-type', 'text/plain', 'x-weft-error', 'UF']), false);
    stream.writeData(bytes('no'), true);
    expect(headerValue(client.sent.head?.headers ?? [], 'x-weft-error')).toBe('UF');
    expect(JSON.parse(client.sent.text).error.code).toBe('provider_unavailable');
  });

  test('a slow client holds the provider back until it drains', () => {
    const { ask, stream, client, upstream } = setup();
    ask(STREAMED);
    stream.writeHead(Head.response(200, SSE.slice()), false);
    client.room = false;
    expect(stream.writeData(bytes(DELTA), false)).toBe(false);
    expect(stream.writeData(bytes('data'), false)).toBe(false);
    client.room = true;
    stream.onDrain();
    expect(upstream.drains).toBe(1);
    expect(stream.writeData(bytes(':1\n\n'), false)).toBe(true);
  });
});

test('a client that leaves cancels upstream at once and is metered once', () => {
  const { ask, stream, upstream, calls, client } = setup();
  ask(STREAMED);
  stream.writeHead(Head.response(200, SSE.slice()), false);
  stream.writeData(bytes(DELTA), false);
  const gone = new ProxyError('cancelled', 'downstream', 'gone');
  stream.onReset(gone);
  expect(upstream.error).toBe(gone);
  stream.reset(gone);
  expect(calls).toMatchObject([{ complete: false, outcome: 'cancelled', choiceEvents: 1 }]);
  expect(client.sent.error).toBeNull();
});

describe('an answer of which the rest is of no use', () => {
  test.each([
    ['a page in place of an error', 429, 'text/html'],
    ['a page in place of a completion', 200, 'text/html'],
  ])('%s stops the provider once it is counted', (_what, status, type) => {
    const { client, stream, ask, discarded } = setup();
    ask('{"model":"fast"}');
    stream.writeHead(Head.response(status, ['content-type', type]), false);
    expect(client.sent.ended).toBe(true);
    expect(discarded).toMatchObject([{ outcome: 'error', status }]);
  });

  test('an event that is too large ends the stream in an error, and stops the provider', () => {
    const { client, stream, ask, discarded } = setup();
    ask('{"model":"fast","stream":true}');
    stream.writeHead(Head.response(200, SSE), false);
    stream.writeData(bytes('data: {"choices":[{}]}\n\n'), false);
    stream.writeData(bytes(`data: ${'x'.repeat(LIMITS.sseEventBytesMax)}`), false);
    expect([client.sent.ended, client.sent.text.includes('event_too_large')]).toEqual([true, true]);
    expect(discarded).toMatchObject([{ outcome: 'cut', choiceEvents: 1 }]);
  });

  test('nothing is stopped that goes on', () => {
    const { client, stream, ask, discarded } = setup();
    ask('{"model":"fast","stream":true}');
    stream.writeHead(Head.response(200, SSE), false);
    stream.writeData(bytes('data: {"choices":[{}]}\n\n'), false);
    expect([client.sent.ended, discarded]).toEqual([false, []]);
  });
});
