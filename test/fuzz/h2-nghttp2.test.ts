// Our HTTP/2 server against nghttp2, through node:http2: the same frames, valid and mutated, are taken or refused by
// both alike, and both see the same requests.

import net from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FLAG, FRAME, FrameReader, frame, readUint32 } from '../../sidecar/wire/http2/frames.ts';
import { serveHttp2 } from '../../sidecar/wire/http2/server.ts';
import { WireSocket } from '../../sidecar/wire/socket.ts';
import { Head } from '../../sidecar/wire/stream.ts';
import { Apps } from '../support/apps.ts';
import { fuzzAsync, fuzzTimeoutMs } from '../support/fuzz.ts';
import { block, clientFrame, framed, mutation, REQUEST } from '../support/http2-frames.ts';
import type { DIFFERENCES } from './differences.ts';

const OPENING = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(FRAME.SETTINGS, 0, 0, 0)]);
/** Of the client's preface, which is no frame. */
const PREFACE_BYTES = 24;
const LAST_PING = Buffer.from('lastping');

const apps = new Apps();
let ours = 0;
let theirs = 0;
afterAll(() => apps.close());
beforeAll(async () => {
  ours = await apps.tcp((socket) => {
    serveHttp2(
      new WireSocket(socket),
      (stream) => ({
        onHead: (head, end) => end && stream.writeHead(Head.response(200, ['x-path', head.path]), true),
        onData: (_, end) => void (end && stream.writeHead(Head.response(200, []), true)),
        onEnd: () => stream.writeHead(Head.response(200, []), true),
        onDrain() {},
        onReset() {},
      }),
      { scheme: 'http', onMalformed() {}, onGuard() {}, onClose() {} },
    );
  });
  theirs = await apps.http2((stream) => {
    stream.on('error', () => {});
    stream.resume().once('end', () => {
      if (!stream.destroyed && !stream.closed) stream.respond({ ':status': 200 }, { endStream: true });
    });
  });
});

/** The streams that the frames reset: whether an answer was on its way already is a race. */
function resetIn(bytes: Buffer): Set<number> {
  const ids = new Set<number>();
  const reader = new FrameReader(
    (type, _flags, id) => {
      if (type === FRAME.RST_STREAM) ids.add(id);
      return true;
    },
    () => {},
  );
  reader.push(bytes);
  return ids;
}

/** `refused` when the connection ended with an error, else what became of each stream that the client did not reset. */
function verdict(port: number, bytes: Buffer): Promise<string> {
  const abandoned = resetIn(bytes.subarray(PREFACE_BYTES));
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const fates = new Map<number, string>();
    const settle = (text: string): void => {
      socket.destroy();
      resolve(text);
    };
    const taken = (): void =>
      settle(
        [...fates]
          .filter(([id]) => !abandoned.has(id))
          .sort(([a], [b]) => a - b)
          .map(([id, fate]) => `${id} ${fate}`)
          .join(', '),
      );
    const reader = new FrameReader(
      (type, flags, id, payload, from) => {
        if (type === FRAME.GOAWAY && readUint32(payload, from + 4) !== 0) settle('refused');
        else if (type === FRAME.HEADERS) fates.set(id, 'answered');
        else if (type === FRAME.RST_STREAM && readUint32(payload, from) !== 0) fates.set(id, 'reset');
        else if (type === FRAME.PING && flags === FLAG.ACK && LAST_PING.equals(payload.subarray(from, from + 8)))
          setImmediate(() => setImmediate(taken));
        return true;
      },
      () => settle('a frame too long for a client'),
    );
    socket.on('data', (chunk: Buffer) => reader.push(chunk));
    socket.on('error', () => settle('refused'));
    socket.on('end', taken);
    socket.setTimeout(3_000, () => settle('nothing'));
    socket.end(bytes);
  });
}

const GOOD = new Set(
  [REQUEST, REQUEST.concat('x-a', '1'), REQUEST.concat('te', 'trailers')].map((b) => block(b).toString('hex')),
);

/** Which differences a sequence of frames meets. */
function differences(bytes: Buffer): (keyof typeof DIFFERENCES)[] {
  const met: (keyof typeof DIFFERENCES)[] = [];
  const open = new Set<number>();
  let highest = 0;
  /** The block of the last HEADERS without END_STREAM. Of a stream whose block is not good, DATA may be too much. */
  let begun = '';
  const reader = new FrameReader(
    (type, flags, to, payload, from, end) => {
      const hex = Buffer.from(payload.subarray(from, end)).toString('hex');
      if (type === FRAME.HEADERS && to > highest) {
        highest = to;
        begun = (flags & FLAG.END_STREAM) === 0 ? hex : '';
        if (GOOD.has(begun)) open.add(to);
      } else if (type === FRAME.CONTINUATION) {
        begun += hex;
        if (GOOD.has(begun)) open.add(to);
      } else if (type === FRAME.HEADERS && !open.has(to)) met.push('closedStream', 'streamError');
      else if (type === FRAME.HEADERS) open.delete(to);
      else if (type === FRAME.DATA && to <= highest && !open.has(to)) met.push('closedStream', 'streamError');
      else if (type === FRAME.DATA && (flags & FLAG.END_STREAM) !== 0) open.delete(to);
      else if (type === FRAME.PING && (flags & FLAG.ACK) !== 0) met.push('pingAck');
      else if (type === FRAME.WINDOW_UPDATE && to !== 0 && readUint32(payload, from) === 0) met.push('streamError');
      else if (type === FRAME.PRIORITY && to === 0) met.push('priorityZero');
      else if (type === FRAME.RST_STREAM) open.delete(to);
      return true;
    },
    () => {},
  );
  reader.push(bytes);
  return met;
}

test(
  'frames are taken or refused as nghttp2 does, and the same requests are seen',
  async () => {
    const seen = new Set<string>();
    await fuzzAsync(
      'HTTP/2 server against nghttp2',
      fc.asyncProperty(fc.array(clientFrame, { minLength: 1, maxLength: 8 }), mutation, async (list, change) => {
        const frames = list.map((bytes) => Buffer.from(bytes));
        if (change !== null) (frames[change[0] % frames.length] as Buffer)[change[1]] = change[2];
        if (differences(Buffer.concat(frames)).length > 0) return;
        const bytes = Buffer.concat([OPENING, ...frames, framed(FRAME.PING, 0, 0, LAST_PING)]);
        const [our, their] = await Promise.all([verdict(ours, bytes), verdict(theirs, bytes)]);
        expect(our).toBe(their);
        seen.add(our.replaceAll(/\d+/g, 'N'));
      }),
    );
    // It compared something: requests that both answered and reset, and connections that both refused.
    expect([...seen]).toEqual(expect.arrayContaining(['N answered', 'N reset', 'refused']));
  },
  fuzzTimeoutMs(),
);
