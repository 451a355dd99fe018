// HPACK against the examples of RFC 7541 Appendix C, and its two halves against each other.

import { describe, expect, test } from 'vitest';
import { HpackDecoder } from '../../../sidecar/wire/http2/hpack-decoder.ts';
import { HpackEncoder } from '../../../sidecar/wire/http2/hpack-encoder.ts';
import { decodeHuffman, encodeHuffman, huffmanLength } from '../../../sidecar/wire/http2/huffman.ts';
import { HEADER_FIELDS_MAX } from '../../../sidecar/wire/http2/limits.ts';

const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');
const FIRST = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'www.example.com'];
const THIRD = [':method', 'GET', ':scheme', 'https', ':path', '/index.html', ':authority', 'www.example.com'];

describe('RFC 7541 Appendix C', () => {
  test.each([
    ['C.2.1', '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572', ['custom-key', 'custom-header']],
    ['C.2.2', '040c 2f73 616d 706c 652f 7061 7468', [':path', '/sample/path']],
    ['C.2.3', '1008 7061 7373 776f 7264 0673 6563 7265 74', ['password', 'secret']],
    ['C.2.4', '82', [':method', 'GET']],
  ])('%s', (_, bytes, list) => expect(new HpackDecoder().decode(hex(bytes))).toEqual(list));

  test.each([
    [
      'C.3, plain',
      [
        '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
        '8286 84be 5808 6e6f 2d63 6163 6865',
        '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
      ],
    ],
    [
      'C.4, Huffman',
      [
        '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
        '8286 84be 5886 a8eb 1064 9cbf',
        '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
      ],
    ],
  ])('%s: three requests on one connection', (_, blocks) => {
    const decoder = new HpackDecoder();
    const lists = blocks.map((block) => decoder.decode(hex(block)));
    expect(lists).toEqual([FIRST, [...FIRST, 'cache-control', 'no-cache'], [...THIRD, 'custom-key', 'custom-value']]);
  });
});

describe('limits and errors', () => {
  test.each([
    ['index 0', '80'],
    ['index beyond the table', 'be'],
    ['a size update after a field', '8220'],
    ['a size update above 4096', '3fe2 1f'],
    ['an integer without end', 'ffff ffff ffff ff'],
    ['a string beyond the block', '400a 63'],
    ['EOS inside a string', '4084 ffff fffc 00'],
    ['padding of eight bits', '4081 ff00'],
  ])('%s is a compression error', (_, bytes) => expect(new HpackDecoder().decode(hex(bytes))).toBeNull());

  test('CVE class 3: a block of small indexes that decodes too large keeps nothing beyond the limit and the table in step', () => {
    const decoder = new HpackDecoder();
    const big = Buffer.concat([hex('4001 61 7fa1 1e'), Buffer.alloc(4000, 'x'), Buffer.alloc(40, 0xbe)]);
    expect(decoder.decode(big)).not.toBeNull();
    expect(decoder.tooLarge).toBe(true);
    expect(decoder.decode(hex('be'))).toEqual(['a', 'x'.repeat(4000)]);
    expect(decoder.tooLarge).toBe(false);
  });

  test('CVE class 3: one field above the count limit is too large', () => {
    const decoder = new HpackDecoder();
    decoder.decode(new Uint8Array(HEADER_FIELDS_MAX).fill(0x82));
    expect(decoder.tooLarge).toBe(false);
    decoder.decode(new Uint8Array(HEADER_FIELDS_MAX + 1).fill(0x82));
    expect(decoder.tooLarge).toBe(true);
  });
});

describe('the encoder', () => {
  test('every byte survives Huffman both ways', () => {
    const all = String.fromCharCode(...Array(256).keys());
    const out = new Uint8Array(huffmanLength(all));
    expect(encodeHuffman(all, out, 0)).toBe(out.length);
    expect(decodeHuffman(out, 0, out.length)).toBe(all);
  });

  test('a repeated list shrinks to indexes; secrets never do', () => {
    const encoder = new HpackEncoder();
    const decoder = new HpackDecoder();
    const list = ['x-a', 'one', 'user-agent', 'test', 'authorization', 'Bearer abc'];
    const encode = (): Uint8Array => {
      encoder.start();
      encoder.fields(list);
      return encoder.finish();
    };
    const blocks = [encode(), encode()];
    expect(blocks.map((block) => decoder.decode(block))).toEqual([list, list]);
    expect([...(blocks[1] as Uint8Array).subarray(0, 3)]).toEqual([0xbf, 0xbe, 0x1f]);
  });

  test('a shrunk and regrown table is announced and stays in step', () => {
    const encoder = new HpackEncoder();
    const decoder = new HpackDecoder();
    for (const size of [-1, 0, 4096, 100, -1]) {
      if (size >= 0) encoder.setTableSize(size);
      encoder.start();
      encoder.fields(['x-a', 'one', 'x-b', 'two', 'x-a', 'one']);
      expect(decoder.decode(encoder.finish())).toEqual(['x-a', 'one', 'x-b', 'two', 'x-a', 'one']);
    }
  });
});
