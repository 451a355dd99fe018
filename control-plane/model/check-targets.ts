// What Authorization and Telemetry attach to: Services of their own namespace, or single ports of them.
import { nearest } from '../../proto/kit/nearest.ts';
import type { Report } from './check.ts';
import { placeOf } from './check.ts';
import type { ServiceIndex } from './names.ts';
import { portName } from './names.ts';
import type { Resource } from './resource.ts';
import { resourceId } from './resource.ts';

/** A reference as both kinds write it. */
type Target = { readonly kind: string; readonly name: string; readonly sectionName: string };

/** Reports targets that do not exist, or are named twice. */
export function checkTargets(
  policy: Resource,
  targets: readonly Target[],
  services: ServiceIndex,
  broken: ReadonlySet<Resource>,
  report: Report,
): void {
  const seen = new Map<string, number>();
  targets.forEach((target, i) => {
    const path = `spec.targetRefs[${i}]`;
    const key = JSON.stringify([target.name, target.sectionName]);
    const first = seen.get(key);
    if (first !== undefined) report(policy, path, `the same as targetRefs[${first}]`, 'remove one of the two');
    else seen.set(key, i);
    if (target.kind !== '' && target.kind !== 'Service') {
      report(
        policy,
        `${path}.kind`,
        `no ${policy.kind} can attach to "${target.kind}"`,
        'write `Service`, or leave it out',
      );
      return;
    }
    checkTarget(policy, target, path, services, broken, report);
  });
}

function checkTarget(
  policy: Resource,
  { name, sectionName }: Target,
  path: string,
  services: ServiceIndex,
  broken: ReadonlySet<Resource>,
  report: Report,
): void {
  if (name === '') {
    // A Service without such a port would be left unprotected, or protected whole.
    if (sectionName !== '')
      report(
        policy,
        `${path}.sectionName`,
        'a port of no Service in particular',
        'add `name`, the Service of the port',
      );
    return;
  }
  const service = services.get(`${policy.namespace}/${name}`);
  if (service === undefined) {
    const local = [...services.values()].filter((s) => s.namespace === policy.namespace).map((s) => s.name);
    const close = nearest(name, local);
    const fix = close ? `write \`${close}\`` : 'name a Service of the same namespace';
    report(policy, `${path}.name`, `there is no Service ${name} in namespace ${policy.namespace}`, fix);
    return;
  }
  const ports = service.message.spec?.ports.map(portName) ?? [];
  if (sectionName === '' || ports.includes(sectionName) || broken.has(service)) return;
  const close = nearest(sectionName, ports) ?? ports[0];
  report(policy, `${path}.sectionName`, `Service ${name} has no port "${sectionName}"`, `write \`${close ?? ''}\``);
}

/** Two Telemetry policies on one Service would both decide its sampling. */
export function checkTelemetry(
  all: readonly Resource<'Telemetry'>[],
  services: ServiceIndex,
  broken: ReadonlySet<Resource>,
  report: Report,
): void {
  const taken = new Map<string, Resource>();
  for (const policy of all) {
    const { targetRefs: targets = [], tracing, accessLog } = policy.message.spec ?? {};
    if (policy.message.spec && !tracing && !accessLog)
      report(policy, 'spec', 'says nothing of what is recorded', 'add `tracing` or `accessLog`');
    checkTargets(policy, targets, services, broken, report);
    targets.forEach((target, i) => {
      if (target.sectionName !== '' && target.name !== '')
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
