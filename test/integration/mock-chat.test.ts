// The AI stream against the mock provider over real HTTP: key exchange, metering and the ends of a stream.

import { request } from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type MockProvider, startMockProvider } from '../../deploy/mock/mock-provider.ts';
import { type ChatCall, ChatStream } from '../../sidecar/ai/chat-stream.ts';
import { Secret } from '../../sidecar/ai/secret.ts';
import { parsePrices } from '../../sidecar/ai/usage.ts';
import { ProxyError } from '../../sidecar/wire/error.ts';
import { Head, type HttpStream } from '../../sidecar/wire/stream.ts';
import { MemoryStream, Recorder } from '../support/memory-stream.ts';

let mock: MockProvider;

beforeEach(async () => {
  mock = await startMockProvider({ key: 'sk-mock' });
});

afterEach(() => mock.close());

/** Plays the exchange: sends what it is handed to the provider, and the answer back. */
class Upstream extends Recorder {
  private readonly stream: HttpStream;

  constructor(stream: HttpStream) {
    super();
    this.stream = stream;
  }

  override onData(chunk: Uint8Array, end: boolean): void {
    super.onData(chunk, end);
    const head = this.head as Head;
    const [host, port] = head.authority.split(':');
    const sent = request(
      { host, port, method: head.method, path: head.path, headers: [...head.headers, 'host', head.authority] },
      (response) => {
        const headers = response.rawHeaders.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text));
        this.stream.writeHead(Head.response(response.statusCode ?? 0, headers), false);
        response.on('data', (data: Buffer) => this.stream.writeData(data, false));
        response.on('end', () => this.stream.writeEnd(null));
        response.on('error', () => this.stream.reset(new ProxyError('connectionClosed', 'upstream', 'cut')));
      },
    );
    sent.end(chunk);
  }
}

function chat(body: object, key: string, headers: string[] = []): Promise<{ client: MemoryStream; call: ChatCall }> {
  return new Promise((resolve) => {
    const client = new MemoryStream();
    const stream = new ChatStream(client, {
      resolveModel: () => ({
        provider: {
          authority: `127.0.0.1:${mock.port}`,
          pathPrefix: '/v1',
          key: Secret.fromEnvironment('KEY', { KEY: key }),
          headers: [],
        },
        model: 'mock-small',
        prices: parsePrices('1', '2'),
      }),
      servesHost: () => true,
      servesOrigin: () => true,
      listModels: () => [],
      onLocal: () => {},
      onDiscard: () => {},
      onUsage: (call) => resolve({ client, call }),
    });
    stream.events = new Upstream(stream);
    const all = ['authorization', 'Bearer of-the-application', ...headers];
    stream.onHead(Head.request('POST', 'http', 'ai', '/v1/chat/completions', all), false);
    const text = JSON.stringify({ model: 'fast', messages: [{ role: 'user', content: 'good morning' }], ...body });
    stream.onData(new TextEncoder().encode(text), true);
  });
}

test('a stream ends in [DONE], is billed, and shows no usage that was not asked for', async () => {
  const { client, call } = await chat({ stream: true }, 'sk-mock');
  expect(client.sent.text.endsWith('data: [DONE]\n\n')).toBe(true);
  expect(client.sent.text).not.toContain('prompt_tokens');
  expect(client.sent.ended).toBe(true);
  expect(call).toMatchObject({
    complete: true,
    costMicroDollars: 10n,
    usage: { promptTokens: 2, completionTokens: 4 },
  });
});

test('a provider that breaks off gives the client an error event', async () => {
  const { client, call } = await chat({ stream: true }, 'sk-mock', ['x-mock-cut', '3']);
  const events = client.sent.text.trim().split('\n\n');
  expect(events).toHaveLength(4);
  expect(JSON.parse((events[3] as string).slice('data: '.length)).error.code).toBe('stream_incomplete');
  expect(call).toMatchObject({ complete: false, usage: null, choiceEvents: 3 });
});

test('a wrong key of ours is the provider’s 401, unbilled', async () => {
  const { client, call } = await chat({}, 'sk-other');
  expect(client.sent.head?.status).toBe(401);
  expect(call).toMatchObject({ status: 401, usage: null, costMicroDollars: null });
});
