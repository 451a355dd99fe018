// From a decoded header list to a Head, by the rules for malformed messages (RFC 9113 §8.1.1, §8.2, §8.3): a bad
// message is a stream error, and its reason is a string for the operator.

import type { HeaderList } from '../headers.ts';
import { TOKEN, VALUE } from '../http1/names.ts';
import { Head } from '../stream.ts';

const COLON = 0x3a;
const SPACE = 0x20;
const TAB = 0x09;
const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const AUTHORITY = /^[^\s/?#@\\]+$/;
const PATH = /^(?:\/[^\s#]*|\*)$/;
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
export function requestHead(list: HeaderList): Head | string {
  const head = new Head('', '', '', '', 0, []);
  let seen = 0;
  const recent = recentRequest;
  let i = 0;
  for (; i < list.length; i += 2) {
    const name = list[i] as string;
    if (name.charCodeAt(0) !== COLON) break;
    const value = list[i + 1] as string;
    const bit = takePseudo(head, name, value);
    if (bit === 0) return 'a pseudo-header that does not belong here';
    if ((seen & bit) !== 0) return `${name} appears twice`;
    if (!isValue(value, recent, i)) return `${name} has a forbidden character`;
    seen |= bit;
  }
  const problem = readFields(list, i, head.headers, recent);
  if (problem !== null) return problem;
  return takeHost(head) ?? checkRequest(head, seen) ?? head;
}

/** A response's head, or why it is malformed. */
export function responseHead(list: HeaderList): Head | string {
  if (list.length === 0 || list[0] !== ':status') return ':status is missing';
  const status = statusOf(list[1] as string);
  if (status < 100) return ':status is not a number';
  if (status === 101) return 'status 101 does not exist in HTTP/2';
  const head = Head.response(status, []);
  return readFields(list, 2, head.headers, recentResponse) ?? head;
}

/** Trailers, or why they are malformed. */
export function trailerFields(list: HeaderList): { trailers: HeaderList } | string {
  const trailers: HeaderList = [];
  return readFields(list, 0, trailers, recentTrailers) ?? { trailers };
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

function readFields(list: HeaderList, from: number, into: HeaderList, recent: string[]): string | null {
  let cookieAt = -1;
  for (let i = from; i < list.length; i += 2) {
    const name = list[i] as string;
    const value = list[i + 1] as string;
    if (!isName(name))
      return name.startsWith(':') ? 'a pseudo-header after a field' : 'a field name is not lower-case token';
    if (!isValue(value, recent, i)) return `the value of ${name} has a forbidden character`;
    if (FORBIDDEN.has(name)) return `${name} is forbidden in HTTP/2`;
    if (name === 'te' && value !== 'trailers') return 'te may only say "trailers"';
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
function takeHost(head: Head): string | null {
  const headers = head.headers;
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== 'host') continue;
    const host = (headers[i + 1] as string).toLowerCase();
    if (head.authority === '') head.authority = host;
    else if (head.authority !== host) return 'host and :authority differ';
    headers.splice(i, 2);
    i -= 2;
  }
  return null;
}

/** The last ones that were good: a connection repeats them. */
let goodMethod = 'GET';
let goodAuthority = 'localhost';

function checkRequest(head: Head, seen: number): string | null {
  if (head.method !== goodMethod) {
    if (!METHOD.test(head.method)) return ':method is missing or not a token';
    goodMethod = head.method;
  }
  if (head.authority !== goodAuthority) {
    if (!AUTHORITY.test(head.authority)) return ':authority is missing or not host[:port]';
    goodAuthority = head.authority;
  }
  if (head.method === 'CONNECT' && (seen & HAS_PROTOCOL) === 0) {
    return (seen & (HAS_SCHEME | HAS_PATH)) === 0 ? null : 'CONNECT has neither :scheme nor :path';
  }
  if ((seen & HAS_PROTOCOL) !== 0 && (head.method !== 'CONNECT' || head.protocol === ''))
    return ':protocol belongs to CONNECT';
  if (head.scheme === '') return ':scheme is missing';
  if (!PATH.test(head.path) || (head.path === '*' && head.method !== 'OPTIONS'))
    return ':path is missing or not a path';
  return null;
}
