// Routes against Services and against each other: references, weights and ties.
import type { RouteMatch, RouteRule } from '../../proto/gen/weft/policy/v1/route_pb.js';
import { Protocol } from '../../proto/gen/weft/policy/v1/service_pb.js';
import type { Report } from './check.ts';
import { checkRegex, resolveService, seconds } from './check.ts';
import type { ServiceIndex } from './names.ts';
import type { Resource } from './resource.ts';
import { resourceId } from './resource.ts';

/** Reports every mistake of the Routes that shows only beside other resources. Ties are not sought in `broken` ones. */
export function checkRoutes(
  routes: readonly Resource<'Route'>[],
  services: ServiceIndex,
  broken: ReadonlySet<Resource>,
  report: Report,
): void {
  const taken = new Map<string, { route: Resource<'Route'>; path: string }>();
  for (const route of routes) {
    const hosts = hostsOf(route, services, report);
    route.message.spec?.rules.forEach((rule, i) => {
      const path = `spec.rules[${i}]`;
      checkPatterns(route, rule, path, report);
      checkBackends(route, rule, path, services, report);
      checkTimes(route, rule, path, report);
      checkRewrites(route, rule, path, report);
      if (!broken.has(route)) checkTies(route, rule, path, hosts, taken, report);
    });
  }
}

/** The Services, as `namespace/name`, that a Route's hosts name; the same one under two spellings is a mistake. */
function hostsOf(route: Resource<'Route'>, services: ServiceIndex, report: Report): Set<string> {
  const hosts = new Set<string>();
  route.message.spec?.hosts.forEach((host, i) => {
    if (host === '') return;
    const path = `spec.hosts[${i}]`;
    const service = resolveService(route, path, host, services, report);
    if (service === null) return;
    const key = `${service.namespace}/${service.name}`;
    if (hosts.has(key)) report(route, path, `"${host}" is the Service ${key} again`, 'name each Service once');
    hosts.add(key);
  });
  return hosts;
}

function checkBackends(
  route: Resource<'Route'>,
  rule: RouteRule,
  path: string,
  services: ServiceIndex,
  report: Report,
): void {
  rule.backends.forEach((backend, i) => {
    const backendPath = `${path}.backends[${i}]`;
    if (backend.service === '') return;
    const service = resolveService(route, `${backendPath}.service`, backend.service, services, report);
    const ports = service?.message.spec?.ports ?? [];
    if (ports.length === 0) return;
    const numbers = ports.map((port) => port.port);
    if (backend.port !== 0 && !numbers.includes(backend.port)) {
      report(
        route,
        `${backendPath}.port`,
        `Service ${backend.service} has no port ${backend.port}`,
        `write one of ${numbers.join(', ')}`,
      );
    }
    const http = ports.filter((port) => port.protocol !== Protocol.TCP).map((port) => port.port);
    if (backend.port === 0 && http.length !== 1) {
      const count = http.length === 0 ? 'no HTTP port' : `${http.length} HTTP ports`;
      report(
        route,
        `${backendPath}.port`,
        `Service ${backend.service} has ${count}`,
        `add \`port\`: one of ${numbers.join(', ')}`,
      );
    }
  });
  if (rule.backends.length > 0 && rule.backends.every((backend) => backend.weight === 0)) {
    report(
      route,
      `${path}.backends`,
      'the weights add up to 0: no backend could ever be chosen',
      'give one backend a weight above 0',
    );
  }
}

function checkPatterns(route: Resource<'Route'>, rule: RouteRule, path: string, report: Report): void {
  rule.matches.forEach(({ path: pathMatch, headers, query }, i) => {
    const matchPath = `${path}.matches[${i}]`;
    if (pathMatch?.match.case === 'regex') checkRegex(route, `${matchPath}.path.regex`, pathMatch.match.value, report);
    for (const [list, named] of [
      ['headers', headers],
      ['query', query],
    ] as const) {
      named.forEach(({ value }, j) => {
        if (value?.match.case === 'regex')
          checkRegex(route, `${matchPath}.${list}[${j}].value.regex`, value.match.value, report);
      });
    }
  });
}

function checkTimes(route: Resource<'Route'>, rule: RouteRule, path: string, report: Report): void {
  const { request, perTry } = rule.timeouts ?? {};
  if (request && perTry && seconds(request) > 0 && seconds(perTry) > seconds(request)) {
    report(
      route,
      `${path}.timeouts.perTry`,
      'one attempt may take longer than the whole request',
      'make perTry at most request',
    );
  }
  const { backoffBase, backoffMax } = rule.retry ?? {};
  if (backoffBase && backoffMax && seconds(backoffBase) > seconds(backoffMax)) {
    report(
      route,
      `${path}.retry.backoffBase`,
      'backoffBase is longer than backoffMax',
      'make backoffBase at most backoffMax',
    );
  }
}

function checkRewrites(route: Resource<'Route'>, rule: RouteRule, path: string, report: Report): void {
  rule.filters.forEach(({ filter }, i) => {
    if (filter.case !== 'redirect' && filter.case !== 'rewrite') return;
    const rewrite = filter.value.path?.rewrite;
    const prefixed = rule.matches.length > 0 && rule.matches.every((match) => match.path?.match.case === 'prefix');
    if (rewrite?.case !== 'prefix' || prefixed) return;
    report(
      route,
      `${path}.filters[${i}].${filter.case}.path.prefix`,
      'there is no matched prefix to replace',
      'match path.prefix, or use path.full',
    );
  });
}

/** Two rules with the same match on the same host, from the same namespace: which one wins would be chance. */
function checkTies(
  route: Resource<'Route'>,
  rule: RouteRule,
  path: string,
  hosts: ReadonlySet<string>,
  taken: Map<string, { route: Resource<'Route'>; path: string }>,
  report: Report,
): void {
  const matches = rule.matches.length === 0 ? [''] : rule.matches.map(matchKey);
  matches.forEach((match, i) => {
    for (const host of hosts) {
      const key = `${route.namespace} ${host} ${match}`;
      const other = taken.get(key);
      if (other === undefined) {
        taken.set(key, { route, path });
        continue;
      }
      const matchPath = rule.matches.length === 0 ? path : `${path}.matches[${i}]`;
      const where = `${other.route.place.file}:${other.route.place.at(other.path).line}`;
      report(
        route,
        matchPath,
        `ties with ${other.path} of ${resourceId(other.route)} (${where}) on host ${host}`,
        'make one of the two more specific, or remove it',
      );
      return;
    }
  });
}

/** The same text for matches that match the same requests, whatever order they were written in. */
function matchKey(match: RouteMatch): string {
  const path = match.path?.match;
  const wholePath = path?.case === undefined || (path.case === 'prefix' && path.value === '/');
  const named = (list: RouteMatch['headers'], fold: boolean) =>
    list
      .map(({ name, value }) =>
        JSON.stringify([fold ? name.toLowerCase() : name, value?.match.case, value?.match.value]),
      )
      .sort();
  const headers = named(match.headers, true);
  const query = named(match.query, false);
  const grpc = match.grpc ? [match.grpc.service, match.grpc.method] : null;
  if (wholePath && match.method === '' && headers.length + query.length === 0 && grpc === null) return '';
  return JSON.stringify([wholePath ? null : [path.case, path.value], match.method, headers, query, grpc]);
}
