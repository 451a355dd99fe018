// The AI port against a provider: keys, aliases, metering, and the ends that an answer can have.
import { once } from 'node:events';
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type MockProvider, startMockProvider } from '../../deploy/mock/mock-provider.ts';
import { ModelSchema, ProviderSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { ProviderFormat } from '../../proto/gen/weft/policy/v1/ai_pb.js';
import { Secret } from '../../sidecar/ai/secret.ts';
import { parsePrices } from '../../sidecar/ai/usage.ts';
import type { ModelState } from '../../sidecar/config/snapshot.ts';
import { AI_RULE, EMPTY_SNAPSHOT } from '../../sidecar/config/snapshot.ts';
import { ConfigState } from '../../sidecar/config/state.ts';
import { openAi } from '../../sidecar/listen/ai.ts';
import { oddIdentity } from '../support/identities.ts';
import { destinationTo, type ListenerRig, listenerRig, until } from '../support/listener-rig.ts';

const KEY = 'sk-mock-0123456789';
const MESSAGES = [{ role: 'user', content: 'good morning' }];
let mock: MockProvider;
let rig: ListenerRig;
const servers: Server[] = [];
const closings: (() => void)[] = [];

beforeEach(async () => {
  mock = await startMockProvider({ key: KEY });
  rig = await listenerRig(openAi, 'ai');
  configure(mock.port);
});

afterEach(async () => {
  for (const connection of rig.connections) connection.destroy();
  await until('every connection is closed', () => rig.connections.size === 0);
  rig.close();
  for (const close of closings.splice(0)) close();
  await mock.close();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

/** The model `fast`, served by whatever listens on `port`. */
function configure(port: number, key = KEY, firstByteMs = 5000): void {
  const provider = {
    name: 'shop/mock',
    destination: destinationTo(rig, 'shop/mock', port, 'http1', 'ai'),
    rule: { ...AI_RULE, requestTimeoutMs: firstByteMs },
  };
  const chat = {
    provider: {
      authority: `127.0.0.1:${port}`,
      pathPrefix: '/v1',
      key: Secret.fromEnvironment('KEY', { KEY: key }),
      headers: [],
    },
    model: 'mock-small',
    prices: parsePrices('1', '2'),
  };
  const model: ModelState = { name: 'shop/fast', targets: [{ provider, chat, cumulativeWeight: 1 }] };
  rig.context.snapshot = {
    ...EMPTY_SNAPSHOT,
    providers: new Map([['shop/mock', provider]]),
    models: new Map([['fast', model]]),
  };
}

/** A provider that does what the test says. */
async function provider(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<number> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

function ask(body: object, headers: Record<string, string> = {}, signal: AbortSignal | null = null): Promise<Response> {
  return fetch(`http://127.0.0.1:${rig.port}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Bearer of-the-application', ...headers },
    body: JSON.stringify({ model: 'fast', messages: MESSAGES, ...body }),
    signal,
  });
}

const outcome = (name: string): number => rig.count('aiRequests', 'shop/fast', 'shop/mock', name);

/** One request with a Host of the test's choice, which fetch does not allow. */
async function askAs(
  host: string,
  path: string,
  method: string,
  more: Record<string, string> = {},
): Promise<[number | undefined, string]> {
  const headers = { host, 'content-type': 'text/plain', ...more };
  const request = httpRequest({ host: '127.0.0.1', port: rig.port, path, method, headers, agent: false });
  request.end(method === 'GET' ? undefined : JSON.stringify({ model: 'fast', messages: MESSAGES }));
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return [response.statusCode, await text(response)];
}

test.each([
  ['https://evil.example', 403],
  ['null', 403],
  ['http://localhost.evil.example', 403],
  ['http://localhost:3000', 200],
  ['http://[::1]', 200],
])('a page of %s that calls localhost gets %d', async (origin, expected) => {
  let calls = 0;
  configure(
    await provider((_request, response) => {
      calls++;
      response.end('{}');
    }),
  );
  const [status, body] = await askAs('localhost', '/v1/chat/completions', 'POST', { origin });
  expect([status, calls]).toEqual([expected, expected === 200 ? 1 : 0]);
  if (expected === 403) expect(JSON.parse(body)).toMatchObject({ error: { code: 'forbidden_origin' } });
});

test.each(['evil.example', 'evil.example:15004', 'localhost.evil.example', 'orders'])(
  'a call under the name %s, which a page in a browser could have made its own, is 421 and no call',
  async (host) => {
    let calls = 0;
    configure(
      await provider((_request, response) => {
        calls++;
        response.end('{}');
      }),
    );
    for (const [path, method] of [
      ['/v1/chat/completions', 'POST'],
      ['/v1/models', 'GET'],
    ] as const) {
      const [status, body] = await askAs(host, path, method);
      expect(status).toBe(421);
      expect(JSON.parse(body).error).toMatchObject({
        code: 'misdirected_request',
        message: expect.stringContaining(host),
      });
    }
    await until('both are counted', () => rig.count('aiRequests', '', '', 'refused') === 2);
    expect(calls).toBe(0);
  },
);

test.each(['localhost', 'LOCALHOST:15004', 'ai.localhost:15004', '127.0.0.1:1', '[::1]:15004', '10.0.0.7'])(
  'a call under the name %s is served',
  async (host) => {
    expect((await askAs(host, '/v1/chat/completions', 'POST'))[0]).toBe(200);
  },
);

test('CVE class 11: what tells who the caller is stays here', async () => {
  let seen: IncomingMessage['headers'] = {};
  const port = await provider((request, response) => {
    seen = request.headers;
    response.end('{}');
  });
  configure(port);
  const told = {
    'x-forwarded-client-cert': 'URI=spiffe://mesh.local/ns/shop/sa/web',
    'x-forwarded-for': '10.0.0.7',
    'x-forwarded-host': 'shop.example',
    forwarded: 'for=10.0.0.7',
    origin: 'http://localhost:3000',
  };
  await (await ask({}, { ...told, 'x-mine': 'kept' })).text();
  expect(seen['x-mine']).toBe('kept');
  for (const name of Object.keys(told)) expect(seen).not.toHaveProperty(name);
});

test('an answer in one piece comes as the provider wrote it, and is counted in tokens and money', async () => {
  const response = await ask({});
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({ model: 'mock-small', usage: { prompt_tokens: 2 } });
  await until('the call is recorded', () => rig.records.length === 1);
  expect(rig.records[0]).toMatchObject({
    direction: 'ai',
    status: 200,
    service: 'shop/mock',
    usage: { model: 'mock-small', inputTokens: 2, outputTokens: 4, costMicroUsd: 10 },
  });
  expect(outcome('ok')).toBe(1);
  expect(rig.count('aiTokens', 'shop/fast', 'shop/mock', 'input')).toBe(2);
  expect(rig.count('aiTokens', 'shop/fast', 'shop/mock', 'output')).toBe(4);
  expect(rig.count('aiCost', 'shop/fast', 'shop/mock')).toBe(10);
});

test('a streamed answer ends in [DONE] and is counted, too', async () => {
  const text = await (await ask({ stream: true })).text();
  expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
  expect(text).not.toContain('prompt_tokens');
  expect(text).not.toContain('usage');
  await until('the call is recorded', () => rig.records.length === 1);
  expect(rig.records[0]?.usage).toMatchObject({ inputTokens: 2, outputTokens: 4 });
  expect(outcome('ok')).toBe(1);
});

test('the provider sees its own key, host and path, and nothing of the application’s', async () => {
  const seen: IncomingMessage[] = [];
  const port = await provider((request, response) => {
    seen.push(request);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
  configure(port);
  await (await ask({}, { cookie: 'session=1', 'x-api-key': 'mine' })).text();
  expect(seen[0]).toMatchObject({ url: '/v1/chat/completions', headers: { host: `127.0.0.1:${port}` } });
  expect(seen[0]?.headers.authorization).toBe(`Bearer ${KEY}`);
  expect(JSON.stringify(seen[0]?.rawHeaders)).not.toMatch(/of-the-application|session=1|mine/);
  await until('the call is recorded', () => rig.records.length === 1);
  expect(JSON.stringify(rig.records)).not.toContain(KEY);
});

test('a stream that the provider cuts ends in an error event, never as a clean end', async () => {
  const text = await (await ask({ stream: true }, { 'x-mock-cut': '3' })).text();
  const last = text.trim().split('\n\n').at(-1) ?? '';
  expect(JSON.parse(last.slice('data: '.length)).error.code).toBe('stream_incomplete');
  await until('the call is counted', () => outcome('cut') === 1);
  expect(rig.count('aiTokens', 'shop/fast', 'shop/mock', 'output_estimated')).toBe(3);
});

test('an answer in one piece that is cut is a broken body, never a whole one', async () => {
  const port = await provider((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' });
    response.write('{"choices":', () => response.socket?.destroy());
  });
  configure(port);
  const response = await ask({});
  await expect(response.text()).rejects.toThrow();
  await until('the call is counted', () => outcome('cut') === 1);
});

test.each([true, false])('a client that leaves cancels the provider at once (answering: %s)', async (answering) => {
  let asked = false;
  let closed = false;
  const port = await provider((request, response) => {
    asked = true;
    request.resume();
    response.on('close', () => {
      closed = true;
    });
    if (answering) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n');
    }
  });
  configure(port);
  const abort = new AbortController();
  const answer = ask({ stream: true }, {}, abort.signal);
  if (answering) await (await answer).body?.getReader().read();
  else await until('the provider has the request', () => asked);
  abort.abort();
  if (!answering) await expect(answer).rejects.toThrow();
  await until('the provider sees it', () => closed);
  await until('the call is recorded', () => rig.records.length === 1);
  expect(rig.records[0]?.flag).toBe('DC');
  expect(rig.count('active', 'ai')).toBe(0);
});

test('a wrong key of ours is the provider’s 401, unbilled', async () => {
  configure(mock.port, 'sk-other');
  const response = await ask({});
  expect(response.status).toBe(401);
  expect(await response.json()).toMatchObject({ error: { code: 'invalid_api_key' } });
  await until('the call is counted', () => outcome('error') === 1);
  expect(rig.count('aiCost', 'shop/fast', 'shop/mock')).toBe(0);
});

test.each([
  ['an unknown model', { model: 'slow' }, 404, 'model_not_found'],
  ['a model that is no text', { model: 3 }, 400, null],
])('%s is refused here, and recorded', async (_what, body, status, code) => {
  const response = await ask(body);
  expect(response.status).toBe(status);
  expect(await response.json()).toMatchObject({ error: { type: 'invalid_request_error', code } });
  await until('it is counted', () => rig.count('requests', 'ai', '', '', String(status), '', '-') === 1);
  expect(rig.count('aiRequests', '', '', 'refused')).toBe(1);
  expect(rig.count('active', 'ai')).toBe(0);
});

test('the models that this identity has are listed', async () => {
  const response = await fetch(`http://127.0.0.1:${rig.port}/v1/models`);
  expect(await response.json()).toMatchObject({ object: 'list', data: [{ id: 'fast', object: 'model' }] });
});

test('one of them is described, and another one is a 404 that SDKs understand', async () => {
  const url = `http://127.0.0.1:${rig.port}/v1/models`;
  expect(await (await fetch(`${url}/fast`)).json()).toMatchObject({ id: 'fast', object: 'model' });
  const unknown = await fetch(`${url}/slow`);
  expect(unknown.status).toBe(404);
  expect(await unknown.json()).toMatchObject({ error: { code: 'model_not_found', param: 'model' } });
  await until('it is counted', () => rig.count('requests', 'ai', '', '', '404', '', '-') === 1);
});

test('a provider without a usable key, one that is down, and one that is slow each get an error that SDKs understand', async () => {
  configure(mock.port, '');
  const keyless = await ask({});
  expect([keyless.status, ((await keyless.json()) as { error: { code: string } }).error.code]).toEqual([
    503,
    'provider_key',
  ]);
  configure(1);
  // As the SDKs ask, which then read `error.type` and `error.code`.
  const down = await ask({}, { accept: 'application/json' });
  expect([down.status, down.headers.get('x-weft-error')]).toEqual([503, 'UF']);
  expect(await down.json()).toMatchObject({ error: { type: 'server_error', code: 'provider_unavailable' } });
  configure(await provider((request) => void request.resume()), KEY, 50);
  const slow = await ask({});
  expect([slow.status, slow.headers.get('x-weft-error')]).toEqual([504, 'UT']);
  await slow.text();
});

test.each([
  ['a middlebox’s page for an error', 429, 'text/html', 429, 'The provider answered 429.'],
  [
    'a middlebox’s page for an answer',
    200,
    'text/html; charset=utf-8',
    502,
    'The provider answered 200 with text/html',
  ],
])('%s is an error that SDKs understand, streamed or not', async (_what, status, type, expected, message) => {
  configure(
    await provider((request, response) => {
      request.resume();
      response.writeHead(status, { 'content-type': type, 'retry-after': '7', 'set-cookie': 'a=b' }).end('<html>');
    }),
  );
  for (const stream of [false, true]) {
    const response = await ask({ stream });
    expect([response.status, response.headers.get('retry-after')]).toEqual([expected, '7']);
    expect(response.headers.get('set-cookie')).toBeNull();
    const { error } = (await response.json()) as { error: { message: string } };
    expect(error).toMatchObject({ type: 'server_error', code: 'provider_response' });
    expect(error.message).toContain(message);
  }
  await until('both are counted', () => outcome('error') === 2);
});

test('a page of a middlebox that never ends is not waited for', async () => {
  let closed = 0;
  configure(
    await provider((request, response) => {
      request.resume();
      response.on('close', () => closed++);
      response.writeHead(429, { 'content-type': 'text/html' }).write('<html>');
    }),
  );
  const response = await ask({});
  expect([response.status, (await response.text()).includes('provider_response')]).toEqual([429, true]);
  await until('the provider is let go', () => closed === 1);
  await until('the call is recorded', () => rig.records.length === 1);
  expect(rig.records[0]).toMatchObject({ status: 429, flag: '-' });
  expect([outcome('error'), rig.count('active', 'ai')]).toEqual([1, 0]);
});

/** Applies a Provider and a Model as the control plane sends them. */
async function apply(baseUrl: string, caPem: string): Promise<void> {
  const { context } = rig;
  const state = new ConfigState({
    clock: context.clock,
    wheel: context.wheel,
    random: context.random,
    series: context.series,
    trustDomain: 'mesh.local',
    namespace: 'shop',
    apps: [],
    secureContext: () => null,
    peers: rig.context.peers,
    spiffeId: () => '',
    announce() {},
    publish: (snapshot) => {
      context.snapshot = snapshot;
    },
  });
  closings.push(() => state.close());
  const spec = { format: ProviderFormat.OPENAI_CHAT, baseUrl };
  const provider = create(ProviderSchema, { name: 'shop/private', spec, caPem });
  const targets = [{ provider: 'shop/private', model: 'mock-small' }];
  const model = create(ModelSchema, { name: 'shop/fast', spec: { targets } });
  const prefix = 'type.googleapis.com/weft.mesh.v1.';
  const errors = await state.apply(
    [
      { typeUrl: `${prefix}Provider`, name: 'shop/private', version: '1', bytes: toBinary(ProviderSchema, provider) },
      { typeUrl: `${prefix}Model`, name: 'shop/fast', version: '1', bytes: toBinary(ModelSchema, model) },
    ],
    [],
  );
  expect(errors).toEqual([]);
  await until(
    'the name is resolved',
    () => (context.snapshot.providers.get('shop/private')?.destination.cluster.size ?? 0) > 0,
  );
}

test('a provider over https is verified by its roots and its name, and sees host and path of its URL', async () => {
  const { identity, rootPem } = await oddIdentity([], 60_000, { dnsNames: ['localhost'] });
  const seen: IncomingMessage[] = [];
  const server = createTlsServer({ key: identity.privateKeyPem, cert: identity.chainPem }, (request, response) => {
    seen.push(request);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  }).listen(0, 'localhost');
  servers.push(server);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const url = `https://localhost:${port}/custom/v1/`;
  await apply(url, rootPem);
  expect((await ask({})).status).toBe(200);
  expect(seen[0]).toMatchObject({ url: '/custom/v1/chat/completions', headers: { host: `localhost:${port}` } });
  await apply(url, (await oddIdentity([])).rootPem);
  const untrusted = await ask({});
  expect([untrusted.status, untrusted.headers.get('x-weft-error')]).toEqual([503, 'UF']);
  expect(seen).toHaveLength(1);
});
