// HOT: which rule decides a request. Everything is compiled when config changes; a match by exact path or prefix
// follows pointers through one radix tree and allocates nothing. Paths are the normalized ones, which are also what
// is authorized and forwarded.

import { normalizeHost } from '../../proto/kit/host.ts';
import type { CompiledFilters } from '../filters/registry.ts';
import type { CompiledStringMatch, RegexMatcher } from '../filters/string-match.ts';
import { matchString } from '../filters/string-match.ts';
import type { HeaderList } from '../wire/headers.ts';
import { headerValue, headerValues } from '../wire/headers.ts';
import type { Head } from '../wire/stream.ts';

/** A field or query parameter that must match; all values of a field count, joined (CVE-2021-32777). */
export interface CompiledNamedMatch {
  /** Header: lower-case. Query: decoded. */
  readonly name: string;
  readonly value: CompiledStringMatch;
}

/** One weighted target. */
export interface CompiledBackend {
  /** Resource name of the Service, `namespace/name`. */
  readonly service: string;
  /** 0: the port that the caller named, or the Service's only HTTP port. */
  readonly port: number;
  /** Sum of the weights up to and with this one. */
  readonly cumulativeWeight: number;
  /** Flat `[label, value, ...]`; only endpoints with these. Empty: all. */
  readonly labels: readonly string[];
}

/** When another attempt is allowed; the budget and the wire have their say, too. */
export interface CompiledRetry {
  /** Attempts after the first. */
  readonly attempts: number;
  readonly onConnectFailure: boolean;
  readonly onGatewayError: boolean;
  readonly onReset: boolean;
  readonly onUnavailable: boolean;
  /** 429. */
  readonly onRateLimited: boolean;
  readonly nonIdempotent: boolean;
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
}

/** What happens to a request that a rule decides. */
export interface CompiledRule {
  /** `namespace/name#rule`, for logs and `explain`. */
  readonly name: string;
  readonly filters: CompiledFilters;
  /** Empty: the Service that the host names. */
  readonly backends: readonly CompiledBackend[];
  /** To the response head, over all attempts; 0: none. */
  readonly requestTimeoutMs: number;
  /** One attempt; 0: the rest of the request's. */
  readonly perTryTimeoutMs: number;
  /** No byte either way; 0: none. */
  readonly idleTimeoutMs: number;
  readonly retry: CompiledRetry;
}

/** How a route matches the path. */
export type PathKind = 'exact' | 'prefix' | 'regex' | 'any';

/** One match of one rule. */
export interface CompiledRoute {
  readonly rule: CompiledRule;
  readonly pathKind: PathKind;
  /** A prefix has no trailing slash; empty for `any`. */
  readonly path: string;
  readonly regex: RegexMatcher | null;
  /** Empty: any. */
  readonly method: string;
  readonly headers: readonly CompiledNamedMatch[];
  readonly query: readonly CompiledNamedMatch[];
  /** Only POST with a gRPC content type. */
  readonly grpc: boolean;
}

/** A node of the path tree. Lists are ordered, most specific first; empty lists are null. */
export interface PathNode {
  readonly label: string;
  /** Length of the path down to and with this node. */
  readonly length: number;
  readonly exact: readonly CompiledRoute[] | null;
  readonly prefix: readonly CompiledRoute[] | null;
  /** By the first character code of their label. */
  readonly children: ReadonlyMap<number, PathNode>;
  /** The next node up that has prefix routes. */
  readonly shorter: PathNode | null;
}

/** All routes of one host. */
export interface CompiledHost {
  /** Resource name of the Service that the host names. */
  readonly service: string;
  readonly root: PathNode;
  readonly regexes: readonly CompiledRoute[];
  /** Without a path, and what holds when nothing else does; ordered. */
  readonly any: readonly CompiledRoute[];
}

/** Hosts as callers write them, lower-case, with and without the Service's ports. */
export interface RouteTable {
  readonly hosts: ReadonlyMap<string, CompiledHost>;
}

/** The host of an authority: by its whole text first, which is free, then normalized and without its port. Null: not known. */
export function matchHost(table: RouteTable, authority: string): CompiledHost | null {
  const whole = table.hosts.get(authority);
  if (whole !== undefined) return whole;
  // Slow path: a port that the Service does not have, `name.localhost`, a final dot.
  const host = normalizeHost(authority);
  return host === null ? null : (table.hosts.get(host) ?? null);
}

/** The route that decides a request, or null. Exact path, longest prefix, regex, any; in each by method, headers, query. */
export function matchRoute(table: RouteTable, head: Head): CompiledRoute | null {
  const host = matchHost(table, head.authority);
  return host === null ? null : matchInHost(host, head);
}

/** As `matchRoute`, for a host that is already known. */
export function matchInHost(host: CompiledHost, head: Head): CompiledRoute | null {
  const path = head.path;
  const mark = path.indexOf('?');
  const end = mark < 0 ? path.length : mark;
  let node = host.root;
  let prefix: PathNode | null = null;
  while (true) {
    if (node.prefix !== null) prefix = node;
    if (node.length === end) {
      const exact = node.exact === null ? null : firstOf(node.exact, head, end);
      if (exact !== null) return exact;
      break;
    }
    const child = node.children.get(path.charCodeAt(node.length));
    if (child === undefined || child.length > end || !path.startsWith(child.label, node.length)) break;
    node = child;
  }
  for (; prefix !== null; prefix = prefix.shorter) {
    // Whole segments: `/a` is no prefix of `/ab`. 47 is the slash.
    if (prefix.length !== end && path.charCodeAt(prefix.length) !== 47) continue;
    const found = firstOf(prefix.prefix as readonly CompiledRoute[], head, end);
    if (found !== null) return found;
  }
  if (host.regexes.length > 0) {
    const plain = path.slice(0, end);
    for (const route of host.regexes) {
      if (route.regex?.test(plain) === true && mismatch(route, head, end) === null) return route;
    }
  }
  return firstOf(host.any, head, end);
}

/**
 * The backend of one request by weight; null when no backend has weight.
 * @param random in [0, 1).
 */
export function pickBackend(backends: readonly CompiledBackend[], random: number): CompiledBackend | null {
  const total = backends.length === 0 ? 0 : (backends[backends.length - 1] as CompiledBackend).cumulativeWeight;
  const point = random * total;
  for (const backend of backends) if (point < backend.cumulativeWeight) return backend;
  return null;
}

/** One line of `weft explain`: a route that was looked at, and why it was not taken; null for the one that was. */
export interface RouteReason {
  readonly rule: string;
  readonly match: string;
  readonly rejected: string | null;
}

/** Cold: the decision of `matchRoute` with the reason for each route of the host, in the order in which they are tried. */
export function explainRoute(
  table: RouteTable,
  head: Head,
): {
  readonly host: CompiledHost | null;
  readonly route: CompiledRoute | null;
  readonly reasons: readonly RouteReason[];
} {
  const host = matchHost(table, head.authority);
  if (host === null) return { host, route: null, reasons: [] };
  const route = matchInHost(host, head);
  const mark = head.path.indexOf('?');
  const end = mark < 0 ? head.path.length : mark;
  const plain = head.path.slice(0, end);
  const reasons: RouteReason[] = [];
  let taken = false;
  for (const candidate of routesOf(host)) {
    const match = `${candidate.method} ${candidate.pathKind} ${candidate.path}`.trim();
    let rejected = pathMismatch(candidate, plain) ?? mismatch(candidate, head, end);
    if (candidate === route) taken = true;
    else if (rejected === null && taken) rejected = 'a more specific route was taken';
    reasons.push({ rule: candidate.rule.name, match, rejected });
  }
  return { host, route, reasons };
}

function firstOf(routes: readonly CompiledRoute[], head: Head, pathEnd: number): CompiledRoute | null {
  for (const route of routes) if (mismatch(route, head, pathEnd) === null) return route;
  return null;
}

/** Why everything but the path does not match; null when it does. Constant texts, so that asking is free. */
function mismatch(route: CompiledRoute, head: Head, pathEnd: number): string | null {
  if (route.method !== '' && route.method !== head.method) return 'method differs';
  if (route.grpc) {
    if (head.method !== 'POST') return 'not a gRPC call: method differs';
    if (!isGrpc(headerValue(head.headers, 'content-type'))) return 'not a gRPC call: content-type differs';
  }
  if (route.headers.length > 0 && !matchHeaders(route.headers, head.headers)) return 'a header differs';
  if (route.query.length > 0 && !matchQuery(route.query, head.path, pathEnd)) return 'a query parameter differs';
  return null;
}

function isGrpc(contentType: string | undefined): boolean {
  return contentType?.startsWith('application/grpc') ?? false;
}

function matchHeaders(matches: readonly CompiledNamedMatch[], headers: HeaderList): boolean {
  for (const match of matches) if (!matchString(match.value, headerValues(headers, match.name))) return false;
  return true;
}

// Slow path: few routes match on the query. The first parameter of a name counts (Gateway API).
function matchQuery(matches: readonly CompiledNamedMatch[], path: string, pathEnd: number): boolean {
  if (pathEnd >= path.length) return false;
  const query = new URLSearchParams(path.slice(pathEnd + 1));
  for (const match of matches) if (!matchString(match.value, query.get(match.name) ?? undefined)) return false;
  return true;
}

function pathMismatch(route: CompiledRoute, plain: string): string | null {
  switch (route.pathKind) {
    case 'exact':
      return route.path === plain ? null : 'path differs';
    case 'prefix':
      return plain === route.path || plain.startsWith(`${route.path}/`) ? null : 'path has another prefix';
    case 'regex':
      return route.regex?.test(plain) === true ? null : 'path does not match the expression';
    case 'any':
      return null;
  }
}

function routesOf(host: CompiledHost): CompiledRoute[] {
  const exact: CompiledRoute[] = [];
  const prefix: CompiledRoute[] = [];
  const visit = (node: PathNode): void => {
    if (node.exact !== null) exact.push(...node.exact);
    if (node.prefix !== null) prefix.push(...node.prefix);
    for (const child of node.children.values()) visit(child);
  };
  visit(host.root);
  prefix.sort((a, b) => b.path.length - a.path.length);
  return [...exact, ...prefix, ...host.regexes, ...host.any];
}
