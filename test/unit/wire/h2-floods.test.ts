// Every way a peer can make an HTTP/2 connection work or wait for nothing, over real sockets: each ends in
// ENHANCE_YOUR_CALM and is reported by name, or in 431. The titles name the CVE class.

import { once } from 'node:events';
import type { Socket } from 'node:net';
import net from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { TimerWheel } from '../../../sidecar/base/timer-wheel.ts';
import { Http2ClientConnection } from '../../../sidecar/wire/http2/client.ts';
import { FLAG, FRAME, FrameReader, frame, readUint32, wordFrame } from '../../../sidecar/wire/http2/frames.ts';
import { HpackDecoder } from '../../../sidecar/wire/http2/hpack-decoder.ts';
import { HpackEncoder } from '../../../sidecar/wire/http2/hpack-encoder.ts';
import { type Http2ServerConnection, serveHttp2 } from '../../../sidecar/wire/http2/server.ts';
import { WireSocket } from '../../../sidecar/wire/socket.ts';
import { Head, type HttpStream } from '../../../sidecar/wire/stream.ts';
import { Apps } from '../../support/apps.ts';

const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(FRAME.SETTINGS, 0, 0, 0)]);
const ENHANCE_YOUR_CALM = 11;
let apps = new Apps();
afterEach(() => {
  apps.close();
  apps = new Apps();
});

interface Peer {
  socket: Socket;
  /** `type/stream/first word of the payload` of every frame that came. */
  said: string[];
  /** `stream/status` of each response. */
  answers: string[];
  guards: string[];
  malformed: string[];
  connection: Http2ServerConnection;
  streams: HttpStream[];
  /** Moves the connection's clock. */
  pass(ms: number): void;
}

/** A raw client of our server, its preface sent; requests to /stall are paused, those to /open answered by a head alone, others by 204 at their end. */
async function peer(opening: Uint8Array = PREFACE): Promise<Peer> {
  let nowMs = 0;
  const wheel = new TimerWheel({ nowMs: () => nowMs }, { set() {} });
  const guards: string[] = [];
  const malformed: string[] = [];
  const streams: HttpStream[] = [];
  const accepted = Promise.withResolvers<Http2ServerConnection>();
  const port = await apps.tcp((socket) => {
    const accept = (stream: HttpStream) => {
      streams.push(stream);
      const answer = (): void => stream.writeHead(Head.response(204, []), true);
      return {
        onHead: (head: Head, end: boolean) => {
          if (head.path === '/stall') stream.pause();
          else if (head.path === '/open') stream.writeHead(Head.response(200, []), false);
          else if (end) answer();
        },
        onData: (_: Uint8Array, end: boolean) => void (end && answer()),
        onEnd: answer,
        onDrain() {},
        onReset() {},
      };
    };
    const onGuard = (name: string): void => void guards.push(name);
    const onMalformed = (reason: string): void => void malformed.push(reason);
    accepted.resolve(
      serveHttp2(new WireSocket(socket), accept, { scheme: 'http', wheel, onMalformed, onGuard, onClose() {} }),
    );
  });
  const socket = net.connect({ port, host: '127.0.0.1' });
  socket.on('error', () => {});
  apps.onClose(() => socket.destroy());
  const said: string[] = [];
  const answers: string[] = [];
  const decoder = new HpackDecoder();
  const reader = new FrameReader(
    (type, _flags, id, bytes, from, to) => {
      const at = from + (type === FRAME.GOAWAY ? 4 : 0);
      if (type === FRAME.HEADERS) answers.push(`${id}/${decoder.decode(bytes, from, to)?.[1]}`);
      return said.push(`${type}/${id}/${to >= at + 4 ? readUint32(bytes, at) : ''}`) > 0;
    },
    () => {},
  );
  socket.on('data', (chunk: Buffer) => reader.push(chunk));
  await once(socket, 'connect');
  socket.write(opening);
  const pass = (ms: number): void => {
    nowMs += ms;
    wheel.advance();
  };
  return { socket, said, answers, guards, malformed, connection: await accepted.promise, streams, pass };
}

function block(path: string, fields: string[]): Uint8Array {
  const encoder = new HpackEncoder();
  encoder.start();
  encoder.fields([':method', 'POST', ':scheme', 'http', ':authority', 'a', ':path', path].concat(fields));
  return encoder.finish();
}

function framed(type: number, flags: number, id: number, payload: Uint8Array): Buffer {
  return Buffer.concat([frame(type, flags, id, payload.length, 0), payload]);
}

function headers(id: number, path: string, end: boolean, fields: string[] = []): Buffer {
  return framed(FRAME.HEADERS, FLAG.END_HEADERS | (end ? FLAG.END_STREAM : 0), id, block(path, fields));
}

const times = (count: number, make: (i: number) => Uint8Array): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => make(i)));

test('CVE class 5: a body with a length that trickles in is reset alone; one without may pause (slow POST)', async () => {
  const { socket, said, connection, streams } = await peer();
  const data = (id: number, bytes: number): Buffer => framed(FRAME.DATA, 0, id, Buffer.alloc(bytes));
  socket.write(Buffer.concat([headers(1, '/', false, ['content-length', '100']), headers(3, '/', false), data(1, 4)]));
  await expect.poll(() => streams.length).toBe(2);
  expect(connection.pace(10)).toBe(0);
  const ping = async (bytes: Buffer): Promise<void> => {
    const before = said.filter((frame) => frame.startsWith(`${FRAME.PING}/`)).length;
    socket.write(Buffer.concat([bytes, framed(FRAME.PING, 0, 0, Buffer.alloc(8))]));
    await expect.poll(() => said.filter((frame) => frame.startsWith(`${FRAME.PING}/`)).length).toBe(before + 1);
  };
  await ping(data(1, 10));
  expect(connection.pace(10)).toBe(0);
  await ping(data(1, 9));
  expect(connection.pace(10)).toBe(1);
  await expect.poll(() => said).toContain(`${FRAME.RST_STREAM}/1/${ENHANCE_YOUR_CALM}`);
  await ping(headers(5, '/', true));
  expect([streams.length, connection.activeStreams]).toEqual([3, 1]);
});

const floods: [string, string, Buffer][] = [
  [
    'CVE class 1: rapid reset (CVE-2023-44487)',
    'rapidReset',
    times(1100, (i) => Buffer.concat([headers(2 * i + 1, '/', false), wordFrame(FRAME.RST_STREAM, 2 * i + 1, 8)])),
  ],
  [
    'CVE class 1: resets we are made to send (CVE-2025-8671)',
    'rapidReset',
    times(1100, (i) => Buffer.concat([headers(2 * i + 1, '/', false), wordFrame(FRAME.WINDOW_UPDATE, 2 * i + 1, 0)])),
  ],
  [
    'CVE class 2: CONTINUATION without end (CVE-2024-27316, CVE-2024-30255)',
    'continuation',
    Buffer.concat([framed(FRAME.HEADERS, 0, 1, block('/', [])), times(20, () => frame(FRAME.CONTINUATION, 0, 1, 0))]),
  ],
  ['CVE class 4: PING (CVE-2019-9512)', 'ping', times(600, () => framed(FRAME.PING, 0, 0, Buffer.alloc(8)))],
  ['CVE class 4: SETTINGS (CVE-2019-9515)', 'settings', times(60, () => frame(FRAME.SETTINGS, 0, 0, 0))],
  [
    'CVE class 4: empty DATA (CVE-2019-9518)',
    'emptyData',
    Buffer.concat([headers(1, '/', false), times(2, () => frame(FRAME.DATA, 0, 1, 0))]),
  ],
  [
    'CVE class 4: PRIORITY (CVE-2019-9513)',
    'priority',
    times(600, () => framed(FRAME.PRIORITY, 0, 3, Buffer.alloc(5))),
  ],
  [
    'CVE class 4: PRIORITY_UPDATE (as CVE-2019-9513)',
    'priority',
    times(600, () => framed(16, 0, 0, Buffer.from([0, 0, 0, 1]))),
  ],
  [
    'CVE class 4: WINDOW_UPDATE (as CVE-2019-9511)',
    'windowUpdate',
    Buffer.concat([headers(1, '/', false), times(2500, () => wordFrame(FRAME.WINDOW_UPDATE, 1, 1))]),
  ],
  ['CVE class 4: frames of unknown types', 'ignored', times(1200, () => frame(0xbb, 0, 0, 0))],
];

describe('a flood ends the connection, reported by name:', () => {
  test.each(floods)('%s', async (_name, guard, bytes) => {
    const { socket, said, guards } = await peer();
    socket.write(bytes);
    await once(socket, 'close');
    expect(guards).toEqual([guard]);
    expect(said.at(-1)).toBe(`${FRAME.GOAWAY}/0/${ENHANCE_YOUR_CALM}`);
  });

  const reset = (id: number): Uint8Array => wordFrame(FRAME.RST_STREAM, id, 8);
  test.each([
    ['streams that have their answer', (id: number) => Buffer.concat([headers(id, '/open', true), reset(id)])],
    [
      'as many streams as are answered whole',
      (id: number) => Buffer.concat([headers(id, '/', false), reset(id), headers(id + 2, '/', true)]),
    ],
  ])('CVE class 1: but for resets of %s: many callers behind one peer may leave', async (_what, make) => {
    const { socket, said, guards } = await peer();
    socket.write(times(1_100, (i) => make(4 * i + 1)));
    socket.write(framed(FRAME.PING, 0, 0, Buffer.alloc(8)));
    await expect.poll(() => said).toContain(`${FRAME.PING}/0/0`);
    expect(guards).toEqual([]);
  });

  test('CVE class 4: but for one empty DATA frame at a time, between others', async () => {
    const { socket, said, guards } = await peer();
    const empty = frame(FRAME.DATA, 0, 1, 0);
    const byte = framed(FRAME.DATA, 0, 1, Buffer.from('x'));
    socket.write(Buffer.concat([headers(1, '/', false), times(50, () => Buffer.concat([empty, byte])), empty]));
    socket.write(Buffer.concat([headers(3, '/', false), frame(FRAME.DATA, 0, 3, 0), frame(FRAME.DATA, 1, 3, 0)]));
    socket.write(framed(FRAME.PING, 0, 0, Buffer.alloc(8)));
    await expect.poll(() => said).toContain(`${FRAME.PING}/0/0`);
    expect(guards).toEqual([]);
  });

  test('CVE class 4: from an upstream, too (CVE-2019-9512)', async () => {
    const guards: string[] = [];
    const closed = Promise.withResolvers<void>();
    const port = await apps.tcp((socket) => {
      socket.write(frame(FRAME.SETTINGS, 0, 0, 0));
      socket.write(floods.find(([, guard]) => guard === 'ping')?.[2] as Buffer);
    });
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    apps.onClose(() => socket.destroy());
    const onGuard = (name: string): void => void guards.push(name);
    new Http2ClientConnection(new WireSocket(socket), { onClose: closed.resolve, onRoom() {}, onGuard });
    await closed.promise;
    expect(guards).toEqual(['ping']);
  });
});

describe('CVE class 3: header lists are measured decoded (CVE-2016-6581, CVE-2026-47774): 431 without a request for', () => {
  const crumb = `c=${'x'.repeat(3900)}`;
  test.each([
    ['one entry of the table indexed again and again', Array(20).fill(['x-a', crumb]).flat()],
    ['cookie crumbs that only together are too large', Array(20).fill(['cookie', crumb]).flat()],
    ['more than 100 fields', Array(101).fill(['x-a', '1']).flat()],
  ])('%s', async (_name, fields) => {
    const { socket, said, streams, guards } = await peer();
    socket.write(headers(1, '/', true, fields));
    await expect.poll(() => said.some((text) => text.startsWith(`${FRAME.HEADERS}/1/`))).toBe(true);
    // The connection goes on: compression is still in step.
    socket.write(headers(3, '/', true));
    await expect.poll(() => said.some((text) => text.startsWith(`${FRAME.HEADERS}/3/`))).toBe(true);
    expect(streams).toHaveLength(1);
    expect(guards).toEqual([]);
  });
});

test('a path above 8 KiB is 414 without a request, as in HTTP/1.1, whatever its body, and the connection goes on', async () => {
  const { socket, said, answers, streams, malformed } = await peer();
  socket.write(headers(1, `/${'a'.repeat(8192)}`, false));
  await expect.poll(() => said.some((text) => text.startsWith(`${FRAME.RST_STREAM}/1/0`))).toBe(true);
  socket.write(headers(3, `/${'a'.repeat(8191)}`, true));
  await expect.poll(() => said.some((text) => text.startsWith(`${FRAME.HEADERS}/3/`))).toBe(true);
  expect(answers).toEqual(['1/414', '3/204']);
  expect(streams).toHaveLength(1);
  expect(malformed).toEqual(['uriTooLong']);
});

describe('CVE class 5: slow peers (CVE-2020-12603):', () => {
  test.each([
    ['a preface without SETTINGS', null],
    ['a header block without end', framed(FRAME.HEADERS, 0, 1, block('/', []))],
    ['half a HEADERS frame', headers(1, '/', true).subarray(0, 12)],
  ])('%s ends after 10 s', async (_name, bytes) => {
    const { socket, said, guards, pass } = await peer(bytes === null ? PREFACE.subarray(0, 24) : PREFACE);
    if (bytes !== null) {
      socket.write(framed(FRAME.PING, 0, 0, Buffer.alloc(8)));
      socket.write(bytes);
      await expect.poll(() => said.some((text) => text.startsWith(`${FRAME.PING}/`))).toBe(true);
      pass(9_000);
      expect(guards).toEqual([]);
      pass(1_100);
    } else pass(10_100);
    await once(socket, 'close');
    expect(guards).toEqual(['headTimeout']);
  });

  test('a connection without streams leaves after an hour, whatever it pings, and loses no request', async () => {
    const { socket, said, pass } = await peer();
    socket.write(headers(1, '/', true));
    await expect.poll(() => said.some((text) => text.startsWith(`${FRAME.HEADERS}/1/`))).toBe(true);
    pass(3_599_000);
    socket.write(framed(FRAME.PING, 0, 0, Buffer.alloc(8)));
    await expect.poll(() => said.some((text) => text === `${FRAME.PING}/0/0`)).toBe(true);
    expect(said.some((text) => text.startsWith(`${FRAME.GOAWAY}/`))).toBe(false);
    pass(2_000);
    await expect.poll(() => said.some((text) => text.startsWith(`${FRAME.GOAWAY}/`))).toBe(true);
    // The last request in flight is still taken; then a second passes without our PING coming back.
    socket.write(headers(3, '/', true));
    await expect.poll(() => said.some((text) => text.startsWith(`${FRAME.HEADERS}/3/`))).toBe(true);
    pass(1_100);
    await once(socket, 'end');
  });
});

test('a drain takes no unsolicited PING ACK for its own', async () => {
  const { socket, said, connection, pass } = await peer();
  await expect.poll(() => said.length).toBeGreaterThan(0);
  connection.drain();
  socket.write(framed(FRAME.PING, FLAG.ACK, 0, Buffer.alloc(8)));
  socket.write(headers(1, '/', true));
  await expect.poll(() => said.some((text) => text.startsWith(`${FRAME.HEADERS}/1/`))).toBe(true);
  pass(1_100);
  await once(socket, 'end');
});

test('stalled streams withhold their own windows and never stop a sibling', async () => {
  const { socket, said, streams } = await peer();
  const full = times(3, () => framed(FRAME.DATA, 0, 1, Buffer.alloc(16384)));
  for (let i = 0; i < 50; i++) {
    const id = 2 * i + 1;
    socket.write(headers(id, '/stall', false));
    for (let at = 0; at < full.length; at += 16393) full.writeUInt32BE(id, at + 5);
    socket.write(Buffer.from(full));
  }
  // 2.4 MiB lie in stalled streams, twice the connection window; the sibling's DATA passes all the same.
  socket.write(headers(101, '/', false));
  socket.write(framed(FRAME.DATA, FLAG.END_STREAM, 101, Buffer.alloc(16384)));
  await expect.poll(() => said.some((text) => text.startsWith(`${FRAME.HEADERS}/101/`))).toBe(true);
  const updates = said.filter((text) => text.startsWith(`${FRAME.WINDOW_UPDATE}/`) && !text.includes('/0/'));
  expect(updates).toEqual([]);
  expect(streams).toHaveLength(51);
});
