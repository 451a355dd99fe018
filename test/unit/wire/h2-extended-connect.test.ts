// RFC 8441 §3: a client sends no extended CONNECT before the server's settings have said that it takes one. The server
// is a raw socket, which says so when the test wants.

import { once } from 'node:events';
import type { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { ProxyError } from '../../../sidecar/wire/error.ts';
import { Http2ClientConnection } from '../../../sidecar/wire/http2/client.ts';
import { FRAME, SETTING, settingsFrame } from '../../../sidecar/wire/http2/frames.ts';
import { WireSocket } from '../../../sidecar/wire/socket.ts';
import { Head, type HttpStream, type StreamEvents } from '../../../sidecar/wire/stream.ts';
import { dial, listen } from './http1-peers.ts';

const PREFACE_BYTES = 24;
const WORDS = settingsFrame([SETTING.ENABLE_CONNECT_PROTOCOL, 1]);
const SILENCE = settingsFrame([]);

/** A connection of ours and the server's end of it. */
async function pair(): Promise<{ connection: Http2ClientConnection; server: Socket; received: () => Buffer }> {
  const accepted = Promise.withResolvers<Socket>();
  let bytes: Buffer = Buffer.alloc(0);
  const port = await listen((socket) => {
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
    });
    accepted.resolve(socket);
  });
  const socket = await dial(port);
  const connection = new Http2ClientConnection(new WireSocket(socket), { onClose() {}, onRoom() {} });
  return { connection, server: await accepted.promise, received: () => bytes };
}

/** Type and stream of each frame behind the preface, but for SETTINGS and WINDOW_UPDATE of the connection. */
function frames(bytes: Buffer): string[] {
  const found: string[] = [];
  for (let at = PREFACE_BYTES; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    const [type, id] = [bytes[at + 3], bytes.readUInt32BE(at + 5)];
    const name = Object.entries(FRAME).find(([, value]) => value === type)?.[0];
    if (id !== 0) found.push(`${name} ${id}`);
  }
  return found;
}

/** Whether our side has read the server's settings. */
function acknowledged(bytes: Buffer): boolean {
  return bytes.includes(Buffer.from([0, 0, 0, FRAME.SETTINGS, 1, 0, 0, 0, 0]));
}

/** Opens a stream with its head; `protocol` makes it an upgrade with a first message behind. */
function request(
  connection: Http2ClientConnection,
  protocol: string,
): { stream: HttpStream; failed: Promise<ProxyError> } {
  const failed = Promise.withResolvers<ProxyError>();
  const events: StreamEvents = { onHead() {}, onData() {}, onEnd() {}, onDrain() {}, onReset: failed.resolve };
  const stream = connection.open(events) as HttpStream;
  stream.writeHead(new Head('GET', 'http', 'a', '/', 0, [], protocol), protocol === '');
  if (protocol !== '') stream.writeData(Buffer.from('hello'), false);
  return { stream, failed: failed.promise };
}

/** What the server has once `count` frames of streams came. */
async function receive(server: Socket, received: () => Buffer, count: number): Promise<string[]> {
  while (frames(received()).length < count) await once(server, 'data');
  return frames(received());
}

test('an upgrade and what is opened behind it wait for the settings, and leave in order', async () => {
  const { connection, server, received } = await pair();
  request(connection, 'websocket');
  request(connection, '');
  // Our own settings are here, so whatever did not wait would be, too: one turn's writes leave in one system call.
  while (received().length <= PREFACE_BYTES) await once(server, 'data');
  expect(frames(received())).toEqual([]);
  server.write(WORDS);
  expect(await receive(server, received, 3)).toEqual(['HEADERS 1', 'DATA 1', 'HEADERS 3']);
});

test('a call that is no upgrade does not wait', async () => {
  const { connection, server, received } = await pair();
  request(connection, '');
  expect(await receive(server, received, 1)).toEqual(['HEADERS 1']);
});

test.each([
  ['before', true],
  ['after', false],
])('an upgrade asked for %s the settings fails by name where they do not offer it; others go on', async (_, early) => {
  const { connection, server, received } = await pair();
  const first = early ? request(connection, 'websocket') : null;
  server.write(SILENCE);
  if (!early) {
    while (!acknowledged(received())) await once(server, 'data');
  }
  const { failed } = first ?? request(connection, 'websocket');
  expect(await failed).toMatchObject({ kind: 'noUpgrade', source: 'local', retry: 'no' });
  expect(connection.activeStreams).toBe(0);
  request(connection, '');
  expect(await receive(server, received, 1)).toEqual(['HEADERS 3']);
});

test('an upgrade that was given up while it waited is never sent', async () => {
  const { connection, server, received } = await pair();
  const { stream } = request(connection, 'websocket');
  stream.reset(new ProxyError('cancelled', 'downstream', 'gone'));
  server.write(WORDS);
  request(connection, '');
  expect(await receive(server, received, 1)).toEqual(['HEADERS 3']);
});
