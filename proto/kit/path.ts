// A request path is normalized once, before anything is decided on it, and what was decided on is what is
// forwarded. Forms that two programs could read differently are refused, not guessed: they are how
// authorization is bypassed (CVE-2021-29492, CVE-2021-31920).

import type { Mistake } from './mistake.ts';
import { quoted } from './mistake.ts';

/** Longest path with its query, in characters; the request line is limited before that. */
const PATH_CHARS_MAX = 65_536;

/** The path and query to match and to forward, or why the request must be refused with 400. */
export type PathResult =
  | { readonly path: string; readonly query: string | null; readonly error: null }
  | { readonly path: null; readonly query: null; readonly error: string };

/** How to treat what servers disagree about. */
export interface PathOptions {
  /** `merge` (default, as Envoy's hardened profile): `//` becomes `/`. `refuse`: it is an error. */
  readonly slashes?: 'merge' | 'refuse';
}

/** The common case needs no work: unreserved and sub-delimiter characters, no `%`, and no empty or dot segment. */
const PLAIN = /^(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._~!$&'()*+,;=:@-]+)*\/?$/;
/** What may stand in a path or query besides `%XX` (RFC 3986 §3.3, §3.4), and what browsers send unescaped there. */
const PATH_CHARS = /^[A-Za-z0-9._~!$&'()*+,;=:@/%[\]|^{}"<>`-]*$/;
const QUERY_CHARS = /^[\x21\x22\x24-\x7e]*$/;
const BAD_ESCAPE = /%(?![0-9A-Fa-f]{2})/;

/**
 * Normalizes an origin-form target (RFC 9112 §3.2.1): escaped unreserved characters are unescaped, other escapes get
 * upper-case digits (RFC 3986 §6.2.2), dot segments are removed (§5.2.4), slashes merged. Refused: a fragment, raw
 * backslash, control or non-ASCII characters, incomplete escapes, escaped `/`, `\`, NUL or `%`, escaped dots that
 * make a dot segment, and `..` above the root. The query is checked for characters and otherwise untouched.
 */
export function normalizePath(target: string, options: PathOptions = {}): PathResult {
  if (target.length > PATH_CHARS_MAX) return refuse('the path is too long');
  if (!target.startsWith('/')) return refuse('a path starts with "/"');
  if (target.includes('#')) return refuse('a fragment is never sent to a server');
  const mark = target.indexOf('?');
  const raw = mark < 0 ? target : target.slice(0, mark);
  const query = mark < 0 ? null : target.slice(mark + 1);
  if (query !== null && !QUERY_CHARS.test(query))
    return refuse('the query has a control or non-ASCII character; escape it as %XX');
  if (PLAIN.test(raw)) return { path: raw, query, error: null };

  // Slow path: escapes, dot segments or doubled slashes are rare in real traffic.
  if (!PATH_CHARS.test(raw)) return refuse('the path has a character that must be escaped as %XX');
  if (BAD_ESCAPE.test(raw)) return refuse('"%" must be followed by two hexadecimal digits');
  if (/%(?:2f|5c|00|25)/i.test(raw))
    return refuse('the path has an escaped slash, backslash, NUL or percent sign, which servers read differently');
  if (options.slashes === 'refuse' && raw.includes('//')) return refuse('the path has an empty segment ("//")');
  const output: string[] = [];
  const segments = raw.slice(1).split('/');
  for (const [index, segment] of segments.entries()) {
    const last = index === segments.length - 1;
    const plain = segment.replace(/%[0-9A-Fa-f]{2}/g, unescapeUnreserved);
    if ((plain === '.' || plain === '..') && plain !== segment) return refuse('the path has an escaped dot segment');
    if (plain === '..' && output.length === 0) return refuse('".." leads above the root');
    if (plain === '..') output.pop();
    // What ends in a dot segment or a slash names a directory and keeps its slash.
    if (plain !== '.' && plain !== '..' && plain !== '') output.push(plain);
    else if (last) output.push('');
  }
  return { path: `/${output.join('/')}`, query, error: null };
}

function unescapeUnreserved(triplet: string): string {
  const char = String.fromCharCode(Number.parseInt(triplet.slice(1), 16));
  return /[A-Za-z0-9._~-]/.test(char) ? char : triplet.toUpperCase();
}

function refuse(error: string): PathResult {
  return { path: null, query: null, error };
}

/** What a policy compares with a request's path: all of it, its first characters, or its last. */
export type PathPart = 'whole' | 'start' | 'end';

/** What is wrong with a text that no normalized path can be, begin with or end with; null when one can. */
export function pathMistake(value: string, part: PathPart): Mistake | null {
  const message = 'can never match, since paths are normalized before';
  if (value.includes('?')) return { message: 'a path has no query', fix: 'remove what begins with "?"' };
  const before = part === 'end' ? '/x' : '';
  // What is only begun may go on: a dot segment becomes a name, an escape is completed.
  const probe = part === 'start' ? `${value.replace(/%[0-9A-F]?$/, '')}x` : before + value;
  if (part === 'start' && value === '') return { message: 'empty: begins every path', fix: 'use `present`' };
  if (part !== 'end' && !value.startsWith('/'))
    return { message: 'a path begins with "/"', fix: `write \`/${value}\`` };
  const { path, error } = normalizePath(probe);
  if (error !== null) return { message, fix: error };
  if (path === probe) return null;
  const normal = part === 'start' ? path.slice(0, -1) : path.slice(before.length);
  return { message, fix: `write \`${normal}\`` };
}

/** What is wrong with a path that a rewrite or redirect produces; null when nothing is. Stricter than what clients may send: RFC 3986 §3.3. */
export function rewritePathMistake(value: string): Mistake | null {
  if (/^[\w.~!$&'()*+,;=:@%/-]*$/.test(value)) {
    const { path, error } = normalizePath(value);
    if (path === value) return null;
    if (error === null) return { message: `${quoted(value)} is not a normalized path`, fix: `write \`${path}\`` };
  }
  return {
    message: `${quoted(value)} is not a normalized path`,
    fix: 'start it with /, without query, `//`, `.` or `..` segments, and escape other characters as %XX',
  };
}

/** What is wrong with the names of a gRPC match, each of which may be empty; null when nothing is. */
export function grpcNameMistake(name: string, what: 'service' | 'method'): Mistake | null {
  if (name === '') return null;
  const dot = name.lastIndexOf('.');
  if (what === 'service') {
    if (/^[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*$/.test(name)) return null;
    return {
      message: `${quoted(name)} is not a full gRPC service name`,
      fix: 'write package and service, such as `shop.v1.Orders`',
    };
  }
  if (/^[A-Za-z_]\w*$/.test(name)) return null;
  const fix = dot < 0 ? 'write its name alone, such as `GetOrder`' : `write \`${name.slice(dot + 1)}\``;
  return { message: `${quoted(name)} is not a gRPC method name`, fix };
}
