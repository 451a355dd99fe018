// CVE class 5: clients that ask and give no window. What waits for one is bounded while it waits, and is dropped when
// it has waited too long; whoever takes something, or rests in a tunnel, is left alone.

import { expect, test } from 'vitest';
import { threadHeld } from '../../../sidecar/base/held.ts';
import { TimerWheel } from '../../../sidecar/base/timer-wheel.ts';
import type { ProxyError } from '../../../sidecar/wire/error.ts';
import { FLAG, FRAME, frame, wordFrame } from '../../../sidecar/wire/http2/frames.ts';
import { HpackEncoder } from '../../../sidecar/wire/http2/hpack-encoder.ts';
import { type Http2ServerConnection, serveHttp2 } from '../../../sidecar/wire/http2/server.ts';
import type { ByteConnection } from '../../../sidecar/wire/socket.ts';
import { SILENT } from '../../../sidecar/wire/socket.ts';
import { Head, type HttpStream } from '../../../sidecar/wire/stream.ts';

const ENHANCE_YOUR_CALM = 11;
const CHUNK_BYTES = 32 * 1024;
const LOOKS = 3;

/** A connection without a socket, which takes everything and says which streams were reset, as `id/code`. */
class Wide implements ByteConnection {
  readonly takenBytes = 0;
  bufferedBytes = 0;
  events = SILENT;
  isClosed = false;
  resets: string[] = [];

  pass(): boolean {
    return true;
  }

  write(bytes: Uint8Array | string): boolean {
    const at = Buffer.from(bytes as Uint8Array);
    if (at[3] === FRAME.RST_STREAM) this.resets.push(`${at.readUInt32BE(5)}/${at.readUInt32BE(9)}`);
    return true;
  }

  writeCopy(): boolean {
    return true;
  }

  end(): void {}
  destroy(): void {}
  destroySoon(): void {}
  pause(): void {}
  resume(): void {}
  guard(run: () => void): void {
    run();
  }
}

interface Peer {
  readonly wire: Wide;
  readonly server: Http2ServerConnection;
  readonly streams: HttpStream[];
  readonly guards: string[];
  /** What the owner of each stream heard at its end. */
  readonly ends: ProxyError['kind'][];
  /** Bytes that each answer found room for. */
  readonly written: number[];
}

function framed(type: number, flags: number, id: number, payload: Uint8Array): Buffer {
  return Buffer.concat([frame(type, flags, id, payload.length, 0), payload]);
}

/** A client whose streams have windows of `windowBytes`, and as many `requests`; each is answered for as long as there is room. */
function peer(windowBytes: number, requests: readonly string[][]): Peer {
  const wire = new Wide();
  const streams: HttpStream[] = [];
  const ends: ProxyError['kind'][] = [];
  const written: number[] = [];
  const guards: string[] = [];
  const wheel = new TimerWheel({ nowMs: () => 0 }, { set() {} });
  const options = {
    scheme: 'http',
    wheel,
    onMalformed() {},
    onGuard: (name: string) => void guards.push(name),
    onClose() {},
  } as const;
  const server = serveHttp2(
    wire,
    (stream) => {
      const place = streams.push(stream) - 1;
      written.push(0);
      const fill = (): void => {
        let room = true;
        while (room) {
          room = stream.writeData(Buffer.alloc(CHUNK_BYTES), false);
          written[place] = (written[place] as number) + CHUNK_BYTES;
        }
      };
      return {
        onHead() {
          stream.writeHead(Head.response(200, []), false);
          fill();
        },
        onData() {},
        onEnd() {},
        onDrain: fill,
        onReset: (error: ProxyError) => ends.push(error.kind),
      };
    },
    options,
  );
  const settings = Buffer.from([0, 4, 0, 0, 0, 0]);
  settings.writeUInt32BE(windowBytes, 2);
  const bytes = [Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), framed(FRAME.SETTINGS, 0, 0, settings)];
  const encoder = new HpackEncoder();
  for (const [i, fields] of requests.entries()) {
    encoder.start();
    encoder.fields(fields);
    bytes.push(framed(FRAME.HEADERS, FLAG.END_HEADERS, 2 * i + 1, Buffer.from(encoder.finish())));
  }
  wire.events.onBytes(Buffer.concat(bytes));
  return { wire, server, guards, streams, ends, written };
}

const GET = [':method', 'GET', ':scheme', 'http', ':authority', 'a', ':path', '/'];
const CONNECT = [':method', 'CONNECT', ':authority', 'a:80'];
const WEBSOCKET = [...GET.slice(2), ':method', 'CONNECT', ':protocol', 'websocket'];

/** Looks as often as nothing may be dropped, then once more; what each of both dropped. */
function look(server: Http2ServerConnection, bytesMin: number, between: () => void = () => {}): [number, number] {
  let early = 0;
  for (let i = 1; i < LOOKS; i++) {
    early += server.dropStalled(bytesMin, LOOKS);
    between();
  }
  return [early, server.dropStalled(bytesMin, LOOKS)];
}

test('CVE class 5: a hundred streams without a window hold 64 KiB and a chunk each, and are dropped', () => {
  const before = threadHeld.bytes;
  const { server, wire, ends, written } = peer(0, Array(100).fill(GET));
  expect(Math.max(...written)).toBe(64 * 1024 + CHUNK_BYTES);
  expect(server.heldBytes).toBe(100 * (64 * 1024 + CHUNK_BYTES));
  expect(threadHeld.bytes - before).toBe(server.heldBytes);
  expect(look(server, 10)).toEqual([0, 100]);
  expect(wire.resets).toHaveLength(100);
  expect(new Set(wire.resets.map((reset) => reset.split('/')[1]))).toEqual(new Set([String(ENHANCE_YOUR_CALM)]));
  expect(ends).toEqual(Array(100).fill('idleTimeout'));
  expect([server.activeStreams, server.heldBytes, threadHeld.bytes - before]).toEqual([0, 0, 0]);
});

test('CVE class 5: an answer that is whole, whose owner waits for nothing, is dropped, too', () => {
  const { server, streams, ends } = peer(0, [GET]);
  streams[0]?.writeEnd(null);
  expect(look(server, 10)).toEqual([0, 1]);
  expect([server.activeStreams, ends]).toEqual([0, ['idleTimeout']]);
});

test('CVE class 5: windows of a few bytes now and then buy no time, and enough of them do', () => {
  const give = (bytes: number) => {
    const { server, wire } = peer(0, [GET]);
    return look(server, 10, () => wire.events.onBytes(wordFrame(FRAME.WINDOW_UPDATE, 1, bytes)));
  };
  expect(give(9)).toEqual([0, 1]);
  expect(give(10)).toEqual([0, 0]);
});

test('a connection without a window stalls all its streams; one that moves, however many wait for their turn, none', () => {
  const { server } = peer(1024 * 1024, [GET, GET]);
  // What went out at first.
  expect(server.dropStalled(10, LOOKS)).toBe(0);
  expect(look(server, 10)).toEqual([0, 2]);
  const moving = peer(1024 * 1024, Array(2 * LOOKS).fill(GET));
  for (let i = 0; i < 4 * LOOKS; i++) {
    moving.wire.events.onBytes(wordFrame(FRAME.WINDOW_UPDATE, 0, 10));
    expect(moving.server.dropStalled(10, LOOKS)).toBe(0);
  }
});

test('an opaque tunnel may rest for the idle time of its port, a WebSocket is an answer as any other', () => {
  const { server, streams } = peer(0, [CONNECT, WEBSOCKET]);
  expect(streams).toHaveLength(2);
  expect(look(server, 10)).toEqual([0, 1]);
  expect(server.activeStreams).toBe(1);
});

test('CVE class 4: a client that makes us speak and does not read is dropped at 4 MiB', () => {
  const { wire, guards, ends } = peer(0, [GET]);
  const ping = framed(FRAME.PING, 0, 0, Buffer.alloc(8));
  wire.bufferedBytes = 4 * 1024 * 1024;
  wire.events.onBytes(ping);
  expect(guards).toEqual([]);
  wire.bufferedBytes++;
  wire.events.onBytes(ping);
  expect([guards, ends]).toEqual([['unsent'], ['connectionClosed']]);
});
