// Routes against Services: references, weights and times.
import type { Backend, RouteRule } from '../../proto/gen/weft/policy/v1/route_pb.js';
import type { ServicePort } from '../../proto/gen/weft/policy/v1/service_pb.js';
import type { Report } from './check.ts';
import { checkRuleNames, resolveService, seconds } from './check.ts';
import { checkFilters } from './check-filters.ts';
import { checkMatches } from './check-matches.ts';
import { isOpaque } from './check-opaque.ts';
import type { ServiceIndex } from './names.ts';
import type { Resource } from './resource.ts';
import { resourceId } from './resource.ts';

/** What holds when a rule says nothing of it, in seconds (route.proto). */
const REQUEST_TIMEOUT_S = 15;
const BACKOFF_BASE_S = 0.025;

/**
 * Reports every mistake of the Routes that shows only beside other resources.
 * @param fields of broken Routes that have a mistake.
 */
export function checkRoutes(
  routes: readonly Resource<'Route'>[],
  services: ServiceIndex,
  broken: ReadonlySet<Resource>,
  fields: ReadonlyMap<Resource, readonly string[]>,
  report: Report,
): void {
  for (const route of routes) {
    const mistakes = fields.get(route) ?? [];
    checkHosts(route, services, broken, report);
    checkRuleNames(route, route.message.spec?.rules ?? [], report);
    route.message.spec?.rules.forEach((rule, i) => {
      const path = `spec.rules[${i}]`;
      checkMatches(route, rule, path, report);
      checkFilters(route, rule, path, report);
      checkBackends(route, rule, path, services, broken, mistakes, report);
      checkTimes(route, rule, path, report);
    });
  }
}

/** Each host must name a Service that speaks HTTP; the same one under two spellings is a mistake. */
function checkHosts(
  route: Resource<'Route'>,
  services: ServiceIndex,
  broken: ReadonlySet<Resource>,
  report: Report,
): void {
  const hosts = new Set<string>();
  route.message.spec?.hosts.forEach((host, i) => {
    if (host === '') return;
    const path = `spec.hosts[${i}]`;
    const service = resolveService(route, path, host, services, report);
    if (service === null) return;
    const key = `${service.namespace}/${service.name}`;
    if (hosts.has(key)) report(route, path, `"${host}" is the Service ${key} again`, 'name each Service once');
    hosts.add(key);
    const ports = service.message.spec?.ports ?? [];
    if (!broken.has(service) && ports.length > 0 && httpPorts(ports).length === 0) {
      report(
        route,
        path,
        `${host} is opaque TCP, which no Route decides`,
        'remove it, or correct the protocol of its port',
      );
    }
  });
}

function checkBackends(
  route: Resource<'Route'>,
  rule: RouteRule,
  path: string,
  services: ServiceIndex,
  broken: ReadonlySet<Resource>,
  mistakes: readonly string[],
  report: Report,
): void {
  const seen = new Map<string, number>();
  rule.backends.forEach((backend, i) => {
    const backendPath = `${path}.backends[${i}]`;
    if (backend.service === '') return;
    const service = resolveService(route, `${backendPath}.service`, backend.service, services, report);
    if (service === null) return;
    const key = JSON.stringify([resourceId(service), backend.port, Object.entries(backend.labels).sort()]);
    const first = seen.get(key);
    // What is wrong in one of the two may be what tells them apart.
    if (!mistakes.some((mistake) => mistake.startsWith(`${backendPath}.`))) {
      if (first !== undefined)
        report(route, backendPath, `the same as backends[${first}]`, 'remove one of the two, and add up the weights');
      seen.set(key, first ?? i);
    }
    // A Service with mistakes of its own may yet get the port.
    if (!broken.has(service)) checkBackendPort(route, backend, service, `${backendPath}.port`, report);
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

function checkBackendPort(
  route: Resource<'Route'>,
  { service: name, port }: Backend,
  service: Resource<'Service'>,
  path: string,
  report: Report,
): void {
  const ports = service.message.spec?.ports ?? [];
  if (ports.length === 0) return;
  const http = httpPorts(ports);
  const write = (numbers: readonly number[]) =>
    numbers.length > 0 ? `one of ${numbers.join(', ')}` : 'a Service that speaks HTTP';
  const found = ports.find((one) => one.port === port);
  if (port === 0 && http.length !== 1) {
    const count = http.length === 0 ? 'no HTTP port' : `${http.length} HTTP ports`;
    const fix = http.length === 0 ? 'name a Service that speaks HTTP' : `add \`port\`: ${write(http)}`;
    report(route, path, `Service ${name} has ${count}`, fix);
  } else if (port !== 0 && found === undefined) {
    report(route, path, `Service ${name} has no port ${port}`, `write ${write(http)}`);
  } else if (found !== undefined && isOpaque(found)) {
    report(
      route,
      path,
      `port ${port} of ${name} is opaque TCP to callers, which no Route reaches`,
      `write ${write(http)}`,
    );
  }
}

function httpPorts(ports: readonly ServicePort[]): number[] {
  return ports.filter((port) => !isOpaque(port)).map((port) => port.port);
}

function checkTimes(route: Resource<'Route'>, rule: RouteRule, path: string, report: Report): void {
  const { request, perTry } = rule.timeouts ?? {};
  const requestS = request ? seconds(request) : REQUEST_TIMEOUT_S;
  if (perTry && requestS > 0 && seconds(perTry) > requestS) {
    report(
      route,
      `${path}.timeouts.perTry`,
      `one attempt may take longer than the whole request (${requestS} s)`,
      request ? 'make perTry at most request' : 'add a longer request, or shorten perTry',
    );
  }
  const { attempts, on = [], backoffBase, backoffMax } = rule.retry ?? {};
  const baseS = backoffBase ? seconds(backoffBase) : BACKOFF_BASE_S;
  if (backoffMax && baseS > seconds(backoffMax)) {
    report(
      route,
      `${path}.retry.${backoffBase ? 'backoffBase' : 'backoffMax'}`,
      `backoffBase (${baseS} s) is longer than backoffMax`,
      backoffBase ? 'make backoffBase at most backoffMax' : 'add a shorter backoffBase',
    );
  }
  if (attempts === 0 && on.length > 0)
    report(route, `${path}.retry.on`, 'never used: attempts is 0', 'raise attempts, or remove on');
}
