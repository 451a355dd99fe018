// HTTP/2 frames as clients send them, right and wrong, for the fuzzers of the codec.

import fc from 'fast-check';
import { frame } from '../../sidecar/wire/http2/frames.ts';
import { HpackEncoder } from '../../sidecar/wire/http2/hpack-encoder.ts';

/** A frame of HTTP/2. */
export function framed(type: number, flags: number, id: number, payload: Uint8Array): Buffer {
  return Buffer.concat([frame(type, flags, id, payload.length, 0), payload]);
}

/** A block that changes no table, so that each stands alone. */
export function block(fields: string[]): Buffer {
  const encoder = new HpackEncoder();
  encoder.setTableSize(0);
  encoder.start();
  encoder.fields(fields);
  return Buffer.from(encoder.finish());
}

export const REQUEST = [':method', 'POST', ':scheme', 'http', ':authority', 'a', ':path', '/'];
const id = fc.constantFrom(1, 3, 5, 7);
const blocks = fc.constantFrom(
  ...[
    REQUEST,
    REQUEST.concat('x-a', '1'),
    REQUEST.concat('te', 'trailers'),
    REQUEST.concat('content-length', '3'),
    REQUEST.concat('connection', 'close'),
    REQUEST.concat('X-Upper', '1'),
    REQUEST.slice(2),
    REQUEST.concat(':path', '/twice'),
    ['x-trailer', '1'],
  ].map(block),
);
/** Frames of a client, of which some are wrong. */
export const clientFrame = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(id, blocks, fc.constantFrom(4, 5)).map(([to, b, flags]) => framed(1, flags, to, b)),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(id, fc.uint8Array({ maxLength: 6 }), fc.constantFrom(0, 1))
      .map(([to, body, flags]) => framed(0, flags, to, body)),
  },
  fc
    .tuple(id, blocks)
    .map(([to, b]) => Buffer.concat([framed(1, 1, to, b.subarray(0, 4)), framed(9, 4, to, b.subarray(4))])),
  fc.tuple(id, fc.constantFrom(0, 2, 8)).map(([to, code]) => framed(3, 0, to, Buffer.from([0, 0, 0, code]))),
  fc
    .tuple(fc.constantFrom(0, 1, 3), fc.constantFrom(0, 1, 1000))
    .map(([to, n]) => framed(8, 0, to, Buffer.from([0, 0, n >> 8, n & 255]))),
  fc
    .constantFrom('000400001000', '000500004000', '000100000000', '000200000002', '000500000001', '0099000000ff', '00')
    .map((hex) => framed(4, 0, 0, Buffer.from(hex, 'hex'))),
  fc.constantFrom(8, 7).map((length) => framed(6, 0, 0, Buffer.alloc(length))),
  fc.tuple(id, fc.constantFrom(5, 4)).map(([to, length]) => framed(2, 0, to, Buffer.alloc(length, 9))),
  fc.tuple(id, fc.uint8Array({ maxLength: 9 })).map(([to, body]) => framed(0xbb, 0xff, to, body)),
);
/** Where one byte of the header of a frame is replaced: [which frame, which byte, by what]. */
export const mutation = fc.option(
  fc.tuple(fc.nat(7), fc.integer({ min: 3, max: 8 }), fc.constantFrom(0, 1, 2, 3, 4, 8, 9, 32)),
);

const RESPONSE = [':status', '200', 'x-a', '1'];
const responseBlocks = fc.constantFrom(
  ...[
    RESPONSE,
    RESPONSE.concat('content-length', '3'),
    [':status', '103', 'link', '</a>'],
    [':status', '204'],
    RESPONSE.concat('connection', 'close'),
    RESPONSE.slice(2),
    [':status', '20'],
    ['x-trailer', '1'],
  ].map(block),
);

/** Frames of a server, of which some are wrong. */
export const serverFrame = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(id, responseBlocks, fc.constantFrom(4, 5)).map(([to, b, flags]) => framed(1, flags, to, b)),
  },
  { weight: 6, arbitrary: clientFrame },
  fc
    .tuple(id, fc.constantFrom(0, 8))
    .map(([last, code]) => framed(7, 0, 0, Buffer.from([0, 0, 0, last, 0, 0, 0, code]))),
);
