// From Services and compiled Routes to the table that requests are matched in: every host a caller may write, and
// under it one radix tree of paths.

import type { Service } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { hostsOf } from '../../proto/kit/host.ts';
import type { CompiledHost, CompiledNamedMatch, CompiledRoute, PathNode, RouteTable } from '../proxy/route.ts';
import type { CompileError } from './compile-match.ts';
import type { CompiledRouteResource } from './compile-route.ts';
import { anyRoute, DEFAULT_RULE } from './compile-route.ts';

/** The compiled hosts of a table, kept so that the next one builds only what changed. */
export type HostCache = Map<
  string,
  { readonly resources: readonly CompiledRouteResource[]; readonly built: BuiltHost }
>;

interface BuiltHost {
  readonly host: CompiledHost;
  readonly errors: readonly CompileError[];
}

/** A table and the routes that could not get into it. */
export interface BuiltTable {
  readonly table: RouteTable;
  readonly errors: readonly CompileError[];
}

/**
 * Builds the table. Of two routes that match exactly the same requests the one of the first name stays; the other is an error.
 * @param namespace of this sidecar: its Services may be called by their bare name.
 */
export function buildRouteTable(
  services: readonly Service[],
  resources: readonly CompiledRouteResource[],
  namespace: string,
): BuiltTable {
  const steps = buildTableSteps(services, resources, namespace, new Map());
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

/** As `buildRouteTable`, in steps of well under a millisecond, so that requests go on in between. Hosts whose routes did not change come from `cache`. */
export function* buildTableSteps(
  services: readonly Service[],
  resources: readonly CompiledRouteResource[],
  namespace: string,
  cache: HostCache,
): Generator<void, BuiltTable> {
  const errors: CompileError[] = [];
  const byService = new Map<string, CompiledRouteResource[]>();
  for (const resource of [...resources].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    for (const service of resource.services) {
      const list = byService.get(service);
      if (list === undefined) byService.set(service, [resource]);
      else list.push(resource);
    }
    yield;
  }
  const hosts = new Map<string, CompiledHost>();
  const seen = new Set<string>();
  for (const service of services) {
    const [own, name] = service.name.split('/');
    if (own === undefined || name === undefined || own === '' || name === '') {
      errors.push({ path: 'name', message: `${service.name} is not a resource name: \`namespace/name\`` });
      continue;
    }
    seen.add(service.name);
    const mine = byService.get(service.name) ?? [];
    const cached = cache.get(service.name);
    let built = cached !== undefined && isSameList(cached.resources, mine) ? cached.built : null;
    if (built === null) {
      built = yield* buildHost(service.name, mine);
      cache.set(service.name, { resources: mine, built });
    }
    errors.push(...built.errors);
    for (const text of hostsOf(own, name, namespace)) {
      hosts.set(text, built.host);
      // With a port, too, so that the match needs no new string.
      for (const { port } of service.ports) hosts.set(`${text}:${port}`, built.host);
    }
    yield;
  }
  for (const name of cache.keys()) if (!seen.has(name)) cache.delete(name);
  return { table: { hosts }, errors };
}

function isSameList(one: readonly CompiledRouteResource[], other: readonly CompiledRouteResource[]): boolean {
  return one.length === other.length && one.every((resource, i) => resource === other[i]);
}

function* buildHost(service: string, resources: readonly CompiledRouteResource[]): Generator<void, BuiltHost> {
  const errors: CompileError[] = [];
  const seen = new Map<string, string>();
  const routes: CompiledRoute[] = [];
  for (const resource of resources) {
    for (const route of resource.routes) {
      const key = tieKey(route);
      const first = seen.get(key);
      if (first !== undefined && first !== route.rule.name) {
        errors.push({
          path: route.rule.name,
          message: `matches the same requests to ${service} as ${first}: make one more specific, or remove it`,
        });
      }
      if (first !== undefined) continue;
      seen.set(key, route.rule.name);
      routes.push(route);
    }
    yield;
  }
  // Most specific first: method, then the number of headers, then of query parameters; sort is stable.
  routes.sort((a, b) => specificity(b) - specificity(a));
  const any = routes.filter((route) => route.pathKind === 'any');
  if (resources.length === 0) any.push(anyRoute(DEFAULT_RULE));
  const host = {
    service,
    root: yield* buildTree(routes),
    regexes: routes.filter((route) => route.pathKind === 'regex'),
    any,
  };
  return { host, errors };
}

/** At most 16 headers and 16 parameters in a match, so that each has five bits. */
function specificity(route: CompiledRoute): number {
  const method = route.method !== '' || route.grpc ? 1 : 0;
  return method * 1024 + Math.min(route.headers.length, 31) * 32 + Math.min(route.query.length, 31);
}

function tieKey(route: CompiledRoute): string {
  const named = (matches: readonly CompiledNamedMatch[]): string[] =>
    matches.map((match) => JSON.stringify([match.name, match.value.kind, match.value.text])).sort();
  return JSON.stringify([
    route.pathKind,
    route.path,
    route.method,
    route.grpc,
    named(route.headers),
    named(route.query),
  ]);
}

/** A node while the tree is built. */
interface Draft {
  label: string;
  exact: CompiledRoute[];
  prefix: CompiledRoute[];
  children: Map<number, Draft>;
}

function draft(label: string): Draft {
  return { label, exact: [], prefix: [], children: new Map() };
}

function* buildTree(routes: readonly CompiledRoute[]): Generator<void, PathNode> {
  const root = draft('');
  for (const route of routes) {
    if (route.pathKind !== 'exact' && route.pathKind !== 'prefix') continue;
    insert(root, route.path)[route.pathKind].push(route);
    yield;
  }
  return freeze(root, 0, null);
}

/** The node of `path`, splitting labels on the way. */
function insert(root: Draft, path: string): Draft {
  let node = root;
  let rest = path;
  while (rest !== '') {
    const first = rest.charCodeAt(0);
    const child = node.children.get(first);
    if (child === undefined) {
      const leaf = draft(rest);
      node.children.set(first, leaf);
      return leaf;
    }
    let shared = 1;
    while (shared < child.label.length && shared < rest.length && child.label[shared] === rest[shared]) shared++;
    let next = child;
    if (shared < child.label.length) {
      next = draft(child.label.slice(0, shared));
      child.label = child.label.slice(shared);
      next.children.set(child.label.charCodeAt(0), child);
      node.children.set(first, next);
    }
    node = next;
    rest = rest.slice(shared);
  }
  return node;
}

function freeze(node: Draft, above: number, shorter: PathNode | null): PathNode {
  const children = new Map<number, PathNode>();
  const frozen: PathNode = {
    label: node.label,
    length: above + node.label.length,
    exact: node.exact.length === 0 ? null : node.exact,
    prefix: node.prefix.length === 0 ? null : node.prefix,
    children,
    shorter,
  };
  const next = frozen.prefix === null ? shorter : frozen;
  for (const [first, child] of node.children) children.set(first, freeze(child, frozen.length, next));
  return frozen;
}
