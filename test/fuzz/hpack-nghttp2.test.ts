// HPACK against nghttp2's, through node:http2: what either writes the other reads, block after block on one
// connection, with dynamic tables of several sizes.

import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { FLAG, FRAME, FrameReader, frame, settingsAckFrame, settingsFrame } from '../../sidecar/wire/http2/frames.ts';
import { HpackDecoder } from '../../sidecar/wire/http2/hpack-decoder.ts';
import { HpackEncoder } from '../../sidecar/wire/http2/hpack-encoder.ts';
import { Apps } from '../support/apps.ts';
import { fuzzAsync, fuzzTimeoutMs } from '../support/fuzz.ts';

const apps = new Apps();
afterAll(() => apps.close());

const visible = fc.string({
  unit: fc.integer({ min: 0x21, max: 0x7e }).map((c) => String.fromCharCode(c)),
  maxLength: 80,
});
const name = fc.oneof(
  fc.constantFrom('accept', 'cookie-a', 'authorization', 'x-a', 'x-b', 'x-request-id', 'user-agent'),
  fc.stringMatching(/^x-[a-z0-9]{1,12}$/),
);
// Distinct names: Node joins what is repeated.
const fields = fc.uniqueArray(fc.tuple(name, visible), { selector: ([n]) => n, maxLength: 16 });
const SIZES = [0, 64, 300, 4096];

test(
  'nghttp2 reads what our encoder writes',
  async () => {
    const send: ((list: string[]) => Promise<string[]>)[] = [];
    for (const headerTableSize of SIZES) {
      const server = http2.createServer({ settings: { headerTableSize } });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
      apps.onClose(() => {
        socket.destroy();
        server.close();
      });
      socket.resume().write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0, 0)]));
      await once(socket, 'data');
      socket.write(settingsAckFrame());
      const encoder = new HpackEncoder();
      encoder.setTableSize(headerTableSize);
      let id = -1;
      send.push(async (list) => {
        const arrived = once(server, 'stream');
        encoder.start();
        encoder.fields(list);
        const block = encoder.finish();
        id += 2;
        socket.write(
          Buffer.concat([frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, id, block.length, 0), block]),
        );
        const [stream, , , raw] = await arrived;
        stream.respond({}, { endStream: true });
        return raw;
      });
    }
    await fuzzAsync(
      'our HPACK encoder against nghttp2',
      fc.asyncProperty(fields, fc.nat(SIZES.length - 1), async (extra, which) => {
        const list = [':method', 'GET', ':scheme', 'http', ':authority', 'a', ':path', '/'].concat(extra.flat());
        expect(await send[which]?.(list)).toEqual(list);
      }),
    );
  },
  fuzzTimeoutMs(),
);

test(
  'our decoder reads what nghttp2 writes',
  async () => {
    const read: ((headers: http2.OutgoingHttpHeaders) => Promise<string[] | null>)[] = [];
    for (const size of SIZES) {
      let next = Promise.withResolvers<string[] | null>();
      const port = await apps.tcp((socket) => {
        const decoder = new HpackDecoder();
        socket.write(Buffer.concat([settingsFrame([1, size]), settingsAckFrame()]));
        let skip = 24;
        const reader = new FrameReader(
          (type, _flags, id, bytes, from, to) => {
            if (type !== FRAME.HEADERS) return true;
            next.resolve(decoder.decode(bytes, from, to));
            socket.write(Buffer.concat([frame(FRAME.HEADERS, 5, id, 1, 0), Buffer.from([0x88])]));
            return true;
          },
          () => {},
        );
        socket.on('data', (chunk: Buffer) => {
          reader.push(chunk.subarray(Math.min(skip, chunk.length)));
          skip = Math.max(0, skip - chunk.length);
        });
      });
      const client = http2.connect(`http://127.0.0.1:${port}`);
      client.on('error', () => {});
      apps.onClose(() => client.destroy());
      await once(client, 'remoteSettings');
      read.push(async (headers) => {
        next = Promise.withResolvers();
        const request = client.request(headers, { endStream: true });
        const list = await next.promise;
        await once(request.resume(), 'close');
        return list;
      });
    }
    await fuzzAsync(
      'our HPACK decoder against nghttp2',
      fc.asyncProperty(fields, fc.nat(SIZES.length - 1), async (extra, which) => {
        const headers = { ':method': 'GET', ':scheme': 'http', ':authority': 'a', ':path': '/' };
        const list = await read[which]?.({ ...headers, ...Object.fromEntries(extra) });
        const expected = Object.entries({ ...headers, ...Object.fromEntries(extra) }).flat();
        expect(list?.toSorted()).toEqual(expected.toSorted());
      }),
    );
  },
  fuzzTimeoutMs(),
);
