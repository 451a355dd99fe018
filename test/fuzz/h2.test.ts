// Bytes into the HTTP/2 codec: any cut of a stream of frames reads the same, random frames never throw, and what
// the HPACK encoder writes the decoder reads.

import net from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Http2ClientConnection } from '../../sidecar/wire/http2/client.ts';
import { FrameReader, frame } from '../../sidecar/wire/http2/frames.ts';
import { HpackDecoder } from '../../sidecar/wire/http2/hpack-decoder.ts';
import { HpackEncoder } from '../../sidecar/wire/http2/hpack-encoder.ts';
import { serveHttp2 } from '../../sidecar/wire/http2/server.ts';
import { WireSocket } from '../../sidecar/wire/socket.ts';
import { Head, type StreamEvents } from '../../sidecar/wire/stream.ts';
import { cut, cuts, fuzz, fuzzAsync, fuzzTimeoutMs } from '../support/fuzz.ts';
import { clientFrame, mutation, serverFrame } from '../support/http2-frames.ts';
import { dealtWith, MemorySocket } from '../support/memory-socket.ts';

const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0, 0)]);
const GET = Buffer.from('828684410f7777772e6578616d706c652e636f6d', 'hex');
const payload = fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.constant<Uint8Array>(GET));
const anyFrame = fc
  .tuple(fc.integer({ min: 0, max: 11 }), fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 9 }), payload)
  .map(([type, flags, id, body]) => Buffer.concat([frame(type, flags, id, body.length, 0), body]));

function read(parts: Uint8Array[]): string[] {
  const seen: string[] = [];
  const reader = new FrameReader(
    (type, flags, id, bytes, from, to) =>
      seen.push(`${type} ${flags} ${id} ${Buffer.from(bytes.subarray(from, to)).toString('hex')}`) > 0,
    () => seen.push('too long'),
  );
  for (const part of parts) reader.push(part);
  return seen;
}

test(
  'frames read the same however they are cut',
  () => {
    fuzz(
      'HTTP/2 frames in pieces',
      fc.property(fc.array(anyFrame, { minLength: 1, maxLength: 12 }), cuts, (list, sizes) => {
        const whole = Buffer.concat(list);
        const expected = read([whole]);
        expect(expected.length).toBe(list.length);
        expect(read(cut(whole, sizes))).toEqual(expected);
      }),
    );
  },
  fuzzTimeoutMs(),
);

/** Records what streams hear, each after the other; data that came in one go or in several is the same. */
class Ledger {
  private readonly streams: string[][] = [];

  stream(then: (end: boolean) => void): StreamEvents {
    const said: string[] = [];
    this.streams.push(said);
    let data = '';
    const say = (text: string, end: boolean): void => {
      if (data !== '') said.push(`data ${data}`);
      data = '';
      said.push(`${text} ${end}`);
      then(end);
    };
    return {
      onHead: (head, end) => say(JSON.stringify(head), end),
      onData(chunk, end) {
        data += Buffer.from(chunk).toString('hex');
        if (end) say('', true);
      },
      onEnd: (trailers) => say(JSON.stringify(trailers), true),
      onDrain() {},
      onReset: (error) => say(`${error.kind} ${error.code} ${error.retry} ${error.detail}`, false),
    };
  }

  /** With a token of a connection. */
  note(text: string): void {
    this.streams.push([text]);
  }

  /** Until now. */
  get said(): string[][] {
    return this.streams.map((one) => [...one]);
  }
}

/** What both sides of a server connection say: its streams, its tokens, its bytes. */
async function served(parts: Uint8Array[]): Promise<unknown> {
  const ledger = new Ledger();
  const socket = new MemorySocket();
  const wire = new WireSocket(socket.asSocket);
  serveHttp2(
    wire,
    (stream) =>
      ledger.stream((end) => {
        if (end) stream.writeHead(Head.response(200, []), true);
      }),
    {
      scheme: 'http',
      onMalformed: (reason) => ledger.note(reason),
      onGuard: (name) => ledger.note(name),
      onClose() {},
    },
  );
  for (const part of parts) wire.events.onBytes(part);
  await dealtWith();
  const result = [ledger.said, Buffer.concat(socket.written).toString('hex')];
  socket.destroy();
  return result;
}

/** The same of a client connection with four requests under way. */
async function answered(parts: Uint8Array[]): Promise<unknown> {
  const ledger = new Ledger();
  const socket = new MemorySocket();
  const wire = new WireSocket(socket.asSocket);
  const connection = new Http2ClientConnection(wire, {
    onClose() {},
    onRoom() {},
    onMalformed: (reason) => ledger.note(reason),
    onGuard: (name) => ledger.note(name),
  });
  for (let i = 0; i < 4; i++) {
    connection.open(ledger.stream(() => {}))?.writeHead(Head.request('GET', 'http', 'a', '/', []), i < 3);
  }
  for (const part of parts) wire.events.onBytes(part);
  await dealtWith();
  const result = [ledger.said, Buffer.concat(socket.written).toString('hex'), connection.usable];
  socket.destroy();
  return result;
}

test.each([
  ['a server', clientFrame, PREFACE, served],
  ['a client', serverFrame, frame(4, 0, 0, 0), answered],
] as const)(
  '%s does the same however its bytes are cut',
  { timeout: fuzzTimeoutMs() },
  async (role, one, before, run) => {
    await fuzzAsync(
      `HTTP/2 to ${role} in pieces`,
      fc.asyncProperty(fc.array(one, { minLength: 1, maxLength: 8 }), mutation, cuts, async (list, change, sizes) => {
        const frames = list.map((bytes) => Buffer.from(bytes));
        if (change !== null) (frames[change[0] % frames.length] as Buffer)[change[1]] = change[2];
        const bytes = Buffer.concat([before, ...frames]);
        expect(await run(cut(bytes, sizes)), bytes.toString('hex')).toEqual(await run([bytes]));
      }),
    );
  },
);

test(
  'random frames never throw',
  () => {
    fuzz(
      'HTTP/2 frames of any bytes',
      fc.property(fc.array(anyFrame, { maxLength: 20 }), cuts, (list, sizes) => {
        const socket = new WireSocket(new net.Socket());
        serveHttp2(
          socket,
          (stream) => ({
            onHead: (_, end) => {
              stream.writeHead(Head.response(200, []), false);
              if (end) stream.writeData(GET, true);
            },
            onData: () => stream.pause(),
            onEnd: (trailers) => stream.writeEnd(trailers),
            onDrain() {},
            onReset() {},
          }),
          { scheme: 'http', onMalformed() {}, onGuard() {}, onClose() {} },
        );
        for (const part of cut(Buffer.concat([PREFACE, ...list]), sizes)) socket.events.onBytes(part);
        socket.destroy();
      }),
    );
  },
  fuzzTimeoutMs(),
);

test(
  'random frames never throw in a client, and fail a stream once at most',
  () => {
    fuzz(
      'HTTP/2 frames of any bytes to a client',
      fc.property(fc.array(anyFrame, { maxLength: 20 }), cuts, (list, sizes) => {
        const socket = new WireSocket(new net.Socket());
        const connection = new Http2ClientConnection(socket, { onClose() {}, onRoom() {} });
        const failed: number[] = [];
        for (let i = 0; i < 4; i++) {
          const stream = connection.open({
            onHead() {},
            onData: () => stream?.pause(),
            onEnd: () => stream?.resume(),
            onDrain() {},
            onReset: () => void failed.push(i),
          });
          stream?.writeHead(Head.request('POST', 'http', 'a', '/', []), false);
        }
        for (const part of cut(Buffer.concat([frame(4, 0, 0, 0), ...list]), sizes)) socket.events.onBytes(part);
        socket.events.onClose(null);
        expect(new Set(failed).size).toBe(failed.length);
        socket.destroy();
      }),
    );
  },
  fuzzTimeoutMs(),
);

test(
  'random header blocks never throw',
  () => {
    const decoder = new HpackDecoder();
    fuzz(
      'HPACK of any bytes',
      fc.property(fc.uint8Array({ maxLength: 200 }), (block) => void decoder.decode(block)),
    );
  },
  fuzzTimeoutMs(),
);

test(
  'what the encoder writes the decoder reads, block after block',
  () => {
    const text = fc.string({
      unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
      maxLength: 90,
    });
    const name = fc.oneof(fc.constantFrom(':path', 'cookie', 'authorization', 'x-a', 'x-b', 'content-type'), text);
    const lists = fc.array(
      fc.array(fc.tuple(name, fc.oneof(fc.constantFrom('', 'one', 'two'), text)), { maxLength: 20 }),
      { maxLength: 8 },
    );
    fuzz(
      'HPACK to and fro',
      fc.property(lists, fc.array(fc.nat(5000)), (blocks, sizes) => {
        const encoder = new HpackEncoder();
        const decoder = new HpackDecoder();
        for (const [i, block] of blocks.entries()) {
          const size = sizes[i];
          if (size !== undefined) encoder.setTableSize(size);
          encoder.start();
          encoder.fields(block.flat());
          expect(decoder.decode(encoder.finish())).toEqual(block.flat());
        }
      }),
    );
  },
  fuzzTimeoutMs(),
);
