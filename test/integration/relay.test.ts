// HTTP/1.1 and HTTP/2 on both sides of a relay, driven by Node's own clients against Node's own servers: what the
// application behind saw and what the caller got is what was sent, in every combination of protocols.
import { once } from 'node:events';
import * as http from 'node:http';
import * as http2 from 'node:http2';
import { type AddressInfo, connect, createServer } from 'node:net';
import { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { afterEach, describe, expect, test } from 'vitest';
import { freePort } from '../support/ports.ts';
import { type RelayProxy, relayProxy } from '../support/relay-proxy.ts';

type Protocol = 'http1' | 'http2';
interface Answer {
  status: number;
  headers: Record<string, unknown>;
  body: Buffer;
  trailers: Record<string, unknown>;
}

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Echoes the body, says what it saw, and ends with a trailer. */
async function upstream(protocol: Protocol): Promise<number> {
  const handler = (request: http.IncomingMessage, response: http.ServerResponse): void => {
    response.setHeader('x-saw', `${request.method} ${request.url} ${request.headers['x-name'] ?? ''}`);
    response.setHeader('trailer', 'x-sum');
    response.writeHead(request.url === '/missing' ? 404 : 200);
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    request.on('end', () => {
      response.addTrailers({ 'x-sum': String(bytes) });
    });
    request.pipe(response);
  };
  const server =
    protocol === 'http1'
      ? http.createServer(handler)
      : http2.createServer((request, response) => handler(request as never, response as never));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function call(
  protocol: Protocol,
  port: number,
  method: string,
  path: string,
  body: Buffer | null,
): Promise<Answer> {
  if (protocol === 'http1') {
    const request = http.request({
      port,
      host: '127.0.0.1',
      method,
      path,
      headers: { 'x-name': 'weft' },
      agent: false,
    });
    if (body === null) request.end();
    else Readable.from([body]).pipe(request);
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    return {
      status: response.statusCode as number,
      headers: response.headers,
      body: await buffer(response),
      trailers: response.trailers,
    };
  }
  const session = http2.connect(`http://127.0.0.1:${port}`);
  try {
    const stream = session.request(
      { ':method': method, ':path': path, 'x-name': 'weft' },
      { endStream: body === null },
    );
    if (body !== null) stream.end(body);
    let trailers: Record<string, unknown> = {};
    stream.on('trailers', (fields) => {
      trailers = fields;
    });
    const [headers] = (await once(stream, 'response')) as [Record<string, unknown>];
    return { status: headers[':status'] as number, headers, body: await buffer(stream), trailers };
  } finally {
    session.close();
  }
}

async function setUp(inbound: Protocol, outbound: Protocol): Promise<RelayProxy> {
  const proxy = await relayProxy(inbound, outbound, [await upstream(outbound)]);
  cleanups.push(() => proxy.close());
  return proxy;
}

const combinations: [Protocol, Protocol][] = [
  ['http1', 'http1'],
  ['http1', 'http2'],
  ['http2', 'http1'],
  ['http2', 'http2'],
];

describe.each(combinations)('%s in, %s out', (inbound, outbound) => {
  test('a GET arrives whole and its answer comes back whole', async () => {
    const proxy = await setUp(inbound, outbound);
    const answer = await call(inbound, proxy.port, 'GET', '/a?b=c', null);
    expect(answer.status).toBe(200);
    expect(answer.headers['x-saw']).toBe('GET /a?b=c weft');
    expect(answer.body.length).toBe(0);
  });

  test('a 1 MiB body goes up and down unchanged, with trailers', async () => {
    const proxy = await setUp(inbound, outbound);
    const body = Buffer.alloc(1024 * 1024, 'weft ');
    const answer = await call(inbound, proxy.port, 'POST', '/echo', body);
    expect(answer.body.equals(body)).toBe(true);
    expect(answer.trailers['x-sum']).toBe(String(body.length));
  });

  test('a hundred calls at once are a hundred answers, each finished once', async () => {
    const proxy = await setUp(inbound, outbound);
    const calls = Array.from({ length: 100 }, (_, i) =>
      call(inbound, proxy.port, 'POST', `/n/${i}`, Buffer.from(`body ${i}`)),
    );
    const answers = await Promise.all(calls);
    expect(answers.map((answer) => answer.body.toString())).toEqual(answers.map((_, i) => `body ${i}`));
    expect(proxy.finished).toHaveLength(100);
    expect(proxy.finished.every((exchange) => exchange.error === null)).toBe(true);
  });

  test('statuses are the application’s own', async () => {
    const proxy = await setUp(inbound, outbound);
    expect((await call(inbound, proxy.port, 'GET', '/missing', null)).status).toBe(404);
  });
});

/** An upstream whose second chunk is none: a good head, three good bytes, and nonsense, in one segment. */
async function brokenUpstream(): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nXX'));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

test('what came before a bad chunk reaches an HTTP/1.1 caller, and no last chunk', async () => {
  const proxy = await relayProxy('http1', 'http1', [await brokenUpstream()]);
  cleanups.push(() => proxy.close());
  const socket = connect(proxy.port, '127.0.0.1');
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  expect(await text(socket)).toBe('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n');
  expect(proxy.finished[0]?.error?.source).toBe('upstream');
});

test('what came before a bad chunk reaches an HTTP/2 caller, and then RST_STREAM', async () => {
  const proxy = await relayProxy('http2', 'http1', [await brokenUpstream()]);
  cleanups.push(() => proxy.close());
  const session = http2.connect(`http://127.0.0.1:${proxy.port}`);
  cleanups.push(() => session.close());
  const stream = session.request({ ':path': '/' });
  const got: string[] = [];
  stream.on('response', (headers) => got.push(`${headers[':status']}`));
  stream.on('data', (chunk: Buffer) => got.push(chunk.toString()));
  const [error] = (await once(stream, 'error')) as [Error];
  expect(got).toEqual(['200', 'abc']);
  expect(error.message).toContain('NGHTTP2_');
});

test('an upstream that is not there is answered here, by name', async () => {
  const proxy = await relayProxy('http1', 'http1', [await freePort()]);
  cleanups.push(() => proxy.close());
  const answer = await call('http1', proxy.port, 'GET', '/', null);
  expect([answer.status, answer.headers['x-weft-error']]).toEqual([503, 'UF']);
  expect(proxy.finished[0]?.attempts).toBe(2);
});

test('a dead endpoint beside a live one costs no request, not even a POST', async () => {
  const proxy = await relayProxy('http1', 'http1', [await freePort(), await upstream('http1')]);
  cleanups.push(() => proxy.close());
  const statuses: number[] = [];
  for (let i = 0; i < 40; i++) statuses.push((await call('http1', proxy.port, 'POST', '/x', Buffer.from('y'))).status);
  expect(new Set(statuses)).toEqual(new Set([200]));
});

test('an upstream that never answers runs into the timeout of its rule', async () => {
  const silent = http.createServer(() => {});
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  cleanups.push(() => {
    silent.closeAllConnections();
    silent.close();
  });
  const proxy = await relayProxy('http2', 'http1', [(silent.address() as AddressInfo).port], { requestTimeoutMs: 50 });
  cleanups.push(() => proxy.close());
  const answer = await call('http2', proxy.port, 'GET', '/', null);
  expect([answer.status, answer.headers['x-weft-error']]).toEqual([504, 'UT']);
  expect(proxy.finished[0]?.error?.kind).toBe('requestTimeout');
});
