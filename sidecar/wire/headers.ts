// The header list: one flat array [name, value, name, value, ...] with lower-case names, shared by both
// protocols. A flat array costs one allocation per message and is scanned faster than a Map at the 10-30
// fields real requests carry. Functions, not methods, so that a codec can hand over the array it parsed into.

/** `[name, value, ...]`; names lower-case, values without surrounding whitespace, no CR, LF or NUL (RFC 9110 §5.5). */
export type HeaderList = string[];

/** The first value of `name` (lower-case), or undefined. */
export function headerValue(headers: HeaderList, name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === name) return headers[i + 1];
  return undefined;
}

/** All values of `name` joined with ", " (RFC 9110 §5.3), or undefined. What a policy must match on: CVE-2021-32777. */
export function headerValues(headers: HeaderList, name: string): string | undefined {
  let joined: string | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== name) continue;
    joined = joined === undefined ? (headers[i + 1] as string) : `${joined}, ${headers[i + 1]}`;
  }
  return joined;
}

/** Replaces every field called `name` by one with `value`, in the place of the first. */
export function setHeader(headers: HeaderList, name: string, value: string): void {
  let found = false;
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== name) continue;
    if (found) {
      headers.splice(i, 2);
      i -= 2;
      continue;
    }
    headers[i + 1] = value;
    found = true;
  }
  if (!found) headers.push(name, value);
}

/** Removes every field called `name`; says whether there was one. */
export function removeHeader(headers: HeaderList, name: string): boolean {
  let kept = 0;
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] === name) continue;
    headers[kept] = headers[i] as string;
    headers[kept + 1] = headers[i + 1] as string;
    kept += 2;
  }
  const removed = kept !== headers.length;
  headers.length = kept;
  return removed;
}

/** Trailers that would change where a message ends or goes, if whoever merges them into the head believed them. */
const TRAILERS_REFUSED = new Set(['content-length', 'transfer-encoding', 'host']);
/** Trailers that only mean something before the body: authentication, modifiers, content format (RFC 9110 §6.5.1). */
const TRAILERS_DROPPED = new Set(
  'authorization proxy-authorization cookie set-cookie www-authenticate proxy-authenticate expect max-forwards range te trailer content-encoding content-type content-range'.split(
    ' ',
  ),
);

/**
 * Removes from a trailer section what policies were never asked about: a peer that merges trailers into the head
 * would believe it. False: a trailer frames or routes the message, so the message is malformed.
 */
export function judgeTrailers(trailers: HeaderList): boolean {
  for (let i = 0; i < trailers.length; i += 2) {
    const name = trailers[i] as string;
    if (TRAILERS_REFUSED.has(name)) return false;
    if (!TRAILERS_DROPPED.has(name)) continue;
    trailers.splice(i, 2);
    i -= 2;
  }
  return true;
}
