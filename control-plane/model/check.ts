// What a single document cannot know: whether the names it uses exist, and whether two policies contradict each other.
// Pure and total: every mistake is returned, and only the resources that have one are left out.
import { nearest } from '../../proto/kit/nearest.ts';
import { compileRegex } from '../../proto/kit/regex.ts';
import { parseSpiffeId } from '../../proto/kit/spiffe.ts';
import { checkRedirects } from './check-redirects.ts';
import { checkRoutes } from './check-routes.ts';
import type { ServiceIndex } from './names.ts';
import { portName, serviceFix, serviceKey } from './names.ts';
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
 */
export function check(all: readonly Resource[], broken: ReadonlySet<Resource>): Checked {
  const problems: Problem[] = [];
  const bad = new Set(broken);
  const report: Report = (resource, fieldPath, message, fix) => {
    problems.push(problemAt(resource, fieldPath, message, fix));
    bad.add(resource);
  };
  checkDuplicates(all, report);
  const services: ServiceIndex = new Map(
    of(all, 'Service').map((service) => [`${service.namespace}/${service.name}`, service]),
  );
  for (const resource of all) {
    if (resource.kind === 'Service') checkService(resource, report);
    if (resource.kind === 'Authorization') checkAuthorization(resource, services, report);
    if (resource.kind === 'Provider') checkProvider(resource, report);
  }
  checkLocalPorts(of(all, 'Service'), report);
  checkRoutes(of(all, 'Route'), services, broken, report);
  checkRedirects(of(all, 'Route'), services, new Set(bad), report);
  checkModels(of(all, 'Model'), of(all, 'Provider'), report);
  checkTelemetry(of(all, 'Telemetry'), services, report);
  return { resources: all.filter((resource) => !bad.has(resource)), problems };
}

/** The resources of one kind, in order. */
export function of<K extends Kind>(all: readonly Resource[], kind: K): Resource<K>[] {
  return all.filter((resource): resource is Resource<K> & Resource => resource.kind === kind);
}

function placeOf(resource: Resource, path: string): string {
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

function checkService(service: Resource<'Service'>, report: Report): void {
  const spec = service.message.spec;
  const names = new Map<string, number>();
  const numbers = new Map<number, number>();
  spec?.ports.forEach((port, i) => {
    const name = portName(port);
    const named = names.get(name);
    if (named !== undefined)
      report(
        service,
        `spec.ports[${i}].name`,
        `ports[${named}] is called "${name}" too`,
        'give each port its own name',
      );
    const numbered = numbers.get(port.port);
    if (numbered !== undefined)
      report(
        service,
        `spec.ports[${i}].port`,
        `ports[${numbered}] has the number ${port.port} too`,
        'give each port its own number',
      );
    names.set(name, i);
    numbers.set(port.port, i);
  });
  const outlier = spec?.outlierDetection;
  if (outlier?.ejectionBase && outlier.ejectionMax && seconds(outlier.ejectionBase) > seconds(outlier.ejectionMax)) {
    report(
      service,
      'spec.outlierDetection.ejectionBase',
      'ejectionBase is longer than ejectionMax',
      'shorten ejectionBase',
    );
  }
}

function checkLocalPorts(services: readonly Resource<'Service'>[], report: Report): void {
  const taken = new Map<number, Resource<'Service'>>();
  for (const service of services) {
    const port = service.message.spec?.localPort ?? 0;
    if (port === 0) continue;
    const other = taken.get(port);
    taken.set(port, other ?? service);
    if (other === undefined || resourceId(other) === resourceId(service)) continue;
    report(
      service,
      'spec.localPort',
      `${resourceId(other)} opens local port ${port} too (${placeOf(other, 'spec.localPort')})`,
      'choose another port',
    );
  }
}

function checkAuthorization(policy: Resource<'Authorization'>, services: ServiceIndex, report: Report): void {
  checkTargets(policy, policy.message.spec?.targetRefs ?? [], services, report);
  policy.message.spec?.rules.forEach((rule, i) => {
    rule.to.forEach((operation, j) => {
      operation.paths.forEach(({ match }, k) => {
        if (match.case === 'regex')
          checkRegex(policy, `spec.rules[${i}].to[${j}].paths[${k}].regex`, match.value, report);
      });
    });
    rule.from.forEach(({ caller }, j) => {
      const path = `spec.rules[${i}].from[${j}]`;
      if (
        caller.case === 'serviceAccount' &&
        !/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)?$/.test(caller.value)
      ) {
        report(
          policy,
          `${path}.serviceAccount`,
          `"${caller.value}" is not a service account`,
          'write `account` or `account.namespace`',
        );
      }
      if (caller.case === 'namespace' && !/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(caller.value)) {
        report(
          policy,
          `${path}.namespace`,
          `"${caller.value}" is not a namespace`,
          'write a namespace: lower-case letters, digits and -',
        );
      }
      if (caller.case === 'spiffeId' && caller.value.startsWith('spiffe://')) {
        const parsed = parseSpiffeId(caller.value);
        if (!parsed.ok)
          report(
            policy,
            `${path}.spiffeId`,
            parsed.error,
            'write `spiffe://<trust-domain>/ns/<namespace>/sa/<account>`',
          );
      }
    });
  });
}

function checkTargets(
  policy: Resource,
  targets: readonly { readonly kind: string; readonly name: string; readonly sectionName: string }[],
  services: ServiceIndex,
  report: Report,
): void {
  targets.forEach((target, i) => {
    const path = `spec.targetRefs[${i}]`;
    if (target.kind !== '' && target.kind !== 'Service') {
      report(
        policy,
        `${path}.kind`,
        `a ${policy.kind} cannot attach to a ${target.kind}`,
        'write `Service`, or leave it out',
      );
      return;
    }
    if (target.name === '') return;
    const service = services.get(`${policy.namespace}/${target.name}`);
    if (service === undefined) {
      const local = [...services.values()].filter((s) => s.namespace === policy.namespace).map((s) => s.name);
      const close = nearest(target.name, local);
      const fix = close ? `write \`${close}\`` : 'name a Service of the same namespace';
      report(policy, `${path}.name`, `there is no Service ${target.name} in namespace ${policy.namespace}`, fix);
      return;
    }
    const ports = service.message.spec?.ports.map(portName) ?? [];
    if (target.sectionName === '' || ports.includes(target.sectionName)) return;
    const close = nearest(target.sectionName, ports) ?? ports[0];
    report(
      policy,
      `${path}.sectionName`,
      `Service ${target.name} has no port "${target.sectionName}"`,
      `write \`${close ?? ''}\``,
    );
  });
}

/** Two Telemetry policies on one Service would both decide its sampling. */
function checkTelemetry(all: readonly Resource<'Telemetry'>[], services: ServiceIndex, report: Report): void {
  const taken = new Map<string, Resource>();
  for (const policy of all) {
    const targets = policy.message.spec?.targetRefs ?? [];
    checkTargets(policy, targets, services, report);
    targets.forEach((target, i) => {
      if (target.sectionName !== '')
        report(policy, `spec.targetRefs[${i}].sectionName`, 'Telemetry speaks of whole Services', 'remove sectionName');
    });
    const names = targets.length === 0 ? [''] : targets.map((target) => target.name);
    names.forEach((name, i) => {
      const key = `${policy.namespace}/${name}`;
      const other = taken.get(key);
      taken.set(key, other ?? policy);
      if (other === undefined || resourceId(other) === resourceId(policy)) return;
      const path = targets.length === 0 ? 'spec' : `spec.targetRefs[${i}]`;
      report(
        policy,
        path,
        `${resourceId(other)} attaches to the same place (${placeOf(other, 'spec')})`,
        'put both into one policy',
      );
    });
  }
}

function checkProvider(provider: Resource<'Provider'>, report: Report): void {
  const url = provider.message.spec?.baseUrl ?? '';
  if (!URL.canParse(url)) return;
  const { protocol, hostname, username, password } = new URL(url);
  const loopback = hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
  if (protocol === 'http:' && !loopback) {
    report(
      provider,
      'spec.baseUrl',
      'plain http would send the key in the clear',
      `write \`https://${url.slice('http://'.length)}\``,
    );
  }
  if (username !== '' || password !== '') {
    report(provider, 'spec.baseUrl', 'a URL must not hold credentials', 'use apiKey.file or apiKey.env');
  }
}

function checkModels(
  models: readonly Resource<'Model'>[],
  providers: readonly Resource<'Provider'>[],
  report: Report,
): void {
  const known = new Set(providers.map((provider) => `${provider.namespace}/${provider.name}`));
  const aliases = new Map<string, Resource<'Model'>>();
  for (const model of models) {
    const targets = model.message.spec?.targets ?? [];
    targets.forEach((target, i) => {
      if (target.provider === '' || known.has(`${model.namespace}/${target.provider}`)) return;
      const local = providers.filter((p) => p.namespace === model.namespace).map((p) => p.name);
      const close = nearest(target.provider, local);
      const fix = close ? `write \`${close}\`` : `add a Provider named ${target.provider}`;
      report(
        model,
        `spec.targets[${i}].provider`,
        `there is no Provider ${target.provider} in namespace ${model.namespace}`,
        fix,
      );
    });
    if (targets.length > 0 && targets.every((target) => target.weight === 0)) {
      report(
        model,
        'spec.targets',
        'the weights add up to 0: no target could ever be chosen',
        'give one target a weight above 0',
      );
    }
    const written = model.message.spec?.aliases ?? [];
    (written.length > 0 ? written : [model.name]).forEach((alias, i) => {
      const key = `${model.namespace}/${alias}`;
      const other = aliases.get(key);
      aliases.set(key, other ?? model);
      if (other === undefined || resourceId(other) === resourceId(model)) return;
      const path = written.length > 0 ? `spec.aliases[${i}]` : 'metadata.name';
      report(
        model,
        path,
        `${resourceId(other)} answers to "${alias}" too (${placeOf(other, 'metadata.name')})`,
        'choose another alias',
      );
    });
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

/** Reports a pattern that the linear-time engine of the sidecars does not take. An empty one is a rule of the schema. */
export function checkRegex(resource: Resource, fieldPath: string, pattern: string, report: Report): void {
  if (pattern === '') return;
  const { error } = compileRegex(pattern);
  if (error !== null) report(resource, fieldPath, `${error.message} (character ${error.position + 1})`, error.fix);
}
