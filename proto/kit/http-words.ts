// The words of HTTP that policies may say: methods, header names and values, names of query parameters. The control
// plane refuses a bad one where it is written; the sidecar refuses it again, since its policies may come from elsewhere.

import type { Mistake } from './mistake.ts';
import { quoted } from './mistake.ts';

/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Longest header name, in characters: what the schema allows a match. */
const HEADER_NAME_CHARS_MAX = 256;

/** Methods are case-sensitive (RFC 9110 §9.1); these in another case are a slip, and match nothing. */
const METHODS: ReadonlySet<string> = new Set(
  'GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH'.split(' '), // RFC 9110 §9.3, RFC 5789
);

/** Where the words of a pseudo header (RFC 9113 §8.3) are said instead. */
const PSEUDO: Readonly<Record<HeaderUse, Readonly<Record<string, string>>>> = {
  match: { ':path': 'match `path`', ':method': 'match `method`', ':authority': 'name the host under `hosts`' },
  edit: { ':path': 'use a rewrite filter with `path`', ':authority': 'use a rewrite filter with `host`' },
};

/** Fields of one connection (RFC 9110 §7.6.1): dropped before a request is matched, and written by the codecs alone. */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);
/** Further fields that the codecs write: an edit could change where a message ends. */
const FRAMING_FIELDS: ReadonlySet<string> = new Set(['content-length', 'te', 'trailer']);

/** What a policy does with a header: looks at it, or changes it. */
export type HeaderUse = 'match' | 'edit';

/** What is wrong with a method; null when nothing is. */
export function methodMistake(method: string): Mistake | null {
  if (!TOKEN.test(method)) {
    return {
      message: `${quoted(method)} is not an HTTP method (RFC 9110 §5.6.2)`,
      fix: 'write one method, such as `GET`; for any, leave methods out',
    };
  }
  const upper = method.toUpperCase();
  if (method === upper || !METHODS.has(upper)) return null;
  return { message: `methods are case-sensitive: "${method}" matches nothing`, fix: `write \`${upper}\`` };
}

/** What is wrong with a header's name, in any case; null when nothing is. */
export function headerNameMistake(name: string, use: HeaderUse): Mistake | null {
  const lower = name.toLowerCase();
  const does = use === 'match' ? 'matched' : 'edited';
  if (lower.startsWith(':')) {
    return { message: `${quoted(name)} is no header field`, fix: PSEUDO[use][lower] ?? 'remove it' };
  }
  if (!TOKEN.test(name) || name.length > HEADER_NAME_CHARS_MAX) {
    return {
      message: `${quoted(name)} is not a header name (RFC 9110 §5.1)`,
      fix: `write 1 to ${HEADER_NAME_CHARS_MAX} letters, digits and -, such as \`x-version\``,
    };
  }
  if (lower === 'host') {
    const fix = use === 'match' ? 'name the host under `hosts`' : 'use a rewrite filter with `host`';
    return { message: `host cannot be ${does} as a header`, fix };
  }
  if (CONNECTION_FIELDS.has(lower) || (use === 'edit' && FRAMING_FIELDS.has(lower))) {
    return { message: `${lower} is set by the protocol and cannot be ${does}`, fix: 'remove it' };
  }
  return null;
}

/**
 * What is wrong with a header's value, or with its beginning or end; null when nothing is. RFC 9110 §5.5: visible
 * characters, space and tab, without white space around. Values are read as Latin-1.
 */
export function headerValueMistake(value: string, part: 'whole' | 'start' | 'end' = 'whole'): Mistake | null {
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
    const wide = /[^\0-\xff]/.test(value);
    return {
      message: `not a header value (RFC 9110 §5.5): it has a ${wide ? 'character beyond Latin-1' : 'control character'}`,
      fix: wide ? 'escape it, for example as %XX' : 'remove it',
    };
  }
  if ((part !== 'end' && /^[\t ]/.test(value)) || (part !== 'start' && /[\t ]$/.test(value))) {
    return { message: 'a header value has no white space around it (RFC 9110 §5.5)', fix: 'remove the white space' };
  }
  return null;
}

/** What is wrong with the name of a query parameter, which is compared decoded; null when nothing is. */
export function queryNameMistake(name: string): Mistake | null {
  const message = `${quoted(name)} is not the name of a query parameter`;
  if (name.startsWith('?')) return { message, fix: 'write it without "?"' };
  if (name.includes('&')) return { message, fix: 'write an entry for each parameter' };
  if (name.includes('=')) return { message, fix: 'write what follows "=" under `value`' };
  if (!/%[0-9A-Fa-f]{2}/.test(name)) return null;
  return { message: `names are compared decoded: ${quoted(name)} is not`, fix: 'write the character instead of %XX' };
}
