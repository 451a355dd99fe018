// The four forms of a request target (RFC 9112 §3.2) and the host they must agree with.

import type { Rejection } from './reject.ts';
import { REJECT } from './reject.ts';

/** What a request target and Host say together. */
export interface Target {
  scheme: string;
  authority: string;
  path: string;
}

// uri-host [":" port] without userinfo and sub-delims: those only serve to confuse the next parser (RFC 9110 §7.2).
const AUTHORITY = /^(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?$/;

let lastHost = '';
let lastAuthority = '';

/** A Host or authority lower-cased, or null when it is not `host[:port]`. The last good one is remembered: a connection repeats it. */
export function parseAuthority(host: string): string | null {
  if (host === lastHost) return lastAuthority;
  const authority = host.toLowerCase();
  const match = AUTHORITY.exec(authority);
  if (match === null || Number(match[1] ?? '1') > 65535) return null;
  lastHost = host;
  lastAuthority = authority;
  return authority;
}

function withoutPort(authority: string, port: string): string {
  return authority.endsWith(port) ? authority.slice(0, -port.length) : authority;
}

/** Fills `into` from the target and the Host (null: none was sent). `into.scheme` holds the connection's scheme. Null when all is well. */
export function parseTarget(method: string, target: string, host: string | null, into: Target): Rejection | null {
  let authority = '';
  if (host !== null && host !== '') {
    const parsed = parseAuthority(host);
    if (parsed === null) return REJECT.host;
    authority = parsed;
  }
  if (method === 'CONNECT') return parseConnect(target, authority, into);
  if (target.charCodeAt(0) !== 0x2f) return parseAbsolute(method, target, host, authority, into);
  into.authority = authority;
  into.path = target;
  return null;
}

function parseConnect(target: string, host: string, into: Target): Rejection | null {
  const authority = parseAuthority(target);
  if (authority === null) return REJECT.targetForm;
  const port = /:([0-9]+)$/.exec(authority);
  if (port === null || Number(port[1]) === 0) return REJECT.targetForm;
  if (host !== '' && host !== authority && host !== withoutPort(authority, port[0])) return REJECT.hostDisagrees;
  into.scheme = '';
  into.authority = authority;
  into.path = '';
  return null;
}

// Slow path: only clients configured for a proxy send the absolute form, and only OPTIONS the asterisk.
function parseAbsolute(
  method: string,
  target: string,
  host: string | null,
  hostAuthority: string,
  into: Target,
): Rejection | null {
  if (target === '*') {
    if (method !== 'OPTIONS') return REJECT.targetForm;
    into.authority = hostAuthority;
    into.path = '*';
    return null;
  }
  const match = /^(https?):\/\/([^/?]*)(.*)$/i.exec(target);
  if (match === null) return REJECT.targetForm;
  const named = match[2] as string;
  if (named.includes('@')) return REJECT.userinfo;
  const authority = named === '' ? null : parseAuthority(named);
  if (authority === null) return REJECT.host;
  const scheme = (match[1] as string).toLowerCase();
  const port = scheme === 'http' ? ':80' : ':443';
  if (host !== null && withoutPort(authority, port) !== withoutPort(hostAuthority, port)) return REJECT.hostDisagrees;
  const rest = match[3] as string;
  into.scheme = scheme;
  into.authority = authority;
  into.path = rest !== '' ? (rest.startsWith('/') ? rest : `/${rest}`) : method === 'OPTIONS' ? '*' : '/';
  return null;
}
