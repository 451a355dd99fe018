// Hostile frames over real sockets, one row a rule of RFC 9113, in both roles: what ends the stream, what ends the
// connection, with which code, and the reason that is counted.

import { once } from 'node:events';
import type { Socket } from 'node:net';
import net from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { Http2ClientConnection } from '../../../sidecar/wire/http2/client.ts';
import {
  FLAG,
  FRAME,
  FrameReader,
  frame,
  readUint32,
  settingsFrame,
  wordFrame,
} from '../../../sidecar/wire/http2/frames.ts';
import { HpackEncoder } from '../../../sidecar/wire/http2/hpack-encoder.ts';
import { serveHttp2 } from '../../../sidecar/wire/http2/server.ts';
import { WireSocket } from '../../../sidecar/wire/socket.ts';
import { Head, type HttpStream } from '../../../sidecar/wire/stream.ts';
import { Apps } from '../../support/apps.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const SETTINGS = frame(FRAME.SETTINGS, 0, 0, 0);
let apps = new Apps();
afterEach(() => {
  apps.close();
  apps = new Apps();
});

function framed(type: number, flags: number, id: number, payload: Uint8Array | string): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.from(payload, 'hex') : payload;
  return Buffer.concat([frame(type, flags, id, bytes.length, 0), bytes]);
}

function block(fields: string[]): Uint8Array {
  const encoder = new HpackEncoder();
  encoder.start();
  encoder.fields(fields);
  return encoder.finish();
}

const POST = [':method', 'POST', ':scheme', 'http', ':authority', 'a', ':path', '/'];
const ended = FLAG.END_HEADERS | FLAG.END_STREAM;

function headers(id: number, flags: number, fields: string[] = POST): Buffer {
  return framed(FRAME.HEADERS, flags, id, block(fields));
}

/** The fate of what was sent: `goaway CODE`, or `reset STREAM CODE`, as the peer is told behind `skip` bytes of preface. */
function tell(socket: Socket, skip: number, told: (fate: string) => void): void {
  const reader = new FrameReader(
    (type, _flags, id, bytes, from) => {
      if (type === FRAME.GOAWAY) told(`goaway ${readUint32(bytes, from + 4)}`);
      if (type === FRAME.RST_STREAM) told(`reset ${id} ${readUint32(bytes, from)}`);
      return true;
    },
    () => told('a frame too long'),
  );
  let left = skip;
  socket.on('data', (chunk: Buffer) => {
    const from = Math.min(left, chunk.length);
    left -= from;
    reader.push(chunk.subarray(from));
  });
  socket.on('close', () => told('closed'));
}

const one = headers(1, FLAG.END_HEADERS);
const done = headers(1, ended);
const open = (id: number, payload: Uint8Array | string, flags = 0): Buffer => framed(FRAME.DATA, flags, id, payload);
const setting = (id: number, value: number): Buffer => Buffer.from(settingsFrame([id, value]));

// PROTOCOL_ERROR 1, FLOW_CONTROL_ERROR 3, STREAM_CLOSED 5, FRAME_SIZE_ERROR 6, COMPRESSION_ERROR 9.
const SERVER: [rule: string, fate: string, reason: string, bytes: Buffer[]][] = [
  ['§4.2 a frame of 16,385 bytes', 'goaway 6', 'frameLength', [one, frame(FRAME.DATA, 0, 1, 16_385)]],
  ['§4.3 a block that does not decode', 'goaway 9', 'compression', [framed(FRAME.HEADERS, ended, 1, '80')]],
  ['§5.1 DATA on an idle stream', 'goaway 1', 'streamId', [open(1, '61')]],
  ['§5.1 DATA after END_STREAM', 'reset 1 5', 'streamClosed', [done, open(1, '61')]],
  ['§5.1 HEADERS after END_STREAM', 'reset 1 5', 'streamClosed', [done, done]],
  ['§5.1 RST_STREAM on an idle stream', 'goaway 1', 'streamId', [Buffer.from(wordFrame(FRAME.RST_STREAM, 1, 8))]],
  ['§5.1 WINDOW_UPDATE on an idle stream', 'goaway 1', 'streamId', [Buffer.from(wordFrame(FRAME.WINDOW_UPDATE, 1, 8))]],
  ['§5.1.1 an even stream', 'goaway 1', 'streamId', [headers(2, ended)]],
  ['§5.1.1 a lower stream', 'goaway 5', 'streamClosed', [headers(5, ended), headers(3, ended)]],
  ['§6.1 DATA on stream 0', 'goaway 1', 'streamId', [open(0, '61')]],
  ['§6.1 padding as long as the frame', 'goaway 1', 'padding', [one, open(1, '0161', FLAG.PADDED).fill(2, 9, 10)]],
  ['§4.2 DATA without its pad length', 'goaway 6', 'frameLength', [one, open(1, '', FLAG.PADDED)]],
  ['§6.2 HEADERS on stream 0', 'goaway 1', 'streamId', [headers(0, ended)]],
  ['§6.2 padding beyond HEADERS', 'goaway 1', 'padding', [framed(FRAME.HEADERS, ended | FLAG.PADDED, 1, '0982')]],
  [
    '§4.2 HEADERS without its pad length',
    'goaway 6',
    'frameLength',
    [framed(FRAME.HEADERS, ended | FLAG.PADDED, 1, '')],
  ],
  [
    '§4.2 HEADERS without its priority',
    'goaway 6',
    'frameLength',
    [framed(FRAME.HEADERS, ended | FLAG.PRIORITY, 1, '82')],
  ],
  ['§6.2 padding over priority', 'goaway 1', 'padding', [framed(FRAME.HEADERS, ended | 40, 1, '02000000000102')]],
  ['§6.3 PRIORITY on stream 0', 'goaway 1', 'streamId', [framed(FRAME.PRIORITY, 0, 0, '0000000001')]],
  ['§6.3 PRIORITY of 4 bytes', 'goaway 6', 'frameLength', [framed(FRAME.PRIORITY, 0, 1, '00000000')]],
  ['§6.4 RST_STREAM of 3 bytes', 'goaway 6', 'frameLength', [one, framed(FRAME.RST_STREAM, 0, 1, '000000')]],
  ['§6.4 RST_STREAM on stream 0', 'goaway 1', 'streamId', [framed(FRAME.RST_STREAM, 0, 0, '00000000')]],
  ['§6.5 SETTINGS on a stream', 'goaway 1', 'streamId', [framed(FRAME.SETTINGS, 0, 1, '')]],
  ['§6.5 SETTINGS of 5 bytes', 'goaway 6', 'frameLength', [framed(FRAME.SETTINGS, 0, 0, '0000000000')]],
  [
    '§6.5 an acknowledgement with settings',
    'goaway 6',
    'frameLength',
    [framed(FRAME.SETTINGS, FLAG.ACK, 0, '000300000001')],
  ],
  ['§6.5.2 ENABLE_PUSH 2', 'goaway 1', 'settings', [setting(2, 2)]],
  ['§6.5.2 INITIAL_WINDOW_SIZE 2^31', 'goaway 3', 'settings', [setting(4, 2 ** 31)]],
  ['§6.5.2 MAX_FRAME_SIZE 16,383', 'goaway 1', 'settings', [setting(5, 16_383)]],
  ['§6.5.2 MAX_FRAME_SIZE 2^24', 'goaway 1', 'settings', [setting(5, 2 ** 24)]],
  ['RFC 8441 §3 ENABLE_CONNECT_PROTOCOL 2', 'goaway 1', 'settings', [setting(8, 2)]],
  ['RFC 8441 §3 ENABLE_CONNECT_PROTOCOL withdrawn', 'goaway 1', 'settings', [setting(8, 1), setting(8, 0)]],
  ['RFC 9218 §2.1 NO_RFC7540_PRIORITIES 2', 'goaway 1', 'settings', [setting(9, 2)]],
  ['RFC 9218 §7.1 PRIORITY_UPDATE on a stream', 'goaway 1', 'streamId', [one, framed(16, 0, 1, '00000001')]],
  ['RFC 9218 §7.1 PRIORITY_UPDATE of 3 bytes', 'goaway 6', 'frameLength', [framed(16, 0, 0, '000000')]],
  ['RFC 9218 §7.1 PRIORITY_UPDATE about a push', 'goaway 1', 'streamId', [framed(16, 0, 0, '00000002')]],
  ['§6.6 PUSH_PROMISE of a client', 'goaway 1', 'push', [one, framed(FRAME.PUSH_PROMISE, 4, 1, '00000002')]],
  ['§6.7 PING on a stream', 'goaway 1', 'streamId', [framed(FRAME.PING, 0, 1, '0000000000000000')]],
  ['§6.7 PING of 7 bytes', 'goaway 6', 'frameLength', [framed(FRAME.PING, 0, 0, '00000000000000')]],
  ['§6.8 GOAWAY on a stream', 'goaway 1', 'streamId', [framed(FRAME.GOAWAY, 0, 1, '0000000000000000')]],
  ['§6.8 GOAWAY of 7 bytes', 'goaway 6', 'frameLength', [framed(FRAME.GOAWAY, 0, 0, '00000000000000')]],
  ['§6.9 WINDOW_UPDATE of 3 bytes', 'goaway 6', 'frameLength', [framed(FRAME.WINDOW_UPDATE, 0, 0, '000001')]],
  ['§6.9 WINDOW_UPDATE of 0', 'goaway 1', 'windowUpdate', [Buffer.from(wordFrame(FRAME.WINDOW_UPDATE, 0, 0))]],
  ['§6.9 WINDOW_UPDATE of 0 on a stream', 'reset 1 1', 'windowUpdate', [one, Buffer.from(wordFrame(8, 1, 0))]],
  ['§6.9.1 connection window overflow', 'goaway 3', 'windowUpdate', [Buffer.from(wordFrame(8, 0, 0x7fffffff))]],
  ['§6.9.1 stream window overflow', 'reset 1 3', 'windowUpdate', [one, Buffer.from(wordFrame(8, 1, 0x7fffffff))]],
  [
    '§6.9.2 overflow by SETTINGS',
    'goaway 3',
    'windowUpdate',
    [one, Buffer.from(wordFrame(8, 1, 1)), setting(4, 0x7fffffff)],
  ],
  [
    '§6.9.1 DATA beyond the stream window',
    'reset 1 3',
    'flowControl',
    [one, Buffer.concat(Array(17).fill(open(1, Buffer.alloc(16_000))))],
  ],
  ['§6.10 CONTINUATION without HEADERS', 'goaway 1', 'headerBlock', [framed(FRAME.CONTINUATION, 4, 1, '82')]],
  [
    '§6.10 PING inside a block',
    'goaway 1',
    'headerBlock',
    [headers(1, 0), framed(FRAME.PING, 0, 0, '0000000000000000')],
  ],
  [
    '§6.10 CONTINUATION of another stream',
    'goaway 1',
    'headerBlock',
    [headers(1, 0), framed(FRAME.CONTINUATION, 4, 3, '')],
  ],
  ['§6.10 an unknown frame inside a block', 'goaway 1', 'headerBlock', [headers(1, 0), framed(0xfa, 0, 1, '')]],
  ['§8.1 trailers without END_STREAM', 'reset 1 1', 'trailers', [one, headers(1, FLAG.END_HEADERS, ['x', '1'])]],
  ['§8.1 trailers with a pseudo-header', 'reset 1 1', 'pseudoHeader', [one, headers(1, ended, [':path', '/'])]],
  [
    'RFC 9110 §6.5.1 trailers with a length',
    'reset 1 1',
    'trailerField',
    [one, headers(1, ended, ['content-length', '1'])],
  ],
  [
    '§8.1.1 a body shorter than content-length',
    'reset 1 1',
    'body',
    [headers(1, FLAG.END_HEADERS, POST.concat('content-length', '2')), open(1, '61', 1)],
  ],
  [
    '§8.1.1 a body longer than content-length',
    'reset 1 1',
    'body',
    [headers(1, FLAG.END_HEADERS, POST.concat('content-length', '1')), open(1, '6161')],
  ],
  [
    '§8.1.1 content-length without a body',
    'reset 1 1',
    'body',
    [headers(1, ended, POST.concat('content-length', '1'))],
  ],
  [
    '§8.1.1 trailers before the body is whole',
    'reset 1 1',
    'body',
    [headers(1, FLAG.END_HEADERS, POST.concat('content-length', '1')), headers(1, ended, ['x', '1'])],
  ],
  [
    'RFC 9110 §8.6 two lengths',
    'reset 1 1',
    'length',
    [headers(1, ended, POST.concat('content-length', '0', 'content-length', '1'))],
  ],
  [
    '§8.2.2 transfer-encoding',
    'reset 1 1',
    'connectionField',
    [headers(1, ended, POST.concat('transfer-encoding', 'chunked'))],
  ],
  ['§8.3.1 no path', 'reset 1 1', 'path', [headers(1, ended, POST.slice(0, 6))]],
];

describe('a server told', () => {
  async function fateOf(bytes: Buffer[]): Promise<{ fate: string; malformed: string[]; socket: Socket }> {
    const malformed: string[] = [];
    const port = await apps.tcp((socket) => {
      const events = { onHead() {}, onData() {}, onEnd() {}, onDrain() {}, onReset() {} };
      // Nothing is read, so that windows are not widened.
      const accept = (stream: HttpStream) => {
        stream.pause();
        return events;
      };
      const onMalformed = (reason: string): void => void malformed.push(reason);
      serveHttp2(new WireSocket(socket), accept, { scheme: 'http', onMalformed, onGuard() {}, onClose() {} });
    });
    const socket = net.connect({ port, host: '127.0.0.1' });
    socket.on('error', () => {});
    apps.onClose(() => socket.destroy());
    const told = Promise.withResolvers<string>();
    tell(socket, 0, told.resolve);
    socket.write(Buffer.concat(bytes));
    return { fate: await told.promise, malformed, socket };
  }

  test.each(SERVER)('%s: %s, counted as %s', async (_rule, fate, reason, bytes) => {
    const seen = await fateOf([PREFACE, SETTINGS, ...bytes]);
    expect(seen.fate).toBe(fate);
    expect(seen.malformed).toEqual([reason]);
    if (fate.startsWith('goaway'))
      await new Promise((over) => (seen.socket.closed ? over(null) : seen.socket.once('close', over)));
  });

  test.each([
    ['§3.4 no preface', 'preface', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['§3.4 no SETTINGS first', 'firstFrame', Buffer.concat([PREFACE, done])],
    ['§3.4 an acknowledgement first', 'firstFrame', Buffer.concat([PREFACE, frame(FRAME.SETTINGS, FLAG.ACK, 0, 0)])],
  ])('%s: goaway 1, counted as %s', async (_rule, reason, bytes) => {
    const seen = await fateOf([bytes]);
    expect([seen.fate, seen.malformed]).toEqual(['goaway 1', [reason]]);
  });
});

const response = (fields: string[], flags: number): Buffer => headers(1, flags, fields);
const OK = [':status', '200'];

const CLIENT: [rule: string, fate: string, bytes: Buffer[]][] = [
  ['§6.5.2 ENABLE_PUSH 1 of a server', 'goaway 1', [setting(2, 1)]],
  ['§3.4 no SETTINGS first', 'goaway 1', [done]],
  ['RFC 9218 §7.1 PRIORITY_UPDATE of a server', 'goaway 1', [framed(16, 0, 0, '00000001')]],
  ['§6.6 PUSH_PROMISE although forbidden', 'goaway 1', [framed(FRAME.PUSH_PROMISE, 4, 1, '00000002')]],
  ['§5.1 HEADERS on a stream never opened', 'goaway 1', [headers(3, ended, OK)]],
  ['§5.1.1 HEADERS on a stream of the server', 'goaway 1', [headers(2, ended, OK)]],
  ['§5.1 DATA on a stream never opened', 'goaway 1', [open(3, '61')]],
  ['§8.1 DATA before the head', 'reset 1 1', [open(1, '61')]],
  ['§8.1 an interim head that ends the stream', 'reset 1 1', [response([':status', '103'], ended)]],
  ['§8.1 DATA behind an interim head', 'reset 1 1', [response([':status', '103'], FLAG.END_HEADERS), open(1, '61')]],
  [
    'RFC 9110 §15.2 interim heads for ever',
    'reset 1 11',
    Array(33).fill(response([':status', '103'], FLAG.END_HEADERS)),
  ],
  ['§8.1 a second head', 'reset 1 1', [response(OK, FLAG.END_HEADERS), response(OK, ended)]],
  ['§8.1 trailers without END_STREAM', 'reset 1 1', [response(OK, 4), response(['x', '1'], FLAG.END_HEADERS)]],
  [
    '§8.1.1 a body shorter than content-length',
    'reset 1 1',
    [response(OK.concat('content-length', '2'), 4), open(1, '61', 1)],
  ],
  [
    '§8.1.1 a body longer than content-length',
    'reset 1 1',
    [response(OK.concat('content-length', '1'), 4), open(1, '6161')],
  ],
  ['§8.1.1 a body of 204', 'reset 1 1', [response([':status', '204'], 4), open(1, '61', 1)]],
  ['§8.3.2 no status', 'reset 1 1', [response(['x', '1'], ended)]],
  ['§8.3.2 a request', 'reset 1 1', [response(POST, ended)]],
  ['§8.2.2 connection', 'reset 1 1', [response(OK.concat('connection', 'close'), ended)]],
  ['§8.6 status 101', 'reset 1 1', [response([':status', '101'], FLAG.END_HEADERS)]],
  ['§6.9 WINDOW_UPDATE of 0', 'reset 1 1', [Buffer.from(wordFrame(FRAME.WINDOW_UPDATE, 1, 0))]],
  ['§6.10 SETTINGS inside a block', 'goaway 1', [headers(1, 0, OK), SETTINGS]],
];

test.each(CLIENT)('a client told %s: %s', async (rule, fate, bytes) => {
  const told = Promise.withResolvers<string>();
  const port = await apps.tcp((socket) => {
    tell(socket, PREFACE.length, told.resolve);
    // The request must be out before anything answers it.
    socket.once('data', () => socket.write(Buffer.concat(rule.startsWith('§3.4') ? bytes : [SETTINGS, ...bytes])));
  });
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  apps.onClose(() => socket.destroy());
  await once(socket, 'connect');
  const connection = new Http2ClientConnection(new WireSocket(socket), { onClose() {}, onRoom() {} });
  const failed = Promise.withResolvers<string>();
  const stream = connection.open({
    onHead() {},
    onData() {},
    onEnd() {},
    onDrain() {},
    onReset: (error) => failed.resolve(`${error.kind} ${error.retry}`),
  });
  stream?.writeHead(Head.request('POST', 'http', 'a', '/', []), false);
  expect(await told.promise).toBe(fate);
  // Stream or connection, it is the upstream that broke the protocol: 502, never another attempt.
  expect(await failed.promise).toBe('protocolError no');
});

test.each([16_375, 16_390, 40_000])(
  'a head of about %i coded bytes arrives whole in frames of 64 KiB',
  async (size) => {
    // '\xff' takes 26 bits in Huffman code, so it is sent as it is.
    const value = '\xff'.repeat(size);
    const port = await apps.tcp((socket) => {
      const events = { onData() {}, onEnd() {}, onDrain() {}, onReset() {} };
      serveHttp2(
        new WireSocket(socket),
        (stream) => ({
          ...events,
          onHead: () => {
            stream.writeHead(Head.response(200, ['x', value]), false);
            stream.writeData(Buffer.from('body'), true);
          },
        }),
        { scheme: 'http', onMalformed() {}, onGuard() {}, onClose() {} },
      );
    });
    const socket = net.connect({ port, host: '127.0.0.1' });
    apps.onClose(() => socket.destroy());
    socket.write(Buffer.concat([PREFACE, setting(5, 65_536), done]));
    let bytes = Buffer.alloc(0);
    const last = framed(FRAME.DATA, FLAG.END_STREAM, 1, Buffer.from('body'));
    for await (const chunk of socket) {
      bytes = Buffer.concat([bytes, chunk as Buffer]);
      if (bytes.includes(last)) break;
    }
    expect(bytes.includes(Buffer.from(value, 'latin1'))).toBe(true);
  },
);
