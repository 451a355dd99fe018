// The HTTP/2 codec against Node's own, in both roles, over real sockets: bodies beyond every window, slow readers,
// trailers, informational heads, many streams, drain and refusal.

import { once } from 'node:events';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import net from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { ProxyError } from '../../../sidecar/wire/error.ts';
import { Http2ClientConnection } from '../../../sidecar/wire/http2/client.ts';
import { type Http2ServerConnection, serveHttp2 } from '../../../sidecar/wire/http2/server.ts';
import { WireSocket } from '../../../sidecar/wire/socket.ts';
import { Head, type HttpStream, type StreamAcceptor, type StreamEvents } from '../../../sidecar/wire/stream.ts';

const MIB = 1024 * 1024;
const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function listen(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

const SILENT: StreamEvents = { onHead() {}, onData() {}, onEnd() {}, onDrain() {}, onReset() {} };

/** Echoes heads, bodies with backpressure, and trailers. */
const echo: StreamAcceptor = (stream) => ({
  onHead(head, end) {
    stream.writeHead(Head.response(103, ['link', '</a>']), false);
    stream.writeHead(
      Head.response(200, ['x-path', head.path, 'x-cookie', head.headers[head.headers.indexOf('cookie') + 1] ?? '']),
      end,
    );
  },
  onData(chunk, end) {
    if (!stream.writeData(chunk, end)) stream.pause();
  },
  onEnd: (trailers) => stream.writeEnd(trailers),
  onDrain: () => stream.resume(),
  onReset() {},
});

async function ourServer(
  accept: StreamAcceptor,
  guards: string[] = [],
): Promise<{ port: number; connections: Http2ServerConnection[] }> {
  const connections: Http2ServerConnection[] = [];
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    closers.push(() => socket.destroy());
    connections.push(
      serveHttp2(new WireSocket(socket), accept, {
        scheme: 'http',
        onMalformed() {},
        onGuard: (name) => guards.push(name),
        onClose() {},
      }),
    );
  });
  return { port: await listen(server), connections };
}

function nodeClient(port: number): http2.ClientHttp2Session {
  const client = http2.connect(`http://127.0.0.1:${port}`);
  client.on('error', () => {});
  closers.push(() => client.destroy());
  return client;
}

async function ourClient(port: number): Promise<Http2ClientConnection> {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await once(socket, 'connect');
  closers.push(() => socket.destroy());
  return new Http2ClientConnection(new WireSocket(socket), { onClose() {}, onRoom() {} });
}

interface Answer {
  heads: Head[];
  bytes: number;
  trailers: string[] | null;
  error: ProxyError | null;
}

/** Sends a request with `body` bytes and collects the answer; `slow` pauses at each chunk for a turn. */
function call(connection: Http2ClientConnection, body: number, slow = false): Promise<Answer> {
  return new Promise((resolve) => {
    const answer: Answer = { heads: [], bytes: 0, trailers: null, error: null };
    let left = body;
    const send = (): void => {
      while (left > 0) {
        left -= Math.min(left, 65536);
        if (!stream.writeData(Buffer.alloc(65536, 'x'), false)) break;
      }
      if (left === 0) stream.writeEnd(['x-sum', 'done']);
    };
    const events: StreamEvents = {
      onHead(head, end) {
        answer.heads.push(head);
        if (end) resolve(answer);
      },
      onData(chunk, end) {
        answer.bytes += chunk.length;
        if (end) resolve(answer);
        if (!slow) return;
        stream.pause();
        setImmediate(() => stream.resume());
      },
      onEnd(trailers) {
        answer.trailers = trailers;
        resolve(answer);
      },
      onDrain: send,
      onReset(error) {
        answer.error = error;
        resolve(answer);
      },
    };
    const stream = connection.open(events) as HttpStream;
    stream.writeHead(Head.request(body > 0 ? 'POST' : 'GET', 'http', 'localhost', '/x', []), body === 0);
    if (body > 0) send();
  });
}

describe('as a server, for Node’s client', () => {
  test('a 1 MiB body comes back to a slow reader', async () => {
    const { port } = await ourServer(echo);
    const request = nodeClient(port).request({ ':method': 'POST', ':path': '/big', cookie: ['a=1', 'b=2'] });
    const informational: number[] = [];
    request.on('headers', (headers) => informational.push(headers[':status'] as number));
    const response = once(request, 'response');
    request.end(Buffer.alloc(MIB, 'y'));
    const [headers] = await response;
    expect(informational).toEqual([103]);
    expect(headers['x-cookie']).toBe('a=1; b=2');
    let bytes = 0;
    for await (const chunk of request) {
      bytes += (chunk as Buffer).length;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(bytes).toBe(MIB);
  });

  test('an answer that ends before its request arrives whole, and the request is cancelled without an error', async () => {
    let pieces = 0;
    const { port, connections } = await ourServer((stream) => {
      const push = (): void => {
        while (pieces < 16) if (!stream.writeData(Buffer.alloc(MIB / 16, 'y'), ++pieces === 16)) return;
      };
      return {
        onHead() {
          // Nobody will read on: the client's window is never opened again.
          stream.pause();
          stream.writeHead(Head.response(413, []), false);
          push();
        },
        onData() {},
        onEnd() {},
        onDrain: push,
        onReset() {},
      };
    });
    const request = nodeClient(port).request({ ':method': 'POST', ':path': '/' });
    request.end(Buffer.alloc(4 * MIB, 'x'));
    const closed = once(request, 'close');
    let bytes = 0;
    for await (const chunk of request) bytes += (chunk as Buffer).length;
    await closed;
    expect([bytes, request.rstCode]).toEqual([MIB, http2.constants.NGHTTP2_NO_ERROR]);
    expect(connections[0]?.activeStreams).toBe(0);
  });

  test('drain finishes open streams and closes', async () => {
    let held: HttpStream | null = null;
    const { port, connections } = await ourServer((stream) => {
      held = stream;
      return echo(stream);
    });
    const client = nodeClient(port);
    const request = client.request({ ':method': 'POST', ':path': '/' });
    await once(request, 'response');
    connections[0]?.drain();
    await once(client, 'goaway');
    request.end('bye');
    let text = '';
    for await (const chunk of request) text += chunk;
    expect(text).toBe('bye');
    await once(client, 'close');
    expect(held).not.toBeNull();
    expect(connections[0]?.activeStreams).toBe(0);
  });

  test('CVE class 1: rapid reset trips the guard by name', async () => {
    const guards: string[] = [];
    const { port } = await ourServer(() => SILENT, guards);
    const client = nodeClient(port);
    const closed = new Promise((resolve) => client.once('close', resolve));
    await once(client, 'remoteSettings');
    for (let round = 0; round < 40 && !client.destroyed; round++) {
      for (let i = 0; i < 50; i++) {
        const request = client.request({ ':method': 'POST', ':path': '/' });
        request.on('error', () => {});
        request.close(http2.constants.NGHTTP2_CANCEL);
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    await closed;
    expect(guards).toEqual(['rapidReset']);
  });
});

describe('as a client, for Node’s server', () => {
  test('1 MiB both ways with a slow reader, and trailers back', async () => {
    const server = http2.createServer();
    server.on('stream', (stream: http2.ServerHttp2Stream) => {
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-end': 'yes' }));
      stream.pipe(stream);
    });
    const connection = await ourClient(await listen(server));
    const answer = await call(connection, MIB, true);
    expect(answer).toMatchObject({ bytes: MIB, trailers: ['x-end', 'yes'], error: null });
    expect(connection.activeStreams).toBe(0);
    connection.close();
  });

  test('a stream abandoned before its head leaves the connection usable', async () => {
    const server = http2.createServer((_, response) => response.end('ok'));
    const connection = await ourClient(await listen(server));
    connection.open(SILENT)?.reset(new ProxyError('cancelled', 'downstream', 'gone'));
    expect(await call(connection, 0)).toMatchObject({ bytes: 2, error: null });
    connection.close();
  });

  test('REFUSED_STREAM may be retried', async () => {
    const server = http2.createServer();
    server.on('stream', (stream: http2.ServerHttp2Stream) => {
      stream.on('error', () => {});
      stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    });
    const connection = await ourClient(await listen(server));
    expect((await call(connection, 0)).error).toMatchObject({ kind: 'refused', retry: 'yes' });
    connection.close();
  });
});

test('both roles together: 300 streams in turn of 50, with bodies and trailers', async () => {
  const { port } = await ourServer(echo);
  const connection = await ourClient(port);
  for (let round = 0; round < 6; round++) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => call(connection, 65536)));
    for (const answer of answers)
      expect(answer).toMatchObject({ bytes: 65536, trailers: ['x-sum', 'done'], error: null });
    expect(answers[0]?.heads.map((head) => head.status)).toEqual([103, 200]);
  }
  connection.close();
  expect(connection.usable).toBe(false);
});

test('a paused stream withholds its window; what waited is delivered on resume, then the rest', async () => {
  let held: HttpStream | null = null;
  let bytes = 0;
  const done = Promise.withResolvers<void>();
  const { port } = await ourServer((stream) => {
    held = stream;
    stream.pause();
    return {
      onHead() {},
      onData(chunk, end) {
        bytes += chunk.length;
        if (end) done.resolve();
      },
      onEnd: () => done.resolve(),
      onDrain() {},
      onReset() {},
    };
  });
  const client = nodeClient(port);
  const request = client.request({ ':method': 'POST', ':path': '/' });
  request.on('error', () => {});
  request.end(Buffer.alloc(MIB, 'z'));
  // A round trip behind the body: everything the window allowed has arrived by then.
  await once(client, 'remoteSettings');
  for (let i = 0; i < 5; i++) await new Promise((resolve) => client.ping(resolve));
  expect(bytes).toBe(0);
  expect(request.writableLength).toBeGreaterThan(0);
  (held as HttpStream | null)?.resume();
  expect(bytes).toBe(0);
  await done.promise;
  expect(bytes).toBe(MIB);
});

test('a connection that runs out of stream ids ends behind its last stream', async () => {
  const server = http2.createServer((_, response) => response.end('ok'));
  const connection = await ourClient(await listen(server));
  // Two below the last: nobody waits for a thousand million requests.
  (connection as unknown as { nextId: number }).nextId = 0x7fffffed;
  expect(await call(connection, 0)).toMatchObject({ bytes: 2, error: null });
  expect(connection.usable).toBe(true);
  const last = call(connection, 0);
  expect(connection.usable).toBe(false);
  expect(await last).toMatchObject({ bytes: 2, error: null });
  await expect.poll(() => (connection as unknown as { session: { closed: boolean } }).session.closed).toBe(true);
});
