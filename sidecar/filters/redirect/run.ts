// Answers with another place instead of calling. The location is always absolute, so that no path (`//evil`) can
// be read as a host.

import type { HeaderList } from '../../wire/headers.ts';
import { Head } from '../../wire/stream.ts';
import type { CompiledPathRewrite } from '../rewrite/run.ts';
import { rewritePath } from '../rewrite/run.ts';

/** Null and 0 stay as they were in the request. */
export interface CompiledRedirect {
  readonly scheme: string | null;
  readonly host: string | null;
  readonly port: number;
  readonly path: CompiledPathRewrite | null;
  /** 301, 302, 303, 307 or 308. */
  readonly status: number;
}

/** The response head of a redirect (RFC 9110 §15.4); it has no body. A new scheme without a port drops the old port (Gateway API). */
export function redirectHead(redirect: CompiledRedirect, head: Head, prefixLength: number): Head {
  const scheme = redirect.scheme ?? (head.scheme === '' ? 'http' : head.scheme);
  let host = redirect.host ?? head.authority;
  if (redirect.port !== 0 || redirect.scheme !== null) {
    // The port ends the authority; the colons of an IPv6 literal stand before its bracket.
    const colon = host.lastIndexOf(':');
    if (colon > host.lastIndexOf(']') && (redirect.port !== 0 || redirect.host === null)) host = host.slice(0, colon);
  }
  const standard = (scheme === 'http' && redirect.port === 80) || (scheme === 'https' && redirect.port === 443);
  if (redirect.port !== 0 && !standard) host = `${host}:${redirect.port}`;
  const origin = head.path.startsWith('/') ? head.path : '/';
  const path = redirect.path === null ? origin : rewritePath(redirect.path, origin, prefixLength);
  const headers: HeaderList = ['location', `${scheme}://${host}${path}`, 'content-length', '0'];
  return Head.response(redirect.status, headers);
}
