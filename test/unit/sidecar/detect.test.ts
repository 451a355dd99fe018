// What the first bytes of a connection are, as a table and under any cut; and the bounds of looking at them.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../../sidecar/base/limits.ts';
import { TimerWheel } from '../../../sidecar/base/timer-wheel.ts';
import { detect, detectProtocol } from '../../../sidecar/listen/detect.ts';
import type { ByteConnection, SocketEvents } from '../../../sidecar/wire/socket.ts';
import { fuzz, fuzzTimeoutMs } from '../../support/fuzz.ts';

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

test.each<[string, string | null]>([
  ['', null],
  ['G', null],
  ['GET / HTTP/1.1', null],
  ['GET / HTTP/1.1\r\n', 'http1'],
  ['GET / HTTP/1.1\n', 'http1'],
  ['M-SEARCH * HTTP/1.1\r\n', 'http1'],
  ['\r\nGET / HTTP/1.1\r\n', 'http1'],
  ['\r\n', null],
  ['GET /\xe4 HTTP/1.1\r\n', 'http1'],
  ['GET /\r\n', 'other'],
  ['PING\r\n', 'other'],
  ['*1\r\n$4\r\nPING\r\n', 'other'],
  ['SSH-2.0-OpenSSH_9\r\n', 'other'],
  ['HTTP/1.1 200 OK\r\n', 'other'],
  ['\x00', 'other'],
  ['GET\0 / HTTP/1.1\r\n', 'other'],
  ['\x16', 'tls'],
  [PREFACE.slice(0, -1), null],
  [PREFACE, 'http2'],
  ['PRI * HTTP/2.0\r\n\r\nSM\r\n\rX', 'http1'],
  ['x'.repeat(1023), null],
  ['x'.repeat(1024), 'other'],
  [`GET /${'x'.repeat(1019)}`, 'http1'],
])('%j is %s', (text, expected) => {
  expect(detectProtocol(bytes(text))).toBe(expected);
});

/** A connection that its test plays; what comes out of detection is remembered. */
class Played implements ByteConnection {
  events: SocketEvents = { onBytes() {}, onDrain() {}, onEnd() {}, onClose() {} };
  isClosed = false;
  readonly bufferedBytes = 0;
  readonly takenBytes = 0;
  found: string[] = [];
  chunks: Uint8Array[] = [];
  ended = false;
  private ring: (() => void) | null = null;
  private nowMs = 0;
  dueMs = 0;

  constructor() {
    const clock = { nowMs: () => this.nowMs };
    const wheel = new TimerWheel(clock, {
      set: (delayMs, ring) => {
        this.ring = ring;
        this.dueMs = this.nowMs + delayMs;
      },
    });
    detect(
      { wheel },
      this,
      (detected) => {
        this.found.push(detected);
        this.events = {
          onBytes: (chunk) => this.chunks.push(chunk),
          onDrain() {},
          onEnd: () => {
            this.ended = true;
          },
          onClose() {},
        };
      },
      () => this.found.push('gone'),
    );
  }

  /** Lets the time pass until `ms`, alarm by alarm. */
  passUntil(ms: number): void {
    while (this.ring !== null && this.dueMs <= ms) {
      const ring = this.ring;
      this.ring = null;
      this.nowMs = this.dueMs;
      ring();
    }
    this.nowMs = ms;
  }

  write = () => true;
  pass = () => true;
  writeCopy = () => true;
  end() {}
  destroy() {}
  destroySoon() {}
  pause() {}
  resume() {}
  guard(run: () => void): void {
    run();
  }
}

describe('a connection', () => {
  test('that says nothing is opaque after ten seconds, and not before', () => {
    const played = new Played();
    played.passUntil(LIMITS.detectTimeoutMs - 200);
    expect(played.found).toEqual([]);
    played.passUntil(LIMITS.detectTimeoutMs + 200);
    expect(played.found).toEqual(['timeout']);
  });

  test('that drips has no longer: the time runs from its beginning', () => {
    const played = new Played();
    for (let second = 1; second <= 9; second++) {
      played.passUntil(second * 1000);
      played.events.onBytes(bytes('G'));
    }
    played.passUntil(LIMITS.detectTimeoutMs + 200);
    expect(played.found).toEqual(['timeout']);
    expect(Buffer.concat(played.chunks).toString()).toBe('GGGGGGGGG');
  });

  test('that goes before is forgotten', () => {
    const played = new Played();
    played.events.onClose(null);
    played.passUntil(60_000);
    expect(played.found).toEqual(['gone']);
  });

  test('hands what was read on by reference', () => {
    const played = new Played();
    const [one, two] = [bytes('GET / '), bytes('HTTP/1.1\r\n')];
    played.events.onBytes(one);
    played.events.onBytes(two);
    expect([played.chunks[0] === one, played.chunks[1] === two]).toEqual([true, true]);
  });
});

test('any bytes in any pieces: one verdict, the same as of all at once, and every byte handed on', {
  timeout: fuzzTimeoutMs(),
}, () => {
  const start = fc.constantFrom(
    '',
    PREFACE,
    'GET / HTTP/1.1\r\n',
    '\r\n',
    'PRI * HTTP/2.0\r\n\r\n',
    `GET /${'y'.repeat(1020)}`,
  );
  const text = fc.tuple(start, fc.nat(60), fc.uint8Array({ maxLength: 1200 }));
  const property = fc.property(text, fc.array(fc.integer({ min: 1, max: 400 })), ([head, cut, tail], sizes) => {
    const all = Buffer.concat([bytes(head.slice(0, head.length - (cut % (head.length + 1)))), tail]);
    const played = new Played();
    for (let at = 0, i = 0; at < all.length; i++) {
      const size = sizes[i % (sizes.length || 1)] ?? 1;
      played.events.onBytes(all.subarray(at, at + size));
      at += size;
    }
    played.events.onEnd();
    expect(played.found).toEqual([detectProtocol(all, true)]);
    expect(Buffer.compare(Buffer.concat(played.chunks), all)).toBe(0);
    expect(played.ended).toBe(true);
  });
  fuzz('protocol detection', property);
});
