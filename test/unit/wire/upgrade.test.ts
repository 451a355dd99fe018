// What turns a request into bytes both ways: Upgrade and CONNECT, on HTTP/1.1 alone and across HTTP/2 as (extended)
// CONNECT (RFC 8441). The client and the application are raw sockets; between them are only our codecs, face to face.

import { once } from 'node:events';
import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { Http1ClientConnection } from '../../../sidecar/wire/http1/client.ts';
import { serveHttp1 } from '../../../sidecar/wire/http1/server.ts';
import { Http2ClientConnection } from '../../../sidecar/wire/http2/client.ts';
import { serveHttp2 } from '../../../sidecar/wire/http2/server.ts';
import { WireSocket } from '../../../sidecar/wire/socket.ts';
import type { HttpStream, StreamAcceptor, StreamEvents } from '../../../sidecar/wire/stream.ts';
import { dial, listen } from './http1-peers.ts';

/** Hands everything that comes up from one stream down to the other. */
function towards(other: () => HttpStream): StreamEvents {
  return {
    onHead: (head, end) => other().writeHead(head, end),
    onData: (chunk, end) => void other().writeData(chunk, end),
    onEnd: (trailers) => other().writeEnd(trailers),
    onDrain() {},
    onReset: (error) => other().reset(error),
  };
}

/** Accepts streams and faces each with one of `open`. */
function facing(open: (events: StreamEvents) => HttpStream): StreamAcceptor {
  return (stream) => {
    const upstream = open(towards(() => stream));
    return towards(() => upstream);
  };
}

const OURS = { scheme: 'http', onMalformed() {}, onGuard() {}, onClose() {} } as const;
const ALONE = { onClose() {}, onIdle() {}, onRoom() {} };

/** One hop over HTTP/1.1, or two with HTTP/2 between them, in front of an application; the port to dial. */
async function hops(between: 'http1' | 'http2', application: number): Promise<number> {
  const last = new Http1ClientConnection(new WireSocket(await dial(application)), ALONE);
  const toApplication = facing((events) => last.open(events));
  if (between === 'http1') return listen((socket) => void serveHttp1(new WireSocket(socket), toApplication, OURS));
  const port = await listen((socket) => void serveHttp2(new WireSocket(socket), toApplication, OURS));
  const middle = new Http2ClientConnection(new WireSocket(await dial(port)), ALONE);
  const toMiddle = facing((events) => middle.open(events) as HttpStream);
  return listen((socket) => void serveHttp1(new WireSocket(socket), toMiddle, OURS));
}

/** An application that answers the head with `answer`, then sends every byte back, and its end behind the client's. */
async function application(answer: string, heads: string[]): Promise<number> {
  return listen((socket) => {
    socket.once('data', (chunk) => {
      const text = chunk.toString('latin1');
      const end = text.indexOf('\r\n\r\n') + 4;
      heads.push(text.slice(0, end));
      socket.write(`${answer}${text.slice(end)}`, 'latin1');
      socket.on('data', (bytes) => socket.write(bytes));
      socket.on('end', () => socket.end('bye'));
    });
  });
}

async function readUntil(socket: Socket, until: string): Promise<string> {
  let text = '';
  while (!text.endsWith(until)) text += String((await once(socket, 'data'))[0]);
  return text;
}

const UPGRADE = 'GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n';
const KEY = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';
const SWITCHED =
  'HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n';

describe.each(['http1', 'http2'] as const)('over %s', (between) => {
  test('a WebSocket opens, carries bytes both ways, and closes one side at a time', async () => {
    const heads: string[] = [];
    const socket = await dial(await hops(between, await application(SWITCHED, heads)));
    socket.write(`${UPGRADE}${KEY}`);
    const answer = await readUntil(socket, '\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 101 /);
    expect(answer).toContain('sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n');
    expect(answer).toContain('upgrade: websocket\r\n');
    expect(heads[0]).toMatch(/^GET \/chat HTTP\/1\.1\r\n/);
    expect(heads[0]).toContain('upgrade: websocket\r\n');
    expect(heads[0]).toContain('sec-websocket-key: ');
    socket.write('ping');
    expect(await readUntil(socket, 'ping')).toBe('ping');
    socket.end();
    expect(await readUntil(socket, 'bye')).toBe('bye');
    await once(socket, 'end');
  });

  test('an upgrade that is refused is an ordinary answer', async () => {
    const refusal = 'HTTP/1.1 403 X\r\nContent-Length: 2\r\n\r\nno';
    const socket = await dial(await hops(between, await application(refusal, [])));
    socket.write(`${UPGRADE}${KEY}`);
    expect(await readUntil(socket, 'no')).toMatch(/^HTTP\/1\.1 403 Forbidden\r\ncontent-length: 2\r\n/);
  });

  test('CVE class 6: CONNECT becomes a tunnel; bytes sent before its answer wait for it (CVE-2025-64763)', async () => {
    const heads: string[] = [];
    const socket = await dial(await hops(between, await application('HTTP/1.1 200 X\r\n\r\n', heads)));
    socket.write('CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nearly');
    expect(await readUntil(socket, 'early')).toBe('HTTP/1.1 200 OK\r\n\r\nearly');
    expect(heads).toEqual(['CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n']);
    socket.end();
    expect(await readUntil(socket, 'bye')).toBe('bye');
  });

  test('CVE class 6: bytes sent behind a CONNECT that is refused are read by nobody (CVE-2025-64763)', async () => {
    const seen: string[] = [];
    const port = await listen((socket) =>
      socket.on('data', (chunk) => {
        seen.push(chunk.toString('latin1'));
        socket.write('HTTP/1.1 403 X\r\nContent-Length: 0\r\n\r\n');
      }),
    );
    const socket = await dial(await hops(between, port));
    socket.write('CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await readUntil(socket, '\r\n\r\n')).toMatch(/^HTTP\/1\.1 403 .*connection: close/s);
    await once(socket, 'end');
    expect(seen).toEqual(['CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n']);
  });

  test('100 and 103 arrive in order before the answer, and trailers behind it', async () => {
    const answer =
      'HTTP/1.1 100 X\r\n\r\nHTTP/1.1 103 X\r\nLink: </a>\r\n\r\nHTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n';
    const port = await listen((socket) => socket.once('data', () => socket.write(answer)));
    const socket = await dial(await hops(between, port));
    socket.write('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n');
    const text = await readUntil(socket, 'x-sum: 1\r\n\r\n');
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 100', 'HTTP/1.1 103', 'HTTP/1.1 200']);
    expect(text).toContain('link: </a>\r\n');
  });

  test.each([
    ['HEAD', 'HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n', 'content-length: 9\r\n'],
    ['GET', 'HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n', 'content-length: 9\r\n'],
    ['GET', 'HTTP/1.1 204 X\r\n\r\n', ''],
  ])('the answer to %s that has no body ends with its head: %j', async (method, answer, field) => {
    const port = await listen((socket) => socket.on('data', () => socket.write(answer)));
    const socket = await dial(await hops(between, port));
    for (let i = 0; i < 2; i++) {
      socket.write(`${method} / HTTP/1.1\r\nHost: a\r\n\r\n`);
      const status = answer.slice(9, 12);
      expect(await readUntil(socket, '\r\n\r\n')).toMatch(
        new RegExp(`^HTTP/1.1 ${status} [A-Za-z ]+\r\n${field}\r\n$`),
      );
    }
  });
});
