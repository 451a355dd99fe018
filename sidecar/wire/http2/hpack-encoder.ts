// HPACK encoding (RFC 7541) made cheap: per name only the last value and its table entry are remembered, and
// coded literals are shared by the thread. A value enters the table when its name is new or the value repeats,
// so that changing ones (paths, ids, dates) do not push the steady ones out.

import type { HeaderList } from '../headers.ts';
import { HEADER_BYTES } from './frames.ts';
import { STATIC_LENGTH, STATIC_TABLE } from './hpack-tables.ts';
import { encodeHuffman, huffmanLength } from './huffman.ts';
import { CODED_LITERAL_CHARS_MAX, CODED_LITERALS_MAX, ENCODER_NAMES_MAX, HPACK_TABLE_BYTES } from './limits.ts';

/** Below this a cookie can be guessed through compression, so it is never indexed (RFC 7541 §7.1.3). */
const COOKIE_SHORT_CHARS = 20;

const staticNames = new Map<string, number>();
/** Of names that have one, the static index of each value. */
const staticPairs = new Map<string, Map<string, number>>();
for (let i = STATIC_LENGTH; i >= 1; i--) {
  const name = STATIC_TABLE[i * 2 - 2] as string;
  const value = STATIC_TABLE[i * 2 - 1] as string;
  staticNames.set(name, i);
  if (value !== '') staticPairs.set(name, (staticPairs.get(name) ?? new Map<string, number>()).set(value, i));
}

/** Changes in a row after which a value counts as new in each message (trace contexts, ids): it is neither coded nor remembered, since both would be for once. */
const CHANGES_MAX = 16;

const coded = new Map<string, Uint8Array>();
let out = Buffer.allocUnsafeSlow(16 * 1024);

/** What is remembered of one name. */
class NameState {
  value = '';
  /** Running number of the table entry holding `value`; 0: none. */
  entry = 0;
  /** Static index of name and value together; 0: none. */
  pair = 0;
  seen = false;
  /** How often the value changed since it last repeated, up to CHANGES_MAX. */
  changes = 0;
  readonly index: number;
  readonly pairs: Map<string, number> | null;

  constructor(name: string) {
    this.index = staticNames.get(name) ?? 0;
    this.pairs = staticPairs.get(name) ?? null;
  }
}

/** The sending half of one connection's compression. */
export class HpackEncoder {
  private readonly names = new Map<string, NameState>();
  private readonly sizes: number[] = [];
  private inserted = 0;
  private evicted = 0;
  private bytes = 0;
  private bytesMax = HPACK_TABLE_BYTES;
  private announce = -1;
  private at = HEADER_BYTES;

  /** The peer's SETTINGS_HEADER_TABLE_SIZE in bytes; we use at most 4096 of it. */
  setTableSize(bytes: number): void {
    const size = Math.min(bytes, HPACK_TABLE_BYTES);
    if (size === this.bytesMax) return;
    // Evicting before announcing keeps both tables equal even if the size shrinks and grows between two blocks.
    this.announce = this.announce < 0 ? size : Math.min(this.announce, size);
    this.bytesMax = size;
    this.evict(0);
  }

  /** Starts a block. Fields follow by `field` and `fields`; `finish` returns it. */
  start(): void {
    this.at = HEADER_BYTES;
    if (this.announce < 0) return;
    this.integer(0x20, 5, this.announce);
    if (this.announce !== this.bytesMax) this.integer(0x20, 5, this.bytesMax);
    this.announce = -1;
  }

  /** Adds every field of a list. */
  fields(list: HeaderList): void {
    for (let i = 0; i < list.length; i += 2) this.field(list[i] as string, list[i + 1] as string);
  }

  /** Adds one field; `name` is lower-case, both are latin1. */
  field(name: string, value: string): void {
    const state = this.stateOf(name);
    if (isSecret(name, value)) {
      this.literal(0x10, 4, state === null ? 0 : state.index, name, value, true);
      return;
    }
    if (state === null) {
      this.literal(0, 4, 0, name, value, false);
      return;
    }
    if (state.value === value && state.seen) {
      state.changes = 0;
      if (state.pair !== 0) return this.integer(0x80, 7, state.pair);
      if (state.entry > this.evicted) return this.integer(0x80, 7, STATIC_LENGTH + 1 + this.inserted - state.entry);
      this.insert(state, name, value);
      return;
    }
    const isNew = !state.seen;
    state.seen = true;
    state.value = value;
    state.entry = 0;
    state.pair = state.pairs === null ? 0 : (state.pairs.get(value) ?? 0);
    if (state.pair !== 0) this.integer(0x80, 7, state.pair);
    else if (isNew) this.insert(state, name, value);
    else if (state.changes < CHANGES_MAX) {
      state.changes++;
      this.literal(0, 4, state.index, name, value, false);
    } else this.plainLiteral(state.index, name, value);
  }

  /** Bytes of the block so far. */
  get length(): number {
    return this.at - HEADER_BYTES;
  }

  /** The block behind room for a frame's header, in memory that the next block of any encoder of the thread reuses. */
  get framed(): Buffer {
    return out;
  }

  /** The finished block, in memory of its own. */
  finish(): Uint8Array {
    const block = Buffer.allocUnsafe(this.length);
    out.copy(block, 0, HEADER_BYTES, this.at);
    return block;
  }

  private stateOf(name: string): NameState | null {
    const known = this.names.get(name);
    if (known !== undefined) return known;
    if (this.names.size >= ENCODER_NAMES_MAX) return null;
    const state = new NameState(name);
    this.names.set(name, state);
    return state;
  }

  private insert(state: NameState, name: string, value: string): void {
    const size = name.length + value.length + 32;
    if (size > this.bytesMax) return this.literal(0, 4, state.index, name, value, false);
    this.literal(0x40, 6, state.index, name, value, false);
    this.evict(size);
    this.sizes.push(size);
    this.bytes += size;
    state.entry = ++this.inserted;
  }

  private evict(incoming: number): void {
    while (this.sizes.length > 0 && this.bytes + incoming > this.bytesMax) {
      this.bytes -= this.sizes.shift() as number;
      this.evicted++;
    }
  }

  private literal(
    flags: number,
    prefixBits: number,
    index: number,
    name: string,
    value: string,
    secret: boolean,
  ): void {
    this.integer(flags, prefixBits, index);
    if (index === 0) this.text(name, false);
    this.text(value, secret);
  }

  /** A literal that is not indexed, its value as it is. */
  private plainLiteral(index: number, name: string, value: string): void {
    this.integer(0, 4, index);
    if (index === 0) this.text(name, false);
    this.reserve(value.length + 8);
    this.integer(0, 7, value.length);
    const { length } = value;
    const bytes = out;
    for (let i = 0; i < length; i++) bytes[this.at++] = value.charCodeAt(i);
  }

  private integer(flags: number, prefixBits: number, value: number): void {
    this.reserve(8);
    const mask = (1 << prefixBits) - 1;
    if (value < mask) {
      out[this.at++] = flags | value;
      return;
    }
    out[this.at++] = flags | mask;
    let rest = value - mask;
    while (rest >= 0x80) {
      out[this.at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    out[this.at++] = rest;
  }

  private text(text: string, secret: boolean): void {
    this.reserve(text.length + 8);
    if (secret || text.length > CODED_LITERAL_CHARS_MAX) {
      this.codeText(text);
      return;
    }
    const known = coded.get(text);
    if (known !== undefined) {
      out.set(known, this.at);
      this.at += known.length;
      return;
    }
    const from = this.at;
    this.codeText(text);
    if (coded.size >= CODED_LITERALS_MAX) coded.clear();
    coded.set(text, Uint8Array.prototype.slice.call(out, from, this.at));
  }

  private codeText(text: string): void {
    const length = huffmanLength(text);
    if (length < text.length) {
      this.integer(0x80, 7, length);
      this.at = encodeHuffman(text, out, this.at);
      return;
    }
    this.integer(0, 7, text.length);
    this.at += out.write(text, this.at, 'latin1');
  }

  private reserve(bytes: number): void {
    if (this.at + bytes <= out.length) return;
    // Slow path: a block beyond the buffer, so beyond what most peers accept.
    const larger = Buffer.allocUnsafeSlow((this.at + bytes) * 2);
    out.copy(larger, 0, 0, this.at);
    out = larger;
  }
}

function isSecret(name: string, value: string): boolean {
  if (name === 'authorization' || name === 'proxy-authorization') return true;
  return name === 'cookie' && value.length < COOKIE_SHORT_CHARS;
}
