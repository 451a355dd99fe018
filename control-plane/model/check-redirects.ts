// Redirects that lead back to where they started, over any number of Routes. A client follows one after the other, and
// each is looked up anew in the table of the sidecar that it calls through; so here they are followed the same way,
// from one request of each redirecting match, for as long as it is certain which rule answers.
import type { Redirect, RouteRule } from '../../proto/gen/weft/policy/v1/route_pb.js';
import { normalizeHost, parseAuthority } from '../../proto/kit/host.ts';
import type { Report } from './check.ts';
import type { ServiceIndex } from './names.ts';
import { serviceKey } from './names.ts';
import { RedirectTable, type TableMatch } from './redirect-table.ts';
import type { Resource } from './resource.ts';

/** How many redirects a client follows before it gives up (Fetch standard §4.4; curl and browsers: 20 to 50). */
const REDIRECTS_MAX = 20;
/** Any segment: what a request below a matched prefix may have. */
const SOME_PATH = '/any';
/** A caller's namespace that has neither Routes nor Services of its own. */
const ELSEWHERE = '';

/** One request of a client. */
interface Step {
  /** `namespace/name` of the Service that the host names. */
  readonly host: string;
  readonly path: string;
  readonly method: string;
}

/** A step and the redirect that answered it. */
interface Answered {
  readonly step: Step;
  readonly match: TableMatch;
}

/** Reports each redirect that is part of a cycle, once. Hosts that a Route in `broken` decides are not followed. */
export function checkRedirects(
  routes: readonly Resource<'Route'>[],
  services: ServiceIndex,
  broken: ReadonlySet<Resource>,
  report: Report,
): void {
  const tables = new Tables(routes, services, broken);
  const cycles = new Cycles(services, report);
  for (const view of viewsOf(routes, services)) {
    const done = new Set<string>();
    for (const host of tables.hosts) {
      for (const match of tables.of(view, host)?.redirects ?? []) {
        if (changesNothing(match, host, view, services)) cycles.add([{ step: { host, path: '', method: '' }, match }]);
        for (const start of startsOf(match, host)) follow(start, view, tables, services, done, cycles);
      }
    }
  }
}

/**
 * Namespaces of callers that may see different tables: a caller's own Routes go before those of the Service, and a
 * redirect to a bare name means the caller's own Service of that name.
 */
function viewsOf(routes: readonly Resource<'Route'>[], services: ServiceIndex): Set<string> {
  const views = new Set(routes.map((route) => route.namespace));
  const bare = new Set(routes.flatMap((route) => redirectsOf(route).map(({ host }) => normalizeHost(host) ?? '')));
  for (const service of services.values()) if (bare.has(service.name)) views.add(service.namespace);
  return views.add(ELSEWHERE);
}

function redirectsOf(route: Resource<'Route'>): Redirect[] {
  return (route.message.spec?.rules ?? []).flatMap((rule) => redirectOf(rule)?.redirect ?? []);
}

function redirectOf(rule: RouteRule): { readonly index: number; readonly redirect: Redirect } | null {
  const index = rule.filters.findIndex(({ filter }) => filter.case === 'redirect');
  const filter = rule.filters[index]?.filter;
  return filter?.case === 'redirect' ? { index, redirect: filter.value } : null;
}

/** Requests that the match may get. None for what cannot be made up: headers, and a path that an expression describes. */
function startsOf({ kind, path, method, redirect }: TableMatch, host: string): Step[] {
  const rewrite = redirect?.redirect.path?.rewrite;
  const full = rewrite?.case === 'full' ? [rewrite.value] : [];
  const paths = kind === 'exact' ? [path] : kind === 'regex' ? full : [path === '' ? '/' : path, `${path}${SOME_PATH}`];
  return paths.map((one) => ({ host, path: one, method: method === '' ? 'GET' : method }));
}

/** Follows redirects from `start` until something else answers, it is not certain what does, or they lead back. */
function follow(
  start: Step,
  view: string,
  tables: Tables,
  services: ServiceIndex,
  done: Set<string>,
  cycles: Cycles,
): void {
  const chain: Answered[] = [];
  const at = new Map<string, number>();
  let step: Step | null = start;
  while (step !== null) {
    const key: string = `${step.method} ${step.host} ${step.path}`;
    const seen = at.get(key);
    if (seen !== undefined) return cycles.add(chain.slice(seen));
    if (done.has(key)) return;
    done.add(key);
    at.set(key, chain.length);
    const match: TableMatch | null = tables.of(view, step.host)?.lookUp(step.path, step.method) ?? null;
    if (match === null || match.redirect === null) return;
    chain.push({ step, match });
    if (chain.length > REDIRECTS_MAX) return cycles.addEndless(chain);
    step = next(step, match, view, services);
  }
}

/** What a client asks for after a redirect; null when that leaves the mesh. */
function next(step: Step, match: TableMatch, view: string, services: ServiceIndex): Step | null {
  const redirect = match.redirect?.redirect;
  if (redirect === undefined) return null;
  const host = hostAfter(redirect, step.host, view, services);
  const path = match.rewrite(step.path);
  if (host === null || path === null) return null;
  // RFC 9110 §15.4: clients turn a POST into a GET except after 307 and 308.
  const kept = redirect.status === 307 || redirect.status === 308 || step.method === 'HEAD';
  return { host, path, method: kept ? step.method : 'GET' };
}

/** The Service that a redirect from `host` leads to; null: none, or over TLS, which the mesh does not see into. */
function hostAfter(redirect: Redirect, host: string, view: string, services: ServiceIndex): string | null {
  if (redirect.scheme !== '' && redirect.scheme !== 'http') return null;
  const parsed = redirect.host === '' ? null : parseAuthority(redirect.host);
  const target = redirect.host === '' ? host : serviceKey(normalizeHost(redirect.host) ?? '', view);
  const service = target === null ? undefined : services.get(target);
  // 80 is where a URL without a port leads, and the sidecar knows every Service by its bare host.
  const port = redirect.port || (parsed?.port ?? 80);
  const known = port === 80 || service?.message.spec?.ports.some((one) => one.port === port) === true;
  return service !== undefined && known ? target : null;
}

/** The location is the request's own, whatever the rule asked of it. */
function changesNothing(match: TableMatch, host: string, view: string, services: ServiceIndex): boolean {
  const redirect = match.redirect?.redirect;
  return redirect !== undefined && !redirect.path && hostAfter(redirect, host, view, services) === host;
}

/** The tables of all callers, built when asked for. */
class Tables {
  /** Services that some Route decides. */
  readonly hosts: ReadonlySet<string>;
  readonly #byOwner = new Map<string, Resource<'Route'>[]>();
  readonly #tables = new Map<string, RedirectTable | null>();
  readonly #broken: ReadonlySet<Resource>;

  constructor(routes: readonly Resource<'Route'>[], services: ServiceIndex, broken: ReadonlySet<Resource>) {
    this.#broken = broken;
    const hosts = new Set<string>();
    for (const route of routes) {
      for (const host of new Set(route.message.spec?.hosts.map((one) => serviceKey(one, route.namespace)))) {
        if (host === null || !services.has(host)) continue;
        hosts.add(host);
        const owner = `${route.namespace} ${host}`;
        this.#byOwner.set(owner, [...(this.#byOwner.get(owner) ?? []), route]);
      }
    }
    this.hosts = hosts;
  }

  /** What callers of namespace `view` have for a host: their own Routes, else those of the Service's namespace. */
  of(view: string, host: string): RedirectTable | null {
    const own = `${view} ${host}`;
    const owner = this.#byOwner.has(own) ? own : `${host.slice(0, host.indexOf('/'))} ${host}`;
    let table = this.#tables.get(owner);
    if (table === undefined) {
      const routes = this.#byOwner.get(owner) ?? [];
      table = routes.some((route) => this.#broken.has(route)) ? null : new RedirectTable(routes, redirectOf);
      this.#tables.set(owner, table);
    }
    return table;
  }
}

/** Reports what was found, from the point of view of each redirect in it. */
class Cycles {
  readonly #services: ServiceIndex;
  readonly #report: Report;
  readonly #told = new Set<RouteRule>();

  constructor(services: ServiceIndex, report: Report) {
    this.#services = services;
    this.#report = report;
  }

  add(cycle: readonly Answered[]): void {
    for (const [i, { match }] of cycle.entries()) {
      if (this.#told.has(match.rule) || match.redirect === null) continue;
      this.#told.add(match.rule);
      const path = `${match.rulePath}.filters[${match.redirect.index}].redirect`;
      const turned = [...cycle.slice(i), ...cycle.slice(0, i)];
      const others = new Map(turned.filter((one) => one.match.rule !== match.rule).map((one) => [one.match.rule, one]));
      if (others.size === 0) {
        const chain = match.redirect.redirect.path ? ` (${this.#chain(turned, match)})` : '';
        this.#report(
          match.route,
          path,
          `redirects a request to itself, for ever${chain}`,
          'redirect to another host, or to a path that the rule does not match',
        );
        continue;
      }
      const places = [...others.values()].map((one) => placeOf(one.match)).join(', ');
      this.#report(
        match.route,
        path,
        `redirects in a circle: ${this.#chain(turned, match)} (with ${places})`,
        'redirect one of them to a host or path that none of them matches',
      );
    }
  }

  /** Each answer differs from the one before, and none is the last. */
  addEndless(chain: readonly Answered[]): void {
    const last = (chain.at(-1) as Answered).match;
    const from = chain.findIndex(({ match }) => match.rule === last.rule);
    const shown = chain.slice(from, from + 4);
    if (this.#told.has(last.rule) || last.redirect === null) return;
    this.#told.add(last.rule);
    this.#report(
      last.route,
      `${last.rulePath}.filters[${last.redirect.index}].redirect`,
      `redirects more than ${REDIRECTS_MAX} times: ${shown.map(({ step }) => this.#name(step, last)).join(' → ')} → …`,
      'redirect to a host or path that the rule does not match',
    );
  }

  #chain(cycle: readonly Answered[], seenFrom: TableMatch): string {
    const first = cycle[0] as Answered;
    return [...cycle, first].map(({ step }) => this.#name(step, seenFrom)).join(' → ');
  }

  #name({ host, path }: Step, { route }: TableMatch): string {
    const service = this.#services.get(host);
    if (service === undefined) return `${host}${path}`;
    return service.namespace === route.namespace
      ? `${service.name}${path}`
      : `${service.name}.${service.namespace}${path}`;
  }
}

function placeOf({ route, rulePath, redirect }: TableMatch): string {
  const path = `${rulePath}.filters[${redirect?.index ?? 0}].redirect`;
  return `${route.place.file}:${route.place.at(path).line}`;
}
