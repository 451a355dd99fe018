// How deep JSON is nested, before anything is made of it: a parser makes an object of each bracket, fifty times the
// bytes that came, and whatever walks the result goes as deep.

import { LIMITS } from './limits.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** Whether `json`, in UTF-8, nests objects and lists no deeper than LIMITS.jsonDepthMax. Of what is no JSON it says nothing. */
export function isShallowJson(json: Uint8Array): boolean {
  let depth = 0;
  for (let i = 0; i < json.length; i++) {
    const byte = json[i];
    if (byte === QUOTE) i = stringEnd(json, i);
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      if (++depth > LIMITS.jsonDepthMax) return false;
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth--;
  }
  return true;
}

/** Where the string that opens at `from` closes. */
function stringEnd(json: Uint8Array, from: number): number {
  let i = from + 1;
  while (i < json.length && json[i] !== QUOTE) i += json[i] === BACKSLASH ? 2 : 1;
  return i;
}
