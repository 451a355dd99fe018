// Every parser of a stream that is not HTTP, given the same bytes whole and cut anywhere: it says the same. Those of HTTP
// are cut in http1.test.ts and h2.test.ts; WebSocket is not parsed here but relayed.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileMethods } from '../../proto/kit/transcoded-methods.ts';
import { ChatTap } from '../../sidecar/ai/chat-tap.ts';
import { SseReader } from '../../sidecar/ai/sse.ts';
import { TimerWheel } from '../../sidecar/base/timer-wheel.ts';
import { detect } from '../../sidecar/listen/detect.ts';
import { readProxyHeader } from '../../sidecar/listen/proxy-header.ts';
import { sniff } from '../../sidecar/listen/sniff.ts';
import { TranscoderStream } from '../../sidecar/transcode/transcoder-stream.ts';
import { HelloReader } from '../../sidecar/wire/client-hello.ts';
import { proxyHeader } from '../../sidecar/wire/proxy-protocol.ts';
import { SILENT, WireSocket } from '../../sidecar/wire/socket.ts';
import { Head } from '../../sidecar/wire/stream.ts';
import { clientHello, extension, records, serverName } from '../support/client-hello.ts';
import { buildDescriptors } from '../support/descriptors.ts';
import { cut, cuts, fuzz, fuzzTimeoutMs } from '../support/fuzz.ts';
import { MemorySocket } from '../support/memory-socket.ts';
import { MemoryStream, Recorder } from '../support/memory-stream.ts';

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
/** Anything, and the same with a byte of it replaced. */
const spoilt = (good: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> =>
  fc.oneof(
    good,
    fc.tuple(good, fc.nat(200), fc.integer({ min: 0, max: 255 })).map(([bytes, at, byte]) => {
      const copy = Buffer.from(bytes);
      if (copy.length > 0) copy[at % copy.length] = byte;
      return copy;
    }),
  );

const line = fc.constantFrom(
  'data: a',
  'data:b',
  'data',
  'event: x',
  ': note',
  'id: 1',
  'data: \xc3\xa4',
  'data: [DONE]',
);
const json = fc.constantFrom(
  'data: {"choices":[{"delta":{"content":"x"}}]}',
  'data: {"choices":[{}],"usage":null}',
  'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}',
  'data: {"error":{"message":"no"}}',
  'data: [DONE]',
);
const ending = fc.constantFrom('\n', '\r\n', '\r');
const events = (one: fc.Arbitrary<string>): fc.Arbitrary<Buffer> =>
  fc
    .tuple(
      fc.constantFrom('', '\xef\xbb\xbf'),
      fc.array(fc.tuple(one, ending, fc.option(ending, { nil: '' })), { maxLength: 8 }),
    )
    .map(([mark, lines]) => latin1(mark + lines.flat().join('')));

const addresses = { source: '10.0.0.1', sourcePort: 1, destination: '10.0.0.2', destinationPort: 65_535 };
const six = { source: '::1', sourcePort: 0, destination: '2001:db8::2', destinationPort: 80 };
const header = fc
  .tuple(
    fc.constantFrom<1 | 2>(1, 2),
    fc.constantFrom(addresses, six, null),
    fc.constantFrom('', 'spiffe://a/ns/b/sa/c'),
  )
  .map(([version, known, spiffeId]) =>
    Buffer.concat([proxyHeader(version, { addresses: known, spiffeId }), latin1('GET /')]),
  );
const hello = fc
  .tuple(
    fc.array(
      fc.constantFrom(
        serverName('shop.example'),
        serverName('1.2.3.4'),
        extension(43, Buffer.of(2, 3, 4)),
        extension(0, Buffer.of(0)),
      ),
      { maxLength: 3 },
    ),
    fc.integer({ min: 1, max: 300 }),
    fc.constantFrom('', 'more', '\x16\x03\x01\x00\x01\x01'),
  )
  .map(([extensions, size, rest]) => Buffer.concat([records(clientHello({ extensions }), size), latin1(rest)]));
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const opening = fc
  .tuple(
    fc.constantFrom(
      '',
      '\r\n',
      '\n\r',
      'PRI * HTT',
      PREFACE.slice(0, -1),
      PREFACE,
      'GET / HTTP/1.1\r\nHost: a',
      'get',
      'SSH-2.0-x',
      '\x16\x03\x01',
      'a\xffb c HTTP/1.1',
      'x'.repeat(1020),
      `GET /${'x'.repeat(1030)}`,
    ),
    fc.constantFrom('', '\r\n', '\n', 'x', '\0', ' HTTP/1.1\r\n\r\n'),
  )
  .map((parts) => latin1(parts.join('')));

const descriptors = buildDescriptors(`syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
service Orders { rpc Get(Order) returns (Order) { option (google.api.http) = { get: "/v1/{name}" }; } }
message Order { string name = 1; int64 id = 2; }
`);
const compiled = compileMethods(descriptors);
if ('errors' in compiled) throw new Error(compiled.errors.join('\n'));
const index = compiled;
const message = fc.constantFrom(
  '\0\0\0\0\x03\x0a\x01a',
  '\0\0\0\0\0',
  '\0\0\0\0\x02\x10\x05',
  '\x01\0\0\0\0',
  '\0\0\0\0\x05\x0a\x01a',
);
const messages = fc.array(message, { minLength: 1, maxLength: 2 }).map((list) => latin1(list.join('')));

/** What was found out about a connection, and what the next in line then hears; nobody where it was refused. */
function heard(
  pieces: Uint8Array[],
  install: (
    context: Parameters<typeof sniff>[0],
    wire: WireSocket,
    found: (what: string) => void,
    refused: (why: string) => void,
  ) => void,
): string[] {
  const said: string[] = [];
  const socket = new MemorySocket();
  const wire = new WireSocket(socket.asSocket);
  const wheel = new TimerWheel({ nowMs: () => 0 }, { set() {} });
  const rest: Uint8Array[] = [];
  const found = (what: string): void => {
    said.push(what);
    wire.events = { ...SILENT, onBytes: (chunk) => void rest.push(chunk) };
  };
  install({ wheel, guard() {} }, wire, found, (why) => void said.push(why));
  for (const piece of pieces) wire.events.onBytes(piece);
  wire.events.onEnd();
  socket.destroy();
  return [...said, Buffer.concat(rest).toString('latin1')];
}

const PARSERS: [string, fc.Arbitrary<Buffer>, (pieces: Uint8Array[]) => unknown][] = [
  [
    'server-sent events',
    spoilt(events(line)),
    (pieces) => {
      const reader = new SseReader(40);
      const said: string[][] = [];
      for (const { event, data, raw, late } of pieces.flatMap((piece) => reader.push(piece))) {
        const text = Buffer.from(raw).toString('latin1');
        if (late) (said.at(-1) as string[])[2] += text;
        else said.push([event, String(data), text]);
      }
      return [said, reader.isTooLarge || Buffer.from(reader.rest()).toString('latin1')];
    },
  ],
  [
    'chat completions',
    spoilt(events(json)),
    (pieces) => {
      const tap = new ChatTap(true, false);
      const out = pieces.flatMap((piece) => tap.push(piece)).concat(tap.end());
      return [Buffer.concat(out).toString('latin1'), tap.usage, tap.complete, tap.choiceEvents];
    },
  ],
  [
    'gRPC messages',
    spoilt(messages),
    (pieces) => {
      const client = new MemoryStream();
      const stream = new TranscoderStream(client, index, 100);
      stream.events = new Recorder();
      stream.onHead(Head.request('GET', 'http', 'shop', '/v1/a', []), true);
      stream.writeHead(Head.response(200, ['content-type', 'application/grpc']), false);
      for (const piece of pieces) stream.writeData(piece, false);
      stream.writeEnd(['grpc-status', '0']);
      return [client.sent.head?.status, client.sent.text];
    },
  ],
  [
    'PROXY protocol headers',
    spoilt(header),
    (pieces) =>
      heard(pieces, (context, wire, found, refused) =>
        readProxyHeader(
          context,
          wire,
          (known) => found(JSON.stringify(known)),
          refused,
          () => {},
        ),
      ),
  ],
  [
    'ClientHellos',
    spoilt(hello),
    (pieces) => {
      const reader = new HelloReader();
      for (const piece of pieces) {
        const found = reader.push(piece);
        if (found !== null) return found;
      }
      return null;
    },
  ],
  [
    'first bytes of HTTP',
    spoilt(opening),
    (pieces) => heard(pieces, (context, wire, found) => sniff(context, wire, 'inbound', found)),
  ],
  [
    'first bytes of any protocol',
    spoilt(opening),
    (pieces) => heard(pieces, (context, wire, found) => detect(context, wire, found, () => {})),
  ],
];

test.each(PARSERS)('%s read the same however they are cut', { timeout: fuzzTimeoutMs() }, (name, made, read) => {
  const seen = new Set<string>();
  const property = fc.property(made, cuts, (bytes, by) => {
    const whole = read([bytes]);
    expect(read(cut(bytes, by)), JSON.stringify(bytes.toString('latin1'))).toEqual(whole);
    if (seen.size < 3) seen.add(JSON.stringify(whole));
  });
  fuzz(`${name} in pieces`, property);
  // It says different things of different bytes.
  expect(seen.size).toBe(3);
});
