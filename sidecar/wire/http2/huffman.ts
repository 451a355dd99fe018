// HPACK's Huffman code both ways (RFC 7541 §5.2): a nibble-driven state machine for decoding, since the shortest
// code has five bits and so a nibble ends at most one symbol.

import { HUFFMAN_BITS } from './hpack-tables.ts';

const EOS = 256;
const EMITS = 1 << 17;
const FAILS = 1 << 18;
const codes = new Uint32Array(257);
/** state * 16 + nibble → next state | symbol << 8 | flags. */
const steps = new Uint32Array(257 * 16);
/** States in which a string may end: fewer than eight 1 bits since the last symbol. */
const accepts = new Uint8Array(257);

function buildCodes(): void {
  const order = Array.from(HUFFMAN_BITS.keys()).sort((a, b) => bitsOf(a) - bitsOf(b) || a - b);
  let code = 0;
  let bits = 0;
  for (const symbol of order) {
    code *= 2 ** (bitsOf(symbol) - bits);
    bits = bitsOf(symbol);
    codes[symbol] = code++;
  }
}

function bitsOf(symbol: number): number {
  return HUFFMAN_BITS[symbol] as number;
}

function buildSteps(): void {
  // children[2n], children[2n+1]: inner node > 0, leaf -(symbol + 1), 0 none.
  const children = new Int32Array(1024);
  let nodes = 1;
  for (let symbol = 0; symbol <= EOS; symbol++) {
    let node = 0;
    for (let bit = bitsOf(symbol) - 1; bit >= 0; bit--) {
      const slot = node * 2 + (((codes[symbol] as number) >>> bit) & 1);
      if (bit === 0) children[slot] = -(symbol + 1);
      else {
        if (children[slot] === 0) children[slot] = nodes++;
        node = children[slot] as number;
      }
    }
  }
  for (let node = 0; node < nodes; node++) {
    for (let nibble = 0; nibble < 16; nibble++) steps[node * 16 + nibble] = stepOf(children, node, nibble);
  }
  for (let node = 0, ones = 0; ones < 8; ones++) {
    accepts[node] = 1;
    node = children[node * 2 + 1] as number;
  }
}

function stepOf(children: Int32Array, from: number, nibble: number): number {
  let node = from;
  let emitted = 0;
  for (let bit = 3; bit >= 0; bit--) {
    const next = children[node * 2 + ((nibble >>> bit) & 1)] as number;
    if (next >= 0) node = next;
    else {
      if (next === -(EOS + 1)) return FAILS;
      emitted = EMITS | ((-next - 1) << 8);
      node = 0;
    }
  }
  return node | emitted;
}

buildCodes();
buildSteps();

let scratch = Buffer.allocUnsafeSlow(4096);

/** Decodes `bytes[from, to)` to a latin1 string; null when it is not valid: EOS inside, or padding over 7 bits or not all ones. */
export function decodeHuffman(bytes: Uint8Array, from: number, to: number): string | null {
  const most = Math.ceil(((to - from) * 8) / 5);
  if (scratch.length < most) scratch = Buffer.allocUnsafeSlow(most);
  let at = 0;
  let state = 0;
  for (let i = from; i < to; i++) {
    const byte = bytes[i] as number;
    let step = steps[state * 16 + (byte >>> 4)] as number;
    if ((step & EMITS) !== 0) scratch[at++] = (step >>> 8) & 0xff;
    if ((step & FAILS) !== 0) return null;
    step = steps[(step & 0xff) * 16 + (byte & 15)] as number;
    if ((step & EMITS) !== 0) scratch[at++] = (step >>> 8) & 0xff;
    if ((step & FAILS) !== 0) return null;
    state = step & 0xff;
  }
  return accepts[state] === 1 ? scratch.toString('latin1', 0, at) : null;
}

/** Bytes that `text` (latin1) takes in Huffman code. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i++) bits += HUFFMAN_BITS[text.charCodeAt(i) & 0xff] as number;
  return (bits + 7) >>> 3;
}

/** Writes `text` (latin1) in Huffman code at `at`, padded with ones; returns the offset behind. */
export function encodeHuffman(text: string, out: Uint8Array, at: number): number {
  let hold = 0;
  let held = 0;
  let to = at;
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i) & 0xff;
    const bits = HUFFMAN_BITS[symbol] as number;
    // Up to 7 held bits and 30 new ones exceed 32-bit operators, so a long code goes in two parts.
    const code = codes[symbol] as number;
    let rest = bits;
    while (rest > 0) {
      const part = rest > 16 ? rest - 16 : rest;
      hold = ((hold << part) | ((code >>> (rest - part)) & ((1 << part) - 1))) & 0x7fffff;
      held += part;
      rest -= part;
      while (held >= 8) {
        held -= 8;
        out[to++] = (hold >>> held) & 0xff;
      }
    }
  }
  if (held > 0) out[to++] = ((hold << (8 - held)) | (0xff >>> held)) & 0xff;
  return to;
}
