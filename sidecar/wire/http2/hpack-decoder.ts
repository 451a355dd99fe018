// HPACK decoding (RFC 7541): straight into the flat list. Limits count decoded bytes; past them the block is still
// read to its end, storing nothing, because the dynamic table must stay in step with the peer's.

import { asBuffer } from '../bytes.ts';
import type { HeaderList } from '../headers.ts';
import { STATIC_LENGTH, STATIC_TABLE } from './hpack-tables.ts';
import { decodeHuffman } from './huffman.ts';
import { HEADER_FIELDS_MAX, HEADER_LIST_BYTES_MAX, HPACK_TABLE_BYTES } from './limits.ts';

const NO_BYTES = Buffer.alloc(0);
const SLOTS = HPACK_TABLE_BYTES / 32;

/** The receiving half of one connection's compression. */
export class HpackDecoder {
  /** Whether the last block decoded to more than the limits allow; its list is then cut short. */
  tooLarge = false;
  private readonly names: string[] = new Array(SLOTS).fill('');
  private readonly values: string[] = new Array(SLOTS).fill('');
  private newest = 0;
  private count = 0;
  private bytes = 0;
  private bytesMax = HPACK_TABLE_BYTES;
  private block: Buffer = NO_BYTES;
  private at = 0;
  private end = 0;
  private failed = false;

  /** Decodes one whole block, `bytes[from, to)`, pseudo-headers included; null: COMPRESSION_ERROR, the connection must end (RFC 9113 §4.3). */
  decode(bytes: Uint8Array, from = 0, to = bytes.length): HeaderList | null {
    const block = asBuffer(bytes);
    this.block = block;
    this.at = from;
    this.end = to;
    this.failed = false;
    this.tooLarge = false;
    const list: HeaderList = [];
    let size = 0;
    let fields = 0;
    while (this.at < to) {
      const first = block[this.at] as number;
      if ((first & 0xe0) === 0x20) {
        // A size update stands only at the start of a block (RFC 7541 §4.2).
        const tableSize = this.integer(5);
        if (this.failed || fields > 0 || tableSize > HPACK_TABLE_BYTES) return null;
        this.bytesMax = tableSize;
        this.evict(0);
        continue;
      }
      let name: string;
      let value: string;
      if (first >= 0x80) {
        const index = this.integer(7);
        name = this.nameAt(index);
        value = this.valueAt(index);
      } else {
        const indexing = first >= 0x40;
        const index = this.integer(indexing ? 6 : 4);
        name = index === 0 ? this.text() : this.nameAt(index);
        value = this.text();
        if (indexing && !this.failed) this.add(name, value);
      }
      if (this.failed) return null;
      fields++;
      size += name.length + value.length + 32;
      if (size > HEADER_LIST_BYTES_MAX || fields > HEADER_FIELDS_MAX) this.tooLarge = true;
      else list.push(name, value);
    }
    return list;
  }

  private nameAt(index: number): string {
    if (index >= 1 && index <= STATIC_LENGTH) return STATIC_TABLE[index * 2 - 2] as string;
    return this.names[this.slot(index)] as string;
  }

  private valueAt(index: number): string {
    if (index >= 1 && index <= STATIC_LENGTH) return STATIC_TABLE[index * 2 - 1] as string;
    return this.values[this.slot(index)] as string;
  }

  private slot(index: number): number {
    const age = index - STATIC_LENGTH - 1;
    if (age < 0 || age >= this.count) {
      this.failed = true;
      return 0;
    }
    return (this.newest - age + SLOTS) % SLOTS;
  }

  private add(name: string, value: string): void {
    const size = name.length + value.length + 32;
    this.evict(size);
    if (size > this.bytesMax) return;
    this.newest = (this.newest + 1) % SLOTS;
    this.names[this.newest] = name;
    this.values[this.newest] = value;
    this.count++;
    this.bytes += size;
  }

  private evict(incoming: number): void {
    while (this.count > 0 && this.bytes + incoming > this.bytesMax) {
      const oldest = (this.newest - this.count + 1 + SLOTS) % SLOTS;
      this.bytes -= (this.names[oldest] as string).length + (this.values[oldest] as string).length + 32;
      this.names[oldest] = '';
      this.values[oldest] = '';
      this.count--;
    }
  }

  /** RFC 7541 §5.1; four continuation bytes are more than any valid use needs. */
  private integer(prefixBits: number): number {
    const mask = (1 << prefixBits) - 1;
    let value = (this.block[this.at++] as number) & mask;
    if (value < mask) return value;
    for (let shift = 0; shift < 28 && this.at < this.end; shift += 7) {
      const byte = this.block[this.at++] as number;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    this.failed = true;
    return 0;
  }

  private text(): string {
    if (this.at >= this.end) {
      this.failed = true;
      return '';
    }
    const first = this.block[this.at] as number;
    const length = this.integer(7);
    const from = this.at;
    const to = from + length;
    if (this.failed || to > this.end) {
      this.failed = true;
      return '';
    }
    this.at = to;
    if (first < 0x80) return this.block.toString('latin1', from, to);
    const text = decodeHuffman(this.block, from, to);
    if (text === null) this.failed = true;
    return text ?? '';
  }
}
