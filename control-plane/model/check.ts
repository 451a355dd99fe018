// What a single document cannot know: whether the names it uses exist, and whether two policies contradict each other.
// Pure and total: every mistake is returned, and only the resources that have one are left out.
import type { Mistake } from '../../proto/kit/mistake.ts';
import type { PathPart } from '../../proto/kit/path.ts';
import { pathMistake } from '../../proto/kit/path.ts';
import { compileRegex } from '../../proto/kit/regex.ts';
import { checkAuthorization } from './check-authorization.ts';
import { checkModels, checkProvider } from './check-models.ts';
import { checkRedirects } from './check-redirects.ts';
import { checkRoutes } from './check-routes.ts';
import { checkServices } from './check-services.ts';
import { checkTelemetry } from './check-targets.ts';
import { checkTies } from './check-ties.ts';
import type { ServiceIndex } from './names.ts';
import { serviceFix, serviceKey } from './names.ts';
import type { Kind, Problem, Resource } from './resource.ts';
import { problemAt, resourceId } from './resource.ts';

/** What survives, and why the rest does not. */
export interface Checked {
  readonly resources: Resource[];
  readonly problems: Problem[];
}

/** Reports a problem with a field of a resource. */
export type Report = (resource: Resource, fieldPath: string, message: string, fix: string) => void;

/**
 * Checks resources against each other. Those in `broken` already have a problem: their names exist for others, and
 * their references are checked, but they do not survive. A reference to a broken resource is no mistake of its own.
 * @param fields of broken resources that have a mistake; of one that is not listed, every field may have.
 */
export function check(
  all: readonly Resource[],
  broken: ReadonlySet<Resource>,
  fields: ReadonlyMap<Resource, readonly string[]> = new Map(),
): Checked {
  const problems: Problem[] = [];
  const bad = new Map([...broken].map((resource) => [resource, [...(fields.get(resource) ?? [''])]]));
  const report: Report = (resource, fieldPath, message, fix) => {
    problems.push(problemAt(resource, fieldPath, message, fix));
    const paths = bad.get(resource);
    if (paths === undefined) bad.set(resource, [fieldPath]);
    else paths.push(fieldPath);
  };
  /** Those of which it is not known what they do, since a mistake is elsewhere than in `harmless`. */
  const unclear = (harmless: RegExp): Set<Resource> =>
    new Set([...bad].flatMap(([resource, paths]) => (paths.every((path) => harmless.test(path)) ? [] : [resource])));
  const unmatched = unclear(MATCHES_NOTHING);
  checkDuplicates(all, report);
  const services: ServiceIndex = new Map(
    of(all, 'Service').map((service) => [`${service.namespace}/${service.name}`, service]),
  );
  checkServices(of(all, 'Service'), of(all, 'Authorization'), services, report);
  for (const policy of of(all, 'Authorization')) checkAuthorization(policy, services, broken, report);
  const routes = of(all, 'Route');
  checkRoutes(routes, services, broken, fields, report);
  checkTies(routes, services, unmatched, broken, report);
  checkRedirects(routes, services, unclear(ANSWERS_NOTHING), report);
  for (const provider of of(all, 'Provider')) checkProvider(provider, report);
  checkModels(of(all, 'Model'), of(all, 'Provider'), report);
  checkTelemetry(of(all, 'Telemetry'), services, broken, report);
  return { resources: all.filter((resource) => !bad.has(resource)), problems };
}

/** Fields of a Route that do not decide which requests it matches. What is not known by name may be a misspelt match. */
const MATCHES_NOTHING = /^(?:metadata\.labels|spec\.rules\[\d+\]\.(?:name|filters|backends|timeouts|retry))(?:[.[]|$)/;

/** Those that do not decide either whether it redirects, and where to. */
const ANSWERS_NOTHING = /^(?:metadata\.labels|spec\.rules\[\d+\]\.(?:name|backends|timeouts|retry))(?:[.[]|$)/;

/** The resources of one kind, in order. */
export function of<K extends Kind>(all: readonly Resource[], kind: K): Resource<K>[] {
  return all.filter((resource): resource is Resource<K> & Resource => resource.kind === kind);
}

/** Where a field was written, as messages name it. */
export function placeOf(resource: Resource, path: string): string {
  return `${resource.place.file}:${resource.place.at(path).line}`;
}

/** Both lose: which of the two was meant is not ours to guess. */
function checkDuplicates(all: readonly Resource[], report: Report): void {
  const first = new Map<string, Resource>();
  const told = new Set<Resource>();
  for (const resource of all) {
    const id = resourceId(resource);
    const other = first.get(id);
    first.set(id, other ?? resource);
    if (other === undefined) continue;
    report(
      resource,
      'metadata.name',
      `${id} is already defined at ${placeOf(other, 'metadata.name')}`,
      'rename or remove one of the two',
    );
    if (told.has(other)) continue;
    told.add(other);
    report(
      other,
      'metadata.name',
      `${id} is defined again at ${placeOf(resource, 'metadata.name')}`,
      'rename or remove one of the two',
    );
  }
}

/** A protobuf Duration in seconds. */
export function seconds(duration: { readonly seconds: bigint; readonly nanos: number }): number {
  return Number(duration.seconds) + duration.nanos / 1e9;
}

/** Reports a host that names no Service; returns the Service when it does. */
export function resolveService(
  resource: Resource,
  fieldPath: string,
  host: string,
  services: ServiceIndex,
  report: Report,
): Resource<'Service'> | null {
  const key = serviceKey(host, resource.namespace);
  const service = key === null ? undefined : services.get(key);
  if (service !== undefined) return service;
  const message = key === null ? `"${host}" is not a mesh host` : `there is no Service ${key}`;
  report(resource, fieldPath, message, serviceFix(host, resource.namespace, services));
  return null;
}

/** Reports a mistake of the grammar that both programs share; null is none. */
export function note(resource: Resource, fieldPath: string, mistake: Mistake | null, report: Report): void {
  if (mistake !== null) report(resource, fieldPath, mistake.message, mistake.fix);
}

/** Reports a literal path, or the beginning or end of one, that no request can have. An empty one is a rule of the schema. */
export function checkPath(resource: Resource, fieldPath: string, value: string, part: PathPart, report: Report): void {
  if (value !== '' || part === 'whole') note(resource, fieldPath, pathMistake(value, part), report);
}

/** As `checkRegex`, and reports a pattern that matches no path: it must match all of one, which begins with a slash. */
export function checkPathRegex(resource: Resource, fieldPath: string, pattern: string, report: Report): void {
  checkRegex(resource, fieldPath, pattern, report);
  if (pattern === '' || compileRegex(pattern).regex?.canBegin('/') !== false) return;
  report(resource, fieldPath, 'matches no path, since every path begins with "/"', `write \`/${pattern}\``);
}

/** Reports names that are there twice, also where one is the `rule-<index>` that a rule without a name has. */
export function checkRuleNames(resource: Resource, rules: readonly { readonly name: string }[], report: Report): void {
  const names = rules.map(({ name }, i) => (name === '' ? `rule-${i}` : name));
  rules.forEach(({ name }, i) => {
    const first = names.indexOf(names[i] as string);
    const other = first < i ? first : names.indexOf(name, i + 1);
    if (name === '' || other < 0 || (first === i && rules[other]?.name !== '')) return;
    report(resource, `spec.rules[${i}].name`, `rules[${other}] is called "${name}" too`, 'give each rule its own name');
  });
}

/** Reports a pattern that the linear-time engine of the sidecars does not take. An empty one is a rule of the schema. */
export function checkRegex(resource: Resource, fieldPath: string, pattern: string, report: Report): void {
  if (pattern === '') return;
  const { error } = compileRegex(pattern);
  if (error !== null) report(resource, fieldPath, `${error.message} (character ${error.position + 1})`, error.fix);
}
