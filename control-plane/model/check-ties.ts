// Rules of which neither is more specific, though both can match one request: which one wins would be chance. Within one
// Route the order of its rules decides, as in the Gateway API, so there only the same match twice is a mistake.
import type { StringMatch } from '../../proto/gen/weft/policy/v1/metadata_pb.js';
import type { NamedMatch, RouteMatch } from '../../proto/gen/weft/policy/v1/route_pb.js';
import { compileRegex } from '../../proto/kit/regex.ts';
import type { Report } from './check.ts';
import { placeOf } from './check.ts';
import type { ServiceIndex } from './names.ts';
import { serviceKey } from './names.ts';
import type { Resource } from './resource.ts';
import { resourceId } from './resource.ts';

/** One match of a rule, in words that can be compared; a rule without any has one that matches everything. */
interface Match {
  readonly route: Resource<'Route'>;
  readonly rulePath: string;
  readonly path: string;
  /** Kind and text; `/a` and `/a/` are one prefix. */
  readonly where: string;
  /** Empty: any. */
  readonly method: string;
  readonly grpc: boolean;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, StringMatch['match']>;
  readonly query: ReadonlyMap<string, StringMatch['match']>;
  /** The same text for matches of the same requests. */
  readonly key: string;
}

/**
 * Reports each match that ties with an earlier one. Routes in `unclear` are left out: what they match is not known. Of
 * two, one that is in `broken` is blamed, since it does not survive anyway; else the later one.
 */
export function checkTies(
  routes: readonly Resource<'Route'>[],
  services: ServiceIndex,
  unclear: ReadonlySet<Resource>,
  broken: ReadonlySet<Resource>,
  report: Report,
): void {
  const taken = new Map<string, Match[]>();
  for (const route of routes) {
    if (unclear.has(route)) continue;
    const names = route.message.spec?.hosts.map((host) => serviceKey(host, route.namespace)) ?? [];
    const hosts = [...new Set(names)].filter((host) => host !== null && services.has(host));
    for (const match of matchesOf(route)) {
      let other: Match | undefined;
      for (const host of hosts) {
        // Only what has the same path and as many conditions can tie.
        const key = `${route.namespace} ${host} ${specificity(match)} ${match.where}`;
        const list = taken.get(key) ?? [];
        taken.set(key, list);
        const tied = list.find((one) => ties(one, match));
        list.push(match);
        if (other === undefined && tied !== undefined) tell(tied, match, host as string, broken, report);
        other ??= tied;
      }
    }
  }
}

function tell(first: Match, second: Match, host: string, broken: ReadonlySet<Resource>, report: Report): void {
  const [kept, blamed] = broken.has(first.route) && !broken.has(second.route) ? [second, first] : [first, second];
  const other = `${kept.rulePath} of ${resourceId(kept.route)} (${placeOf(kept.route, kept.rulePath)})`;
  const same = first.key === second.key;
  report(
    blamed.route,
    blamed.path,
    `ties with ${other} on host ${host}${same ? '' : ': one request can match both, and neither is more specific'}`,
    same
      ? 'make one of the two more specific, or remove it'
      : 'make one of the two more specific, or put both into one Route, where the first rule wins',
  );
}

function ties(one: Match, other: Match): boolean {
  if (one.key === other.key) return true;
  return one.route !== other.route && !excludes(one, other);
}

/** Whether no request can match both, of two with the same path. */
function excludes(one: Match, other: Match): boolean {
  const [a, b] = [one, other].map(({ method, grpc }) => (grpc ? 'POST' : method));
  if (a !== '' && b !== '' && a !== b) return true;
  return differ(one.headers, other.headers) || differ(one.query, other.query);
}

/** Whether some name must have two values that exclude each other. */
function differ(one: Match['headers'], other: Match['headers']): boolean {
  for (const [name, match] of one) {
    const twin = other.get(name);
    if (twin !== undefined && disjoint(match, twin)) return true;
  }
  return false;
}

/** False where it cannot be told, as of two regular expressions. */
function disjoint(a: StringMatch['match'], b: StringMatch['match']): boolean {
  if (a.case === 'exact') return !holds(b, a.value);
  if (b.case === 'exact') return !holds(a, b.value);
  if (a.case === 'prefix' && b.case === 'prefix') return !a.value.startsWith(b.value) && !b.value.startsWith(a.value);
  if (a.case === 'suffix' && b.case === 'suffix') return !a.value.endsWith(b.value) && !b.value.endsWith(a.value);
  return false;
}

function holds(match: StringMatch['match'], value: string): boolean {
  switch (match.case) {
    case 'exact':
      return match.value === value;
    case 'prefix':
      return value.startsWith(match.value);
    case 'suffix':
      return value.endsWith(match.value);
    case 'regex':
      return compileRegex(match.value).regex?.test(value) ?? true;
    case 'present':
    case undefined:
      return true;
  }
}

/** As the sidecar ranks matches of one path (config/compile-table.ts): method, then headers, then query. */
function specificity({ method, grpc, headers, query }: Match): string {
  return `${method !== '' || grpc ? 1 : 0}.${headers.size}.${query.size}`;
}

function matchesOf(route: Resource<'Route'>): Match[] {
  const rules = route.message.spec?.rules ?? [];
  return rules.flatMap((rule, i) => {
    const rulePath = `spec.rules[${i}]`;
    if (rule.matches.length === 0) return [matchOf(route, null, rulePath, rulePath)];
    return rule.matches.map((match, j) => matchOf(route, match, rulePath, `${rulePath}.matches[${j}]`));
  });
}

function matchOf(route: Resource<'Route'>, match: RouteMatch | null, rulePath: string, path: string): Match {
  const headers = named(match?.headers ?? [], true);
  const query = named(match?.query ?? [], false);
  const method = match?.method ?? '';
  const grpc = match?.grpc !== undefined;
  const where = whereOf(match);
  const key = JSON.stringify([where, method, grpc, ...[headers, query].map(sorted)]);
  return { route, rulePath, path, where, method, grpc, headers, query, key };
}

function named(list: readonly NamedMatch[], fold: boolean): Map<string, StringMatch['match']> {
  return new Map(
    list.map(({ name, value }) => [fold ? name.toLowerCase() : name, value?.match ?? { case: undefined }]),
  );
}

function sorted(matches: Match['headers']): string[] {
  return [...matches].map(([name, { case: kind, value }]) => JSON.stringify([name, kind, value])).sort();
}

/** The path that is matched, as config/compile-route.ts makes one of a gRPC name. */
function whereOf(match: RouteMatch | null): string {
  if (match?.grpc) {
    const { service, method } = match.grpc;
    if (service === '') return method === '' ? 'any' : `regex /[^/]+/${method}`;
    return method === '' ? `prefix /${service}` : `exact /${service}/${method}`;
  }
  const path = match?.path?.match;
  if (path?.case === undefined || (path.case === 'prefix' && path.value === '/')) return 'any';
  return `${path.case} ${path.case === 'prefix' ? path.value.replace(/\/$/, '') : path.value}`;
}
