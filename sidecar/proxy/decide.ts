// HOT: the decision about one request, before anything is sent: which rule, which destination, or why not. `explain`
// asks the same functions, so that what it says is what happens.

import { normalizeHost } from '../../proto/kit/host.ts';
import type { Destination, ServiceState, Snapshot } from '../config/snapshot.ts';
import { INBOUND_RULE, TCP_RULE } from '../config/snapshot.ts';
import { authorize } from '../filters/authorization/run.ts';
import { ProxyError } from '../wire/error.ts';
import type { Head } from '../wire/stream.ts';
import type { Origin } from './origin.ts';
import type { CompiledBackend, CompiledHost, CompiledRoute, CompiledRule } from './route.ts';
import { matchHost, matchInHost, pickBackend } from './route.ts';

/** Where a request goes and how. */
export interface Decision {
  readonly rule: CompiledRule;
  readonly destination: Destination;
  /** Only endpoints with these labels. */
  readonly labels: readonly string[];
}

/** RFC 9110 §4.2.1 and §4.2.2: what a client means that names no port, and some name it all the same. */
const HTTP_PORT = 80;
const HTTPS_PORT = 443;

export const NO_LABELS: readonly string[] = [];

/** The host key under which the table always knows a Service: `name.namespace`. */
export function hostOf(service: string): string {
  const slash = service.indexOf('/');
  return `${service.slice(slash + 1)}.${service.slice(0, slash)}`;
}

/** The host that an outbound request is for. @param fixed the origin's Service as `hostOf` says it, or empty. */
export function findHost(snapshot: Snapshot, fixed: string, authority: string): CompiledHost | ProxyError {
  const host = fixed === '' ? matchHost(snapshot.table, authority) : (snapshot.table.hosts.get(fixed) ?? null);
  if (host !== null) return host;
  const name = fixed === '' ? authority : fixed;
  const detail =
    name === ''
      ? 'the request names no host: send a Host header with the name of a Service'
      : `no Service of this mesh is called ${name}, or its Authorization does not let this identity call it: \`weft get services\` lists them`;
  return new ProxyError('noRoute', 'local', detail);
}

/**
 * The port of `service` that an outbound request names; 0: none, or one that says nothing: many clients always name a port,
 * be it the one that they dial or the scheme's default.
 * @param dialed the port of the listener, as in `orders.localhost:15001`.
 */
export function findPort(snapshot: Snapshot, service: string, authority: string, dialed: number): number | ProxyError {
  const named = portInAuthority(authority);
  const state = snapshot.services.get(service);
  if (named === 0 || state === undefined || state.ports.has(named)) return named;
  if (named === dialed || named === HTTP_PORT || named === HTTPS_PORT) return 0;
  const ports = Array.from(state.ports.keys()).join(', ');
  const detail = `${service} has no port ${named}; its ports are: ${ports}. Name one of them, or none for its first HTTP port`;
  return new ProxyError('noRoute', 'local', detail);
}

/** The route of an outbound request to `host`. */
export function findRoute(host: CompiledHost, head: Head): CompiledRoute | ProxyError {
  const route = matchInHost(host, head);
  if (route !== null) return route;
  return new ProxyError(
    'noRoute',
    'local',
    `no rule of ${host.service} matches ${head.method} and this path: \`weft explain\` says why`,
  );
}

/** Which backend of `rule` gets the request. @param random in [0, 1). @param port that the caller named; 0: none. */
export function chooseDestination(
  snapshot: Snapshot,
  host: CompiledHost,
  rule: CompiledRule,
  port: number,
  random: number,
): Decision | ProxyError {
  if (rule.backends.length === 0) return destinationOf(snapshot, host, rule, null, port);
  const backend = pickBackend(rule.backends, random);
  if (backend === null) return new ProxyError('noRoute', 'local', `all weights of ${rule.name} are 0`);
  return destinationOf(snapshot, host, rule, backend, port);
}

/** Where one backend of `rule` leads; null: the host's own Service. */
export function destinationOf(
  snapshot: Snapshot,
  host: CompiledHost,
  rule: CompiledRule,
  backend: CompiledBackend | null,
  port: number,
): Decision | ProxyError {
  const name = backend?.service ?? host.service;
  // The caller's port is one of its host: another Service has its own.
  const wanted = backend === null || (backend.port === 0 && name === host.service) ? port : backend.port;
  const service = snapshot.services.get(name);
  if (service === undefined) {
    const detail = `${rule.name} sends to ${name}, which this sidecar does not know: does its Authorization let this identity call it?`;
    return new ProxyError('noEndpoint', 'local', detail);
  }
  const destination = portOf(service, wanted);
  if (destination !== null && destination.protocol !== 'tcp') {
    return { rule, destination, labels: backend?.labels ?? NO_LABELS };
  }
  return new ProxyError('noRoute', 'local', noHttp(service, destination));
}

/** The Service's port, or its first HTTP port where it has no such port or none was asked for. */
export function portOf(service: ServiceState, port: number): Destination | null {
  return (port === 0 ? undefined : service.ports.get(port)) ?? service.http;
}

/** What a TLS connection that is not ended here is sent to, and how that is counted. */
export type NamedTarget =
  | { readonly outcome: 'routed'; readonly destination: Destination }
  | { readonly outcome: 'unknown' | 'otherService' | 'noOpaquePort'; readonly error: ProxyError };

/**
 * Where TLS goes that names this server: to the Service of this host, or the one whose endpoints come from this name in DNS.
 * Of its opaque ports the one that was asked for, else 443, else the first.
 * @param origin its Service, if any, must be the one that is named.
 */
export function findByServerName(
  snapshot: Snapshot,
  { service: fixed, port }: Pick<Origin, 'service' | 'port'>,
  name: string,
): NamedTarget {
  const service = matchHost(snapshot.table, name)?.service ?? snapshot.serverNames.get(name);
  const refused = (outcome: 'unknown' | 'otherService' | 'noOpaquePort', detail: string): NamedTarget => ({
    outcome,
    error: new ProxyError('noRoute', 'local', detail),
  });
  const state = service === undefined ? undefined : snapshot.services.get(service);
  if (state === undefined) {
    const detail = `no Service of this mesh has the host ${name}, or its Authorization does not let this identity call it: \`weft get services\` lists them`;
    return refused('unknown', detail);
  }
  if (fixed !== '' && fixed !== state.name)
    return refused('otherService', `the TLS server name ${name} is ${state.name}, and the connection is to ${fixed}`);
  let destination = state.ports.get(port) ?? state.ports.get(HTTPS_PORT);
  if (destination?.protocol !== 'tcp') {
    destination = undefined;
    for (const one of state.ports.values()) if (one.protocol === 'tcp') destination ??= one;
  }
  if (destination !== undefined) return { outcome: 'routed', destination };
  const detail = `${state.name} has no port of protocol PROTOCOL_TCP, and TLS that an application makes itself is sent to no other: call it without TLS, which the mesh adds`;
  return refused('noOpaquePort', detail);
}

/** The name in `host[:port]`. */
export function nameIn(authority: string): string {
  return portInAuthority(authority) === 0 ? authority : authority.slice(0, authority.lastIndexOf(':'));
}

/** The port in `host:port`; 0 without one. */
export function portInAuthority(authority: string): number {
  const colon = authority.lastIndexOf(':');
  // Slow path: most callers name no port. The colons of an IPv6 literal stand before its bracket.
  if (colon < 0 || colon < authority.lastIndexOf(']')) return 0;
  const port = Number(authority.slice(colon + 1));
  return Number.isInteger(port) && port <= 65_535 ? port : 0;
}

/**
 * Whether an inbound request is let in, and to which application. A refused one names policy and rule.
 * @param path normalized, without the query.
 */
export function admit(snapshot: Snapshot, origin: Origin, head: Head, path: string): Decision | ProxyError {
  const own = snapshot.ownServices.get(origin.service);
  const port = own?.ports.get(origin.port);
  if (own === undefined || port === undefined) {
    const detail = `no application here serves port ${origin.port} of ${origin.service}: was it given by --app?`;
    return new ProxyError('misdirected', 'local', detail);
  }
  const elsewhere = misdirected(snapshot, origin, head);
  if (elsewhere !== null) return elsewhere;
  const opaque = isConnect(head);
  const protocol = port.protocol === 'detect' ? (origin.spoken ?? 'tcp') : port.protocol;
  if (opaque !== (protocol === 'tcp')) {
    const spoken = opaque ? 'speaks HTTP, and CONNECT is for opaque TCP' : 'is opaque TCP, and takes CONNECT only';
    return new ProxyError('misdirected', 'local', `port ${origin.port} of ${origin.service} ${spoken}`);
  }
  const verdict = authorize(own.authorization, origin.peer, head.method, path, origin.port);
  if (!verdict.allowed) return new ProxyError('denied', 'local', verdict.rule);
  if (opaque) return { rule: opaqueRule(port.destination), destination: port.destination, labels: NO_LABELS };
  const destination = protocol === 'http1' || protocol === 'http2' ? port.spoken?.[protocol] : undefined;
  return { rule: INBOUND_RULE, destination: destination ?? port.destination, labels: NO_LABELS };
}

/**
 * Null: the request is for the Service of its connection. Whoever proved an identity is a sidecar, which calls a Service by
 * a name of its own (RFC 9110 §7.4): any other is of another Service, known here or not. Strangers on SIMPLE and OFF ports
 * call it as their DNS does, and what is inside a DETECT tunnel was never read by the caller's sidecar.
 */
export function misdirected(snapshot: Snapshot, origin: Origin, head: Head): ProxyError | null {
  const { authority } = head;
  const hosts = snapshot.ownServices.get(origin.service)?.hosts;
  if (hosts?.has(authority) === true) return null;
  const host = matchHost(snapshot.table, authority);
  if (host !== null && host.service === origin.service) return null;
  // Slow path: a host that a Route wrote there, with a port, or one that is not to be let in.
  if (hosts?.has(normalizeHost(authority) ?? '') === true) return null;
  if (host !== null) {
    return new ProxyError('misdirected', 'local', `${authority} is ${host.service}, not ${origin.service}`);
  }
  if (hosts === undefined || origin.peer === null || origin.spoken !== undefined || authority === '') return null;
  const detail = `${authority} is no host of ${origin.service}: call it by its name, or by one that a Route that sends to it writes (rewrite.host)`;
  return new ProxyError('misdirected', 'local', detail);
}

/** A CONNECT that opens a tunnel, and not one with `:protocol` (RFC 8441). */
export function isConnect(head: Head): boolean {
  return head.method === 'CONNECT' && head.protocol === '';
}

/** How long an opaque connection may be quiet. */
export function opaqueRule({ opaque }: Destination): CompiledRule {
  return opaque === undefined ? TCP_RULE : opaque.rule;
}

function noHttp(service: ServiceState, destination: Destination | null): string {
  if (destination === null) return `${service.name} has no port that speaks HTTP`;
  return `port ${destination.port} of ${service.name} is opaque TCP to callers (protocol PROTOCOL_TCP or PROTOCOL_DETECT): use CONNECT or a local port`;
}
