// From a decoded header list to a Head, by the rules for malformed messages (RFC 9113 §8.1.1, §8.2, §8.3): a bad
// message is a stream error, and its reason is a string for the operator.

import type { HeaderList } from '../headers.ts';
import { Head } from '../stream.ts';

const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
// RFC 9110 §5.5, as the HTTP/1.1 parser has it: no control character but HTAB may pass either codec.
const BAD_VALUE = /[^\t\u0020-\u007e\u0080-\u00ff]|^[ \t]|[ \t]$/;
const AUTHORITY = /^[^\s/?#@\\]+$/;
const PATH = /^(?:\/[^\s#]*|\*)$/;
const FORBIDDEN = new Set(['connection', 'proxy-connection', 'keep-alive', 'transfer-encoding', 'upgrade']);

/** A request's head, or why it is malformed. */
export function requestHead(list: HeaderList): Head | string {
  const head = new Head('', '', '', '', 0, []);
  const seen = new Set<string>();
  const regular = readPseudo(list, seen, head, REQUEST_PSEUDO);
  if (typeof regular === 'string') return regular;
  const problem = readFields(list, regular, head.headers);
  if (problem !== null) return problem;
  return takeHost(head) ?? checkRequest(head, seen) ?? head;
}

/** A response's head, or why it is malformed. */
export function responseHead(list: HeaderList): Head | string {
  const head = new Head('', '', '', '', 0, []);
  const regular = readPseudo(list, new Set(), head, RESPONSE_PSEUDO);
  if (typeof regular === 'string') return regular;
  if (head.status < 100) return ':status is missing or not a number';
  if (head.status === 101) return 'status 101 does not exist in HTTP/2';
  return readFields(list, regular, head.headers) ?? head;
}

/** Trailers, or why they are malformed. */
export function trailerFields(list: HeaderList): { trailers: HeaderList } | string {
  const trailers: HeaderList = [];
  return readFields(list, 0, trailers) ?? { trailers };
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

type Setter = (head: Head, value: string) => void;

const REQUEST_PSEUDO = new Map<string, Setter>([
  [
    ':method',
    (head, value) => {
      head.method = value;
    },
  ],
  [
    ':scheme',
    (head, value) => {
      head.scheme = value;
    },
  ],
  [
    ':authority',
    (head, value) => {
      head.authority = value.toLowerCase();
    },
  ],
  [
    ':path',
    (head, value) => {
      head.path = value;
    },
  ],
  [
    ':protocol',
    (head, value) => {
      head.protocol = value;
    },
  ],
]);

const RESPONSE_PSEUDO = new Map<string, Setter>([
  [
    ':status',
    (head, value) => {
      head.status = /^[1-9]\d\d$/.test(value) ? Number(value) : 0;
    },
  ],
]);

/** Reads the leading pseudo-headers; the offset of the first regular field, or a reason. */
function readPseudo(list: HeaderList, seen: Set<string>, head: Head, known: Map<string, Setter>): number | string {
  let i = 0;
  for (; i < list.length; i += 2) {
    const name = list[i] as string;
    if (name.charCodeAt(0) !== 58) break;
    const set = known.get(name);
    if (set === undefined) return 'a pseudo-header that does not belong here';
    if (seen.has(name)) return `${name} appears twice`;
    if (BAD_VALUE.test(list[i + 1] as string)) return `${name} has a forbidden character`;
    seen.add(name);
    set(head, list[i + 1] as string);
  }
  return i;
}

function readFields(list: HeaderList, from: number, into: HeaderList): string | null {
  let cookieAt = -1;
  for (let i = from; i < list.length; i += 2) {
    const name = list[i] as string;
    const value = list[i + 1] as string;
    if (!NAME.test(name))
      return name.startsWith(':') ? 'a pseudo-header after a field' : 'a field name is not lower-case token';
    if (BAD_VALUE.test(value)) return `the value of ${name} has a forbidden character`;
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

function checkRequest(head: Head, seen: Set<string>): string | null {
  if (!METHOD.test(head.method)) return ':method is missing or not a token';
  if (!AUTHORITY.test(head.authority)) return ':authority is missing or not host[:port]';
  if (head.method === 'CONNECT' && !seen.has(':protocol')) {
    return seen.has(':scheme') || seen.has(':path') ? 'CONNECT has neither :scheme nor :path' : null;
  }
  if (seen.has(':protocol') && (head.method !== 'CONNECT' || head.protocol === ''))
    return ':protocol belongs to CONNECT';
  if (!seen.has(':scheme') || head.scheme === '') return ':scheme is missing';
  if (!PATH.test(head.path) || (head.path === '*' && head.method !== 'OPTIONS'))
    return ':path is missing or not a path';
  return null;
}
