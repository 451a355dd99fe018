// A request path is normalized once, before anything is decided on it, and what was decided on is what is
// forwarded. Forms that two programs could read differently are refused, not guessed: they are how
// authorization is bypassed (CVE-2021-29492, CVE-2021-31920).

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
