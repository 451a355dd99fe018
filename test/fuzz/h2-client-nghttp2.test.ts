// Our HTTP/2 client against nghttp2's server, through node:http2: whatever calls we make, with bodies beyond windows and
// frames, trailers, answers before their time and resets, each side hears exactly what the other said.

import http2 from 'node:http2';
import type net from 'node:net';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { Http2ClientConnection } from '../../sidecar/wire/http2/client.ts';
import { WireSocket } from '../../sidecar/wire/socket.ts';
import { Head, type HttpStream } from '../../sidecar/wire/stream.ts';
import { Apps } from '../support/apps.ts';
import { fuzzAsync, fuzzTimeoutMs } from '../support/fuzz.ts';

const apps = new Apps();
afterAll(() => apps.close());

/** One call: what either side says. Sizes are those of the writes of a body; `[]` is none. */
interface Call {
  readonly method: string;
  readonly headers: string[];
  readonly sizes: number[];
  readonly trailers: string[];
  readonly interim: boolean;
  readonly status: number;
  readonly answerHeaders: string[];
  readonly answerSizes: number[];
  readonly answerTrailers: string[];
  /** Instead of an answer, RST_STREAM with this code. */
  readonly reset: number | null;
}

const visible = fc.string({
  unit: fc.integer({ min: 0x21, max: 0x7e }).map((c) => String.fromCharCode(c)),
  maxLength: 60,
});
const name = fc.oneof(
  fc.constantFrom('accept', 'user-agent', 'x-a', 'etag', 'x-request-id'),
  fc.stringMatching(/^x-[a-z0-9]{1,9}$/),
);
const fields = (maxLength: number): fc.Arbitrary<string[]> =>
  fc.uniqueArray(fc.tuple(name, visible), { selector: ([n]) => n, maxLength }).map((list) => list.flat());
const sizes = fc.array(fc.constantFrom(1, 100, 1000, 16_383, 16_384, 16_385, 70_000), { maxLength: 4 });
const call: fc.Arbitrary<Call> = fc.record({
  method: fc.constantFrom('GET', 'POST', 'HEAD', 'PUT'),
  headers: fields(8),
  sizes,
  trailers: fields(2),
  interim: fc.boolean(),
  status: fc.constantFrom(200, 204, 304, 404, 503),
  answerHeaders: fields(8),
  answerSizes: sizes,
  answerTrailers: fields(2),
  reset: fc.oneof({ weight: 8, arbitrary: fc.constant(null) }, fc.constantFrom(2, 7, 8, 11)),
});

/** What a side heard of a call. */
interface Heard {
  start: string;
  headers: readonly string[];
  body: string;
  trailers: readonly string[];
}

const nothing = (): Heard => ({ start: '', headers: [], body: '0 0', trailers: [] });
const sum = (chunks: readonly Uint8Array[]): string => {
  const bytes = Buffer.concat(chunks);
  return `${bytes.length} ${crc32(bytes)}`;
};
const bodyOf = (list: readonly number[], seed: number): Buffer[] =>
  list.map((size, i) => Buffer.alloc(size, seed + i + 1));
const object = (list: readonly string[]): Record<string, string> =>
  Object.fromEntries(list.flatMap((n, i) => (i % 2 === 0 ? [[n, list[i + 1] as string]] : [])));
const hasBody = ({ method, status }: Call): boolean => method !== 'HEAD' && status !== 204 && status !== 304;

/** A server with these settings, and how to make calls to it, all at once, on the one connection of ours. */
async function pair(settings: http2.Settings): Promise<(calls: Call[]) => Promise<[Heard[], Heard[]]>> {
  let calls: Call[] = [];
  let served: Heard[] = [];
  const server = http2.createServer({ settings });
  server.on('stream', (stream: http2.ServerHttp2Stream, _headers, _flags, raw: string[]) => {
    const index = Number((raw[raw.indexOf(':path') + 1] as string).slice(1));
    const heard = nothing();
    served[index] = heard;
    heard.start = raw[raw.indexOf(':method') + 1] as string;
    heard.headers = raw.filter((_, i) => !(raw[i - (i % 2)] as string).startsWith(':'));
    const chunks: Buffer[] = [];
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => void chunks.push(chunk));
    stream.on('trailers', (_trailers, _flag, list: string[]) => {
      heard.trailers = list;
    });
    stream.on('end', () => {
      heard.body = sum(chunks);
      answer(stream, calls[index] as Call, index);
    });
  });
  const listening = await apps.listen(server as unknown as net.Server);
  let connection: Http2ClientConnection | null = null;
  const dial = async (): Promise<Http2ClientConnection> => {
    if (connection?.usable === true) return connection;
    connection = new Http2ClientConnection(new WireSocket(await apps.connect(listening)), {
      onClose() {},
      onRoom() {},
    });
    return connection;
  };
  return async (list) => {
    calls = list;
    served = [];
    const client = await dial();
    const heard = await Promise.all(list.map((one, i) => make(client, one, i)));
    return [heard, served];
  };
}

function answer(stream: http2.ServerHttp2Stream, one: Call, index: number): void {
  // The case was left when its time was over.
  if (stream.destroyed || stream.closed) return;
  if (one.reset !== null) return stream.close(one.reset);
  if (one.interim) stream.additionalHeaders({ ':status': 103, link: '</a>' });
  const isEnd = !hasBody(one);
  const waitForTrailers = !isEnd && one.answerTrailers.length > 0;
  // What it would add itself is not to be compared.
  const options = { endStream: isEnd, waitForTrailers, sendDate: false };
  stream.respond({ ':status': one.status, ...object(one.answerHeaders) }, options);
  if (isEnd) return;
  stream.on('wantTrailers', () => stream.sendTrailers(object(one.answerTrailers)));
  for (const chunk of bodyOf(one.answerSizes, index)) stream.write(chunk);
  stream.end();
}

function make(client: Http2ClientConnection, one: Call, index: number): Promise<Heard> {
  return new Promise((resolve) => {
    const heard = nothing();
    const chunks: Uint8Array[] = [];
    const end = (trailers: readonly string[]): void => {
      heard.body = sum(chunks);
      heard.trailers = trailers;
      resolve(heard);
    };
    const stream = client.open({
      onHead(head, last) {
        heard.start += ` ${head.status}`;
        if (head.status >= 200) heard.headers = head.headers;
        if (last) end([]);
      },
      onData(chunk, last) {
        chunks.push(chunk);
        if (last) end([]);
      },
      onEnd: (trailers) => end(trailers ?? []),
      onDrain() {},
      onReset(error) {
        heard.start += ` reset ${error.code}`;
        resolve(heard);
      },
    }) as HttpStream;
    const isEnd = one.sizes.length === 0 && one.trailers.length === 0;
    stream.writeHead(Head.request(one.method, 'http', 'a', `/${index}`, [...one.headers]), isEnd);
    if (isEnd) return;
    for (const chunk of bodyOf(one.sizes, index)) stream.writeData(chunk, false);
    stream.writeEnd(one.trailers.length === 0 ? null : [...one.trailers]);
  });
}

/** What the server has to hear of a call, and what its caller. */
function expected(one: Call, index: number): [Heard, Heard] {
  const asked: Heard = {
    start: one.method,
    headers: one.headers,
    body: sum(bodyOf(one.sizes, index)),
    trailers: one.trailers,
  };
  if (one.reset !== null) return [asked, { ...nothing(), start: ` reset ${one.reset}` }];
  const answered: Heard = {
    start: `${one.interim ? ' 103' : ''} ${one.status}`,
    headers: one.answerHeaders,
    body: hasBody(one) ? sum(bodyOf(one.answerSizes, index)) : '0 0',
    trailers: hasBody(one) ? one.answerTrailers : [],
  };
  return [asked, answered];
}

test(
  'each side hears what the other said',
  async () => {
    const pairs = await Promise.all([
      pair({}),
      pair({ initialWindowSize: 1, headerTableSize: 0 }),
      pair({ initialWindowSize: 100_000, maxFrameSize: 65_536, headerTableSize: 300 }),
    ]);
    await fuzzAsync(
      'HTTP/2 client against nghttp2',
      fc.asyncProperty(fc.nat(2), fc.array(call, { minLength: 1, maxLength: 6 }), async (which, calls) => {
        const [heard, served] = await (pairs[which] as (typeof pairs)[number])(calls);
        const both = calls.map(expected);
        expect(served).toEqual(both.map(([asked]) => asked));
        expect(heard).toEqual(both.map(([, answered]) => answered));
      }),
    );
  },
  fuzzTimeoutMs(),
);
