// The host names by which applications call services: `orders`, `orders.shop`, `orders.shop.mesh`, and
// `orders.localhost` for clients that resolve it to loopback. Both programs must read them alike, byte for byte.

import type { Mistake } from './mistake.ts';
import { quoted } from './mistake.ts';

/** The suffix of full names; a Service is `name.namespace.mesh` (DESIGN: names). */
export const MESH_DOMAIN = 'mesh';

/** What an authority names; `port` is null when it has none. IPv6 literals come without brackets. */
export interface HostPort {
  readonly host: string;
  readonly port: number | null;
}

/** A DNS label (RFC 1123 §2.1), with `_` inside since container names have it. */
const LABEL = /^[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?$/;
const IPV6 = /^[0-9a-f:]{2,39}(?:\.\d{1,3}\.\d{1,3}\.\d{1,3})?$/;

/**
 * Reads `host[:port]` of a Host header or `:authority` (RFC 9110 §7.2) into lower case, without port and without
 * the dot that ends a fully qualified name. Null when it is not a host: user information, bad labels, port 0.
 */
export function parseAuthority(authority: string): HostPort | null {
  if (authority.length === 0 || authority.length > 261) return null;
  const text = authority.toLowerCase();
  if (text.startsWith('[')) {
    const close = text.indexOf(']');
    const address = text.slice(1, close);
    if (close < 0 || !isIpv6(address)) return null;
    return withPort(address, text.slice(close + 1));
  }
  const colon = text.indexOf(':');
  const name = colon < 0 ? text : text.slice(0, colon);
  const host = name.endsWith('.') ? name.slice(0, -1) : name;
  if (!isDnsName(host)) return null;
  return withPort(host, colon < 0 ? '' : text.slice(colon));
}

/**
 * The host to look up in a route table for `authority`: as `parseAuthority`, and `orders.localhost` becomes
 * `orders`. Null when it is no host.
 */
export function normalizeHost(authority: string): string | null {
  const parsed = parseAuthority(authority);
  if (parsed === null) return null;
  const { host } = parsed;
  return host.endsWith('.localhost') ? host.slice(0, -'.localhost'.length) : host;
}

/** What is wrong with a `host[:port]` that a rewrite or redirect produces; null when nothing is. */
export function hostMistake(host: string): Mistake | null {
  if (parseAuthority(host) !== null) return null;
  return {
    message: `${quoted(host)} is not a host`,
    fix: 'write a name or an address, with a port if need be, and neither scheme nor path',
  };
}

/**
 * Every host a Service answers to, shortest first. The short name is left out for callers of another namespace:
 * there it is their own Service of that name. `callerNamespace` defaults to the Service's own.
 */
export function hostsOf(namespace: string, name: string, callerNamespace: string = namespace): string[] {
  const hosts = [`${name}.${namespace}`, `${name}.${namespace}.${MESH_DOMAIN}`];
  if (callerNamespace === namespace) hosts.unshift(name);
  return hosts;
}

/** Services in one certificate: both sides send theirs in every handshake, and the names of 64 are about 5 KiB. */
export const CERTIFICATE_SERVICES_MAX = 64;

/**
 * The DNS names in the certificate of whoever serves these Services, for clients that verify names: their complete hosts,
 * and the server names of their ports (`port.name.namespace`) by a wildcard, which holds for ports to come (RFC 6125
 * §6.4.3). Not the bare name: in another namespace it means another Service. Of more than the maximum the first by name.
 * @param services resource names, `namespace/name`.
 */
export function certificateNames(services: readonly string[]): string[] {
  return [...services]
    .sort()
    .slice(0, CERTIFICATE_SERVICES_MAX)
    .flatMap((service) => {
      const [namespace, name] = service.split('/');
      const host = `${name}.${namespace}`;
      return [host, `${host}.${MESH_DOMAIN}`, `*.${host}`];
    });
}

function withPort(host: string, rest: string): HostPort | null {
  if (rest === '') return { host, port: null };
  if (!/^:\d{1,5}$/.test(rest)) return null;
  const port = Number(rest.slice(1));
  return port >= 1 && port <= 65_535 ? { host, port } : null;
}

function isDnsName(host: string): boolean {
  if (host.length === 0 || host.length > 253) return false;
  return host.split('.').every((label) => LABEL.test(label));
}

/** Shape of RFC 4291 §2.2: at most one `::`, groups of 1-4 hex digits, eight of them or fewer with `::`; no zone. */
function isIpv6(address: string): boolean {
  if (!IPV6.test(address)) return false;
  const halves = address.split('::');
  if (halves.length > 2) return false;
  let groups = 0;
  for (const [index, half] of halves.entries()) {
    if (half === '') continue;
    const parts = half.split(':');
    for (const [at, part] of parts.entries()) {
      const last = index === halves.length - 1 && at === parts.length - 1;
      if (last && isIpv4(part)) groups += 2;
      else if (/^[0-9a-f]{1,4}$/.test(part)) groups += 1;
      else return false;
    }
  }
  return halves.length === 2 ? groups <= 7 : groups === 8;
}

function isIpv4(text: string): boolean {
  const parts = text.split('.');
  return parts.length === 4 && parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
}
