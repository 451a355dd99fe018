// Who sends next: a server's streams before a socket that takes a frame or two at a time.

import { expect, test } from 'vitest';
import { TimerWheel } from '../../../sidecar/base/timer-wheel.ts';
import { FLAG, FRAME, frame } from '../../../sidecar/wire/http2/frames.ts';
import { HpackEncoder } from '../../../sidecar/wire/http2/hpack-encoder.ts';
import { parsePriority } from '../../../sidecar/wire/http2/send-queue.ts';
import { serveHttp2 } from '../../../sidecar/wire/http2/server.ts';
import type { ByteConnection } from '../../../sidecar/wire/socket.ts';
import { SILENT } from '../../../sidecar/wire/socket.ts';
import { Head } from '../../../sidecar/wire/stream.ts';

const FRAME_BYTES = 16_384;

/** A connection without a socket, which is full after `room` DATA frames and says in `order` whose they were. */
class Narrow implements ByteConnection {
  readonly takenBytes = 0;
  events = SILENT;
  isClosed = false;
  bufferedBytes = 0;
  room = 0;
  order: number[] = [];

  pass(): boolean {
    return this.write();
  }

  write(): boolean {
    return this.room > 0;
  }

  writeCopy(bytes: Buffer): boolean {
    if (bytes[3] === FRAME.DATA) {
      this.order.push(bytes.readUInt32BE(5));
      this.room--;
    }
    return this.room > 0;
  }

  end(): void {}
  destroy(): void {}
  destroySoon(): void {}
  pause(): void {}
  resume(): void {}
  guard(run: () => void): void {
    run();
  }

  /** Lets `frames` more out. */
  drain(frames: number): number[] {
    this.order = [];
    this.room = frames;
    this.events.onDrain();
    return this.order;
  }
}

function framed(type: number, flags: number, id: number, payload: Uint8Array): Buffer {
  return Buffer.concat([frame(type, flags, id, payload.length, 0), payload]);
}

/** Requests with these priority fields, from stream 1 on, each answered by four frames. */
function answered(priorities: (string | null)[]): Narrow {
  const connection = new Narrow();
  const wheel = new TimerWheel({ nowMs: () => 0 }, { set() {} });
  serveHttp2(
    connection,
    (stream) => ({
      onHead() {
        stream.writeHead(Head.response(200, []), false);
        stream.writeData(Buffer.alloc(4 * FRAME_BYTES), true);
      },
      onData() {},
      onEnd() {},
      onDrain() {},
      onReset() {},
    }),
    {
      scheme: 'http',
      wheel,
      onMalformed: (reason) => connection.order.push(reason.length),
      onGuard() {},
      onClose() {},
    },
  );
  const bytes = [
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    // Windows of 1 GiB, so that the socket alone decides.
    framed(FRAME.SETTINGS, 0, 0, Buffer.from('000440000000', 'hex')),
    framed(FRAME.WINDOW_UPDATE, 0, 0, Buffer.from('40000000', 'hex')),
  ];
  const encoder = new HpackEncoder();
  for (const [i, priority] of priorities.entries()) {
    encoder.start();
    encoder.fields([':method', 'GET', ':scheme', 'http', ':authority', 'a', ':path', '/']);
    if (priority !== null) encoder.field('priority', priority);
    bytes.push(framed(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, 2 * i + 1, Buffer.from(encoder.finish())));
  }
  connection.events.onBytes(Buffer.concat(bytes));
  return connection;
}

test('streams take turns, however little the socket takes at a time: none starves', () => {
  const connection = answered([null, null, null]);
  const order = Array.from({ length: 6 }, () => connection.drain(2)).flat();
  expect(order).toEqual([1, 3, 5, 1, 3, 5, 1, 3, 5, 1, 3, 5]);
});

test('urgency goes first; what is not incremental is served to its end, what is shares (RFC 9218 §10)', () => {
  const connection = answered([null, 'u=5', 'u=1', 'u=1', 'u=2, i', 'u=2, i']);
  const order = Array.from({ length: 24 }, () => connection.drain(1)).flat();
  const first = [5, 5, 5, 5, 7, 7, 7, 7];
  expect(order).toEqual(first.concat([9, 11, 9, 11, 9, 11, 9, 11], [1, 1, 1, 1], [3, 3, 3, 3]));
});

test('PRIORITY_UPDATE moves a stream that waits (RFC 9218 §7.1)', () => {
  const connection = answered([null, null]);
  expect(connection.drain(2)).toEqual([1, 3]);
  const update = Buffer.concat([Buffer.from([0, 0, 0, 3]), Buffer.from('u=0')]);
  connection.events.onBytes(framed(FRAME.PRIORITY_UPDATE, 0, 0, update));
  expect(connection.drain(4)).toEqual([3, 3, 3, 1]);
});

test.each([
  ['u=0', 0, false],
  ['i', 3, true],
  ['u=7, i=?1', 7, true],
  ['u=1;x=2 ,i;y', 1, true],
  ['i, i=?0', 3, false],
  ['u=8', 3, false],
  ['u=-1, u=2.0', 3, false],
  ['', 3, false],
  [`${'x'.repeat(64)},u=0`, 3, false],
])('the priority field %j is urgency %i, incremental %s', (text, urgency, incremental) => {
  expect(parsePriority(text)).toEqual({ urgency, incremental });
});
