// The peer's concurrent-stream limit honoured by queueing, over real sockets: a pool with the HTTP/2 codec before a raw
// server that says its limits as it likes.

import type { Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { threadClock } from '../../../sidecar/base/clock.ts';
import { TimerWheel } from '../../../sidecar/base/timer-wheel.ts';
import { connectorTo } from '../../../sidecar/upstream/connect.ts';
import { Pool } from '../../../sidecar/upstream/pool.ts';
import { FRAME, FrameReader, frame, goawayFrame, settingsFrame } from '../../../sidecar/wire/http2/frames.ts';
import { Head } from '../../../sidecar/wire/stream.ts';
import { Apps } from '../../support/apps.ts';

let apps = new Apps();
afterEach(() => {
  apps.close();
  apps = new Apps();
});

/** HEADERS with ":status: 200" that ends a stream. */
const ok = (id: number): Buffer => Buffer.concat([frame(FRAME.HEADERS, 5, id, 1, 0), Buffer.from([0x88])]);
const streamsMax = (count: number): Uint8Array => settingsFrame([3, count]);

/** A pool and the server under it; `open` has the requests that it saw and did not answer, `heard` what requesters did. */
async function setUp(opening: Uint8Array, pendingRequestsMax = 100, connectionsMax = 1) {
  const sockets: Socket[] = [];
  const open: { socket: Socket; id: number }[] = [];
  const heard: string[] = [];
  const port = await apps.tcp((socket) => {
    sockets.push(socket);
    socket.write(opening);
    const reader = new FrameReader(
      (type, _flags, id) => type !== FRAME.HEADERS || open.push({ socket, id }) > 0,
      () => {},
    );
    let skip = 24;
    socket.on('data', (chunk: Buffer) => {
      reader.push(chunk.subarray(Math.min(skip, chunk.length)));
      skip = Math.max(0, skip - chunk.length);
    });
  });
  const address = { host: '127.0.0.1', port, protocol: 'http2', tls: null, connectTimeoutMs: 5_000 } as const;
  const limits = { connectionsMax, pendingRequestsMax, requestsPerConnection: 100, idleTimeoutMs: 0 };
  const guards: string[] = [];
  const observer = { onMalformed() {}, onHandshake() {}, onGuard: (name: string) => void guards.push(name) };
  const pool = new Pool(connectorTo(address, observer), limits, {
    clock: threadClock,
    wheel: new TimerWheel(threadClock),
  });
  apps.onClose(() => pool.close());
  const request = (name: string): boolean =>
    pool.request({
      onStream: (stream) => stream.writeHead(Head.request('GET', 'http', 'a', `/${name}`, []), true),
      onOpenFailed: (error) => heard.push(`${name} ${error.kind}`),
      onHead: (head) => heard.push(`${name} ${head.status}`),
      onData() {},
      onEnd() {},
      onDrain() {},
      onReset: (error) => heard.push(`${name} ${error.kind} ${error.retry}`),
    });
  const answer = (): void => {
    const next = open.shift();
    next?.socket.write(ok(next.id));
  };
  return { pool, sockets, open, heard, guards, request, answer };
}

test('a limit of 1 is honoured by waiting, one at a time in order', async () => {
  const { open, heard, request, answer } = await setUp(streamsMax(1));
  request('first');
  await expect.poll(() => open.length).toBe(1);
  answer();
  await expect.poll(() => heard.length).toBe(1);
  for (const name of ['a', 'b', 'c']) request(name);
  for (let done = 2; done <= 4; done++) {
    await expect.poll(() => open.length).toBe(1);
    answer();
    await expect.poll(() => heard.length).toBe(done);
    expect(open.length).toBeLessThanOrEqual(1);
  }
  expect(heard).toEqual(['first 200', 'a 200', 'b 200', 'c 200']);
});

test('a limit of 0 stops new streams until it is lifted, and what waits beyond the bound is refused', async () => {
  const { pool, sockets, open, heard, request, answer } = await setUp(streamsMax(5), 3);
  request('first');
  await expect.poll(() => open.length).toBe(1);
  // In order on one connection: who has the answer has the setting.
  sockets[0]?.write(streamsMax(0));
  answer();
  await expect.poll(() => heard.length).toBe(1);
  expect(['a', 'b', 'c', 'd'].map(request)).toEqual([true, true, true, false]);
  await expect.poll(() => pool.pendingRequests).toBe(3);
  expect(open).toEqual([]);
  sockets[0]?.write(streamsMax(2));
  await expect.poll(() => open.length).toBe(2);
  expect(pool.pendingRequests).toBe(1);
  answer();
  answer();
  await expect.poll(() => open.length).toBe(1);
});

test('a full connection does not hide the room of another', async () => {
  const { pool, sockets, open, heard, request, answer } = await setUp(streamsMax(1), 100, 2);
  request('first');
  await expect.poll(() => open.length).toBe(1);
  answer();
  await expect.poll(() => heard.length).toBe(1);
  request('on the first connection');
  await expect.poll(() => open.length).toBe(1);
  request('on the second');
  await expect.poll(() => open.length).toBe(2);
  expect(sockets).toHaveLength(2);
  answer();
  await expect.poll(() => heard.length).toBe(2);
  request('again on the first');
  await expect.poll(() => open.length).toBe(2);
  expect(pool.pendingRequests).toBe(0);
});

test('GOAWAY: what is above the last stream may go elsewhere, what is below it ends here', async () => {
  const { pool, sockets, open, heard, request, answer } = await setUp(streamsMax(5));
  for (const name of ['a', 'b', 'c']) request(name);
  await expect.poll(() => open.length).toBe(3);
  sockets[0]?.write(goawayFrame(0x7fffffff, 0));
  sockets[0]?.write(goawayFrame(1, 0));
  await expect.poll(() => heard.length).toBe(2);
  expect(heard).toEqual(['b refused yes', 'c refused yes']);
  answer();
  await expect.poll(() => heard.at(-1)).toBe('a 200');
  request('d');
  await expect.poll(() => sockets.length).toBe(2);
  await expect.poll(() => pool.connections).toBe(1);
});

test('a flood of an upstream is told to whoever counts guards', async () => {
  const { sockets, open, heard, guards, request } = await setUp(streamsMax(5));
  request('a');
  await expect.poll(() => open.length).toBe(1);
  sockets[0]?.write(Buffer.concat(Array.from({ length: 600 }, () => frame(FRAME.SETTINGS, 1, 0, 0))));
  await expect.poll(() => heard).toEqual(['a protocolError no']);
  expect(guards).toEqual(['settings']);
});
