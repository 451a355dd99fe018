// From a decoded header list to a Head, by the rules for malformed messages (RFC 9113 §8.1.1, §8.2, §8.3): a bad
// message is a stream error.

import { type HeaderList, headerValue, judgeTrailers, removeHeader } from '../headers.ts';
import { METHOD_BYTES_MAX, URI_BYTES_MAX } from '../http1/limits.ts';
import { TOKEN, VALUE } from '../http1/names.ts';
import { parseAuthority } from '../http1/target.ts';
import { Head } from '../stream.ts';
import { MESSAGE, type Rejection } from './reject.ts';

const COLON = 0x3a;
const SPACE = 0x20;
const TAB = 0x09;
const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** The characters that the HTTP/1.1 parser takes in a target, since it may become one. */
const PATH = /^(?:\/[\x21\x22\x24-\x7e]*|\*)$/;
/** An HTTP/1.1 upgrade to HTTP/2 would smuggle requests past every policy. */
const PROTOCOL = /^(?!h2c?$)[a-z0-9./_-]+$/;
const FORBIDDEN = new Set(['connection', 'proxy-connection', 'keep-alive', 'transfer-encoding', 'upgrade']);

/** Names that were found good before: few in number, and a look-up costs less than reading them again. */
const goodNames = new Set<string>();
/** More than services use, and a bound on what strangers can fill. */
const GOOD_NAMES_MAX = 1024;
/** A longer name is read each time, so that the set stays below 64 KiB. */
const GOOD_NAME_CHARS_MAX = 64;

/**
 * The last good value at each place of a list. Messages repeat each other, and out of the dynamic table come the very
 * same strings, so most values are known by a comparison of pointers.
 */
const RECENT_SLOTS = 64;
const RECENT_CHARS_MAX = 256;
const recentRequest: string[] = new Array(RECENT_SLOTS).fill('');
const recentResponse: string[] = new Array(RECENT_SLOTS).fill('');
const recentTrailers: string[] = new Array(RECENT_SLOTS).fill('');

/** Which pseudo-headers a request had, as bits. */
const HAS_METHOD = 1;
const HAS_SCHEME = 2;
const HAS_AUTHORITY = 4;
const HAS_PATH = 8;
const HAS_PROTOCOL = 16;

/** A request's head, or why it is malformed. */
export function requestHead(list: HeaderList): Head | Rejection {
  const head = new Head('', '', '', '', 0, []);
  let seen = 0;
  const recent = recentRequest;
  let i = 0;
  for (; i < list.length; i += 2) {
    const name = list[i] as string;
    if (name.charCodeAt(0) !== COLON) break;
    const value = list[i + 1] as string;
    const bit = takePseudo(head, name, value);
    if (bit === 0) return MESSAGE.pseudoUnknown;
    if ((seen & bit) !== 0) return MESSAGE.pseudoTwice;
    if (!isValue(value, recent, i)) return MESSAGE.fieldValue;
    seen |= bit;
  }
  const problem = readFields(list, i, head.headers, recent);
  if (problem !== null) return problem;
  return takeHost(head) ?? checkRequest(head, seen) ?? head;
}

/** A response's head, or why it is malformed. */
export function responseHead(list: HeaderList): Head | Rejection {
  if (list.length === 0 || list[0] !== ':status') return MESSAGE.status;
  const status = statusOf(list[1] as string);
  if (status < 100) return MESSAGE.status;
  if (status === 101) return MESSAGE.status101;
  const head = Head.response(status, []);
  return readFields(list, 2, head.headers, recentResponse) ?? head;
}

/** Puts trailers into `into`, or says why they are malformed. */
export function trailerFields(list: HeaderList, into: HeaderList): Rejection | null {
  return readFields(list, 0, into, recentTrailers) ?? (judgeTrailers(into) ? null : MESSAGE.trailerField);
}

/** The declared body length in bytes; -1 none, -2 not valid (RFC 9110 §8.6). */
export function contentLength(headers: HeaderList): number {
  let length = -1;
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== 'content-length') continue;
    const value = headers[i + 1] as string;
    if (!/^\d{1,15}$/.test(value) || (length >= 0 && length !== Number(value))) return -2;
    length = Number(value);
  }
  return length;
}

/** Puts a pseudo-header where it belongs; its bit, or 0 when requests have none of this name. */
function takePseudo(head: Head, name: string, value: string): number {
  switch (name) {
    case ':method':
      head.method = value;
      return HAS_METHOD;
    case ':scheme':
      head.scheme = value;
      return HAS_SCHEME;
    case ':authority':
      head.authority = value.toLowerCase();
      return HAS_AUTHORITY;
    case ':path':
      head.path = value;
      return HAS_PATH;
    case ':protocol':
      head.protocol = value;
      return HAS_PROTOCOL;
    default:
      return 0;
  }
}

/** Three digits, the first of them not 0; else 0. */
function statusOf(value: string): number {
  if (value.length !== 3) return 0;
  const status = Number(value);
  return status >= 100 && /^\d+$/.test(value) ? status : 0;
}

/** A token without capitals (RFC 9113 §8.2.1). */
function isName(name: string): boolean {
  if (goodNames.has(name)) return true;
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    // TOKEN maps a token's character to its lower case, so a capital differs from itself.
    if (code > 0xff || code === 0 || TOKEN[code] !== code) return false;
  }
  if (name.length === 0) return false;
  if (goodNames.size < GOOD_NAMES_MAX && name.length <= GOOD_NAME_CHARS_MAX) goodNames.add(name);
  return true;
}

/** RFC 9110 §5.5, as the HTTP/1.1 parser has it: no control character but HTAB may pass either codec, and no whitespace around. */
function isValue(value: string, recent: string[], place: number): boolean {
  const { length } = value;
  const slot = place % RECENT_SLOTS;
  if (length === 0 || value === recent[slot]) return true;
  const first = value.charCodeAt(0);
  const last = value.charCodeAt(length - 1);
  if (first === SPACE || first === TAB || last === SPACE || last === TAB) return false;
  for (let i = 0; i < length; i++) if (VALUE[value.charCodeAt(i)] !== 1) return false;
  if (length <= RECENT_CHARS_MAX) recent[slot] = value;
  return true;
}

function readFields(list: HeaderList, from: number, into: HeaderList, recent: string[]): Rejection | null {
  let cookieAt = -1;
  for (let i = from; i < list.length; i += 2) {
    const name = list[i] as string;
    const value = list[i + 1] as string;
    if (!isName(name)) return name.startsWith(':') ? MESSAGE.pseudoLate : MESSAGE.fieldName;
    if (!isValue(value, recent, i)) return MESSAGE.fieldValue;
    if (FORBIDDEN.has(name)) return MESSAGE.connectionField;
    if (name === 'te' && value !== 'trailers') return MESSAGE.te;
    // Crumbs of one cookie header become one again (RFC 9113 §8.2.3).
    if (name === 'cookie') {
      if (cookieAt >= 0) {
        into[cookieAt] = `${into[cookieAt]}; ${value}`;
        continue;
      }
      cookieAt = into.length + 1;
    }
    into.push(name, value);
  }
  return null;
}

/** Host must agree with :authority and is dropped (RFC 9113 §8.3.1). */
function takeHost(head: Head): Rejection | null {
  const headers = head.headers;
  let seen = false;
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== 'host') continue;
    if (seen) return MESSAGE.hostRepeated;
    seen = true;
    const host = (headers[i + 1] as string).toLowerCase();
    if (head.authority === '') head.authority = host;
    else if (head.authority !== host) return MESSAGE.hostDisagrees;
    headers.splice(i, 2);
    i -= 2;
  }
  return null;
}

/** The last ones that were good: a connection repeats them. */
let goodMethod = 'GET';
let goodAuthority = 'localhost';

function checkRequest(head: Head, seen: number): Rejection | null {
  if (head.method !== goodMethod) {
    if (head.method.length > METHOD_BYTES_MAX || !METHOD.test(head.method)) return MESSAGE.method;
    goodMethod = head.method;
  }
  if (head.authority !== goodAuthority) {
    if (parseAuthority(head.authority) === null) return MESSAGE.authority;
    goodAuthority = head.authority;
  }
  if (head.method === 'CONNECT') {
    if (!dropConnectLength(head.headers)) return MESSAGE.connectBody;
    if ((seen & HAS_PROTOCOL) === 0) {
      const isForm = (seen & (HAS_SCHEME | HAS_PATH)) === 0 && /:0*[1-9][0-9]*$/.test(head.authority);
      return isForm ? null : MESSAGE.connect;
    }
  }
  if ((seen & HAS_PROTOCOL) !== 0) {
    head.protocol = head.protocol.toLowerCase();
    if (head.method !== 'CONNECT' || !PROTOCOL.test(head.protocol)) return MESSAGE.protocol;
  }
  if (head.scheme === '') return MESSAGE.scheme;
  if (head.path.length > URI_BYTES_MAX) return MESSAGE.pathTooLong;
  if (!PATH.test(head.path) || (head.path === '*' && head.method !== 'OPTIONS')) return MESSAGE.path;
  return null;
}

/** CONNECT has no body (RFC 9110 §9.3.6): a length of 0 means nothing and would stop the tunnel; any other is a lie, hence false. */
function dropConnectLength(headers: HeaderList): boolean {
  const value = headerValue(headers, 'content-length');
  if (value === undefined) return true;
  removeHeader(headers, 'content-length');
  return /^0+$/.test(value);
}
