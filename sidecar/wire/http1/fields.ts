// One pass over the bytes of a field section. What carries framing, or belongs to one hop, ends up in a FieldFacts; the rest
// in a header list that may be forwarded as it is. An underscore in a name is a letter as any other (RFC 9110 §5.6.2); for
// whom it is not, and why, says proxy/underscores.ts.

import type { HeaderList } from '../headers.ts';
import { removeHeader } from '../headers.ts';
import { FIELDS_MAX, LENGTH_DIGITS_MAX } from './limits.ts';
import * as names from './names.ts';
import type { Rejection } from './reject.ts';
import { REJECT } from './reject.ts';

/** What a field section says about its connection and its body. Reused from message to message. */
export interface FieldFacts {
  /** -1: no Content-Length. */
  contentLength: number;
  chunked: boolean;
  /** The Host field as sent, or null. */
  host: string | null;
  /** The Upgrade field as sent, or empty. */
  upgrade: string;
  wantsClose: boolean;
  wantsKeepAlive: boolean;
  wantsUpgrade: boolean;
}

/** Facts before the first field. */
export function newFacts(): FieldFacts {
  return {
    contentLength: -1,
    chunked: false,
    host: null,
    upgrade: '',
    wantsClose: false,
    wantsKeepAlive: false,
    wantsUpgrade: false,
  };
}

function clear(facts: FieldFacts): void {
  facts.contentLength = -1;
  facts.chunked = false;
  facts.host = null;
  facts.upgrade = '';
  facts.wantsClose = false;
  facts.wantsKeepAlive = false;
  facts.wantsUpgrade = false;
}

function nameRejection(byte: number, isFirst: boolean): Rejection {
  if (byte === 0x20 || byte === 0x09) return isFirst ? REJECT.obsFold : REJECT.spaceBeforeColon;
  if (byte === 0x00) return REJECT.nul;
  if (byte === 0x0a) return REJECT.bareLf;
  return REJECT.fieldName;
}

function valueRejection(byte: number): Rejection {
  if (byte === 0x0d) return REJECT.bareCr;
  if (byte === 0x0a) return REJECT.bareLf;
  return byte === 0x00 ? REJECT.nul : REJECT.fieldValue;
}

/**
 * Parses `bytes[from, to)`, whole lines each with its CRLF, into `headers`. `text` is the latin1 text of the bytes from `base` on.
 * Framing and hop-by-hop fields go to `facts` (cleared first), never to `headers`, except Content-Length, which stays in both.
 */
export function parseFields(
  bytes: Uint8Array,
  from: number,
  to: number,
  text: string,
  base: number,
  headers: HeaderList,
  facts: FieldFacts,
): Rejection | null {
  clear(facts);
  let nominated: string[] | null = null;
  let count = 0;
  let i = from;
  while (i < to) {
    if (++count > FIELDS_MAX) return REJECT.tooManyFields;
    const nameFrom = i;
    let hash = 0;
    for (let c = names.TOKEN[bytes[i] as number] as number; c !== 0; c = names.TOKEN[bytes[i] as number] as number) {
      hash = (Math.imul(hash, 31) + c) | 0;
      i++;
    }
    const nameTo = i;
    if (bytes[i] !== 0x3a || nameTo === nameFrom) return nameRejection(bytes[i] as number, nameTo === nameFrom);
    i++;
    while (bytes[i] === 0x20 || bytes[i] === 0x09) i++;
    const valueFrom = i;
    while (names.VALUE[bytes[i] as number] === 1) i++;
    if (bytes[i] !== 0x0d || bytes[i + 1] !== 0x0a) return valueRejection(bytes[i] as number);
    let valueTo = i;
    while (valueTo > valueFrom && (bytes[valueTo - 1] === 0x20 || bytes[valueTo - 1] === 0x09)) valueTo--;
    i += 2;
    const value = text.slice(valueFrom - base, valueTo - base);
    const known = names.knownName(hash, bytes, nameFrom, nameTo);
    if (known === null) {
      headers.push(text.slice(nameFrom - base, nameTo - base).toLowerCase(), value);
    } else if (known.kind === names.PLAIN) {
      headers.push(known.name, value);
    } else if (known.kind === names.CONNECTION) {
      nominated = parseConnection(value, facts, nominated);
    } else {
      const rejection = takeSpecial(known.kind, value, headers, facts);
      if (rejection !== null) return rejection;
    }
  }
  return nominated === null ? null : removeNominated(nominated, headers);
}

function takeSpecial(kind: number, value: string, headers: HeaderList, facts: FieldFacts): Rejection | null {
  if (kind === names.HOST) {
    if (facts.host !== null) return REJECT.hostRepeated;
    facts.host = value;
  } else if (kind === names.CONTENT_LENGTH) {
    if (facts.contentLength !== -1) return REJECT.lengthRepeated;
    if (value.length > LENGTH_DIGITS_MAX || !/^[0-9]+$/.test(value)) return REJECT.length;
    facts.contentLength = Number(value);
    // Leading zeros are decimal here, and octal to some who read it next.
    headers.push('content-length', value.charCodeAt(0) === 0x30 ? String(facts.contentLength) : value);
  } else if (kind === names.TRANSFER_ENCODING) {
    // Only `chunked`, once: a list, or a coding nobody knows, is how two parsers come to disagree about the body's end.
    if (facts.chunked || value.toLowerCase() !== 'chunked') return REJECT.coding;
    facts.chunked = true;
  } else if (kind === names.TWIN) {
    return REJECT.fieldTwin;
  } else if (kind === names.UPGRADE) {
    facts.upgrade = facts.upgrade === '' ? value : `${facts.upgrade}, ${value}`;
  } else if (kind === names.TE && /(?:^|,)\s*trailers\s*(?:,|$)/i.test(value)) {
    headers.push('te', 'trailers');
  }
  return null;
}

function parseConnection(value: string, facts: FieldFacts, nominated: string[] | null): string[] | null {
  let list = nominated;
  for (const option of value.toLowerCase().split(',')) {
    const token = option.trim();
    if (token === 'close') facts.wantsClose = true;
    else if (token === 'keep-alive') facts.wantsKeepAlive = true;
    else if (token === 'upgrade') facts.wantsUpgrade = true;
    else if (token !== '' && token !== 'te') {
      if (list === null) list = [];
      list.push(token);
    }
  }
  return list;
}

// Slow path: nominating a field is rare. One that carries framing or routing cannot belong to one hop.
function removeNominated(nominated: string[], headers: HeaderList): Rejection | null {
  for (const name of nominated) {
    if (name === 'content-length' || name === 'host') return REJECT.nominated;
    removeHeader(headers, name);
  }
  return null;
}
