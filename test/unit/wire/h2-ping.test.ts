// PINGs of our own: windows that grow by the measured round trip, within their maximum, and peers that are found dead.

import type { Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { TimerWheel } from '../../../sidecar/base/timer-wheel.ts';
import { Http2ClientConnection } from '../../../sidecar/wire/http2/client.ts';
import { FLAG, FRAME, FrameReader, frame, pingFrame, readUint32 } from '../../../sidecar/wire/http2/frames.ts';
import {
  CONNECTION_WINDOW_BYTES_MAX,
  STREAM_WINDOW_BYTES,
  STREAM_WINDOW_BYTES_MAX,
} from '../../../sidecar/wire/http2/limits.ts';
import { ReceiveWindow } from '../../../sidecar/wire/http2/receive-window.ts';
import { WireSocket } from '../../../sidecar/wire/socket.ts';
import { Head } from '../../../sidecar/wire/stream.ts';
import { Apps } from '../../support/apps.ts';

let apps = new Apps();
afterEach(() => {
  apps.close();
  apps = new Apps();
});

/** Collects what a window says: `settings/bytes` or `window/bytes`. */
function windowOf(): { window: ReceiveWindow; said: string[] } {
  const said: string[] = [];
  const write = (bytes: Uint8Array): boolean =>
    said.push(bytes[3] === FRAME.SETTINGS ? `settings/${readUint32(bytes, 11)}` : `window/${readUint32(bytes, 9)}`) > 0;
  return { window: new ReceiveWindow({ write } as unknown as WireSocket), said };
}

describe('a window', () => {
  test('doubles while a round trip fills it, up to its maximum, and the connection with it', () => {
    const { window, said } = windowOf();
    let promised = 1024 * 1024;
    for (let round = 0; round < 20; round++) window.measured(window.streamBytes, 10);
    for (const text of said) if (text.startsWith('window/')) promised += Number(text.slice(7));
    expect(window.streamBytes).toBe(STREAM_WINDOW_BYTES_MAX);
    expect(window.canGrow).toBe(false);
    expect(promised).toBe(CONNECTION_WINDOW_BYTES_MAX);
    expect(said.filter((text) => text.startsWith('settings/'))).toHaveLength(7);
  });

  test.each([
    ['that is not filled', STREAM_WINDOW_BYTES / 2, 10],
    ['that is filled, but slower than before', STREAM_WINDOW_BYTES * 2, 1000],
  ])('%s stays', (_name, bytes, ms) => {
    const { window } = windowOf();
    window.measured(STREAM_WINDOW_BYTES, 10);
    expect(window.streamBytes).toBe(STREAM_WINDOW_BYTES * 2);
    expect(window.measured(bytes, ms)).toBe(0);
  });
});

interface Rig {
  socket: Socket;
  pings: Buffer[];
  settings: number;
  guards: string[];
  failed: string[];
  connection: Http2ClientConnection;
  request(): void;
  pass(ms: number): void;
}

/** Our client against a raw server that answers nothing by itself. */
async function rig(keepaliveMs: number): Promise<Rig> {
  let nowMs = 0;
  const wheel = new TimerWheel({ nowMs: () => nowMs }, { set() {} });
  const accepted = Promise.withResolvers<Socket>();
  const settled = Promise.withResolvers<void>();
  const pings: Buffer[] = [];
  let settings = 0;
  const port = await apps.tcp((socket) => {
    const reader = new FrameReader(
      (type, flags, _id, bytes, from, to) => {
        if (type === FRAME.PING && flags === 0) pings.push(Buffer.from(bytes.subarray(from, to)));
        if (type === FRAME.SETTINGS && flags === 0) settings++;
        if (type === FRAME.SETTINGS && flags === FLAG.ACK) settled.resolve();
        return true;
      },
      () => {},
    );
    let skip = 24;
    socket.on('data', (chunk: Buffer) => {
      reader.push(chunk.subarray(Math.min(skip, chunk.length)));
      skip = Math.max(0, skip - chunk.length);
    });
    socket.write(frame(FRAME.SETTINGS, 0, 0, 0));
    accepted.resolve(socket);
  });
  const guards: string[] = [];
  const failed: string[] = [];
  const onGuard = (name: string): void => void guards.push(name);
  const wire = new WireSocket(await apps.connect(port));
  const connection = new Http2ClientConnection(wire, { wheel, keepaliveMs, onGuard, onClose() {}, onRoom() {} });
  const request = (): void => {
    const onReset = (error: { kind: string; retry: string }): void => void failed.push(`${error.kind} ${error.retry}`);
    const stream = connection.open({ onHead() {}, onData() {}, onEnd() {}, onDrain() {}, onReset });
    stream?.writeHead(Head.request('GET', 'http', 'a', '/', []), true);
  };
  const pass = (ms: number): void => {
    nowMs += ms;
    wheel.advance();
  };
  const socket = await accepted.promise;
  // Until then the connection waits for settings.
  await settled.promise;
  return {
    socket,
    pings,
    guards,
    failed,
    connection,
    request,
    pass,
    get settings() {
      return settings;
    },
  };
}

describe('keep-alive', () => {
  test('asks nothing without a stream, once with a quiet one, and gives a dead peer up', async () => {
    const { pings, guards, failed, request, pass } = await rig(20_000);
    pass(100_000);
    request();
    pass(10_000);
    expect(pings).toEqual([]);
    pass(20_100);
    await expect.poll(() => pings.length).toBe(1);
    pass(10_100);
    expect([guards, failed]).toEqual([['keepalive'], ['connectionClosed reusedOnly']]);
    expect(pings).toHaveLength(1);
  });

  test('takes any byte for life', async () => {
    const { socket, pings, failed, connection, request, pass } = await rig(20_000);
    request();
    pass(20_100);
    await expect.poll(() => pings.length).toBe(1);
    socket.write(pingFrame(true, pings[0] as Buffer));
    const { pinger } = (connection as unknown as { session: { pinger: { rttMs: number } } }).session;
    await expect.poll(() => pinger.rttMs).toBeGreaterThan(0);
    pass(10_100);
    pass(19_000);
    expect(failed).toEqual([]);
  });

  test('0 never asks', async () => {
    const { pings, failed, request, pass } = await rig(0);
    request();
    pass(10_000_000);
    expect([pings, failed]).toEqual([[], []]);
  });
});

test('a body that fills its window is measured by one PING, whose return makes the window larger', async () => {
  const it = await rig(0);
  it.request();
  const head = Buffer.concat([frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, 1, 0), Buffer.from([0x88])]);
  const data = Buffer.concat([frame(FRAME.DATA, 0, 1, 16_000, 0), Buffer.alloc(16_000)]);
  // Frames on a stream that is not open yet would be an error.
  await expect.poll(() => it.connection.activeStreams).toBe(1);
  it.socket.write(Buffer.concat([head, data, data]));
  expect(it.pings).toEqual([]);
  it.socket.write(Buffer.concat([data]));
  await expect.poll(() => it.pings.length).toBe(1);
  const before = it.settings;
  it.socket.write(Buffer.concat([data, data, data, pingFrame(true, it.pings[0] as Buffer)]));
  await expect.poll(() => it.settings).toBe(before + 1);
  expect(it.pings.length).toBeLessThanOrEqual(2);
});
