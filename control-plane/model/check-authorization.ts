// Authorizations against the Services that they protect: a rule that can never match lets nobody in, or keeps nobody out.
import type { Caller, Operation } from '../../proto/gen/weft/policy/v1/authorization_pb.js';
import { Protocol } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { methodMistake } from '../../proto/kit/http-words.ts';
import { parseSpiffeId } from '../../proto/kit/spiffe.ts';
import type { Report } from './check.ts';
import { checkPath, checkPathRegex, checkRuleNames, note } from './check.ts';
import { checkTargets } from './check-targets.ts';
import type { ServiceIndex } from './names.ts';
import { portName } from './names.ts';
import type { Resource } from './resource.ts';
import { targetsOf } from './visible.ts';

const ACCOUNT = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)?$/;
const NAMESPACE = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;

/** Ports that a policy protects, by number. */
type Ports = ReadonlyMap<number, Protocol>;

export function checkAuthorization(
  policy: Resource<'Authorization'>,
  services: ServiceIndex,
  broken: ReadonlySet<Resource>,
  report: Report,
): void {
  const { targetRefs = [], rules = [] } = policy.message.spec ?? {};
  checkTargets(policy, targetRefs, services, broken, report);
  checkRuleNames(policy, rules, report);
  const ports = protectedPorts(policy, services, broken);
  rules.forEach((rule, i) => {
    rule.from.forEach((caller, j) => {
      checkCaller(policy, caller, `spec.rules[${i}].from[${j}]`, report);
    });
    rule.to.forEach((operation, j) => {
      checkOperation(policy, operation, `spec.rules[${i}].to[${j}]`, ports, report);
    });
  });
}

/** Null: not known, since there is no such Service yet or it has mistakes of its own. */
function protectedPorts(
  policy: Resource<'Authorization'>,
  services: ServiceIndex,
  broken: ReadonlySet<Resource>,
): Ports | null {
  const ports = new Map<number, Protocol>();
  for (const service of services.values()) {
    const sections = targetsOf(policy, service);
    if (sections.length > 0 && broken.has(service)) return null;
    for (const port of service.message.spec?.ports ?? []) {
      if (!sections.includes('') && !sections.includes(portName(port))) continue;
      // Of two Services with one number, the one that speaks HTTP gives the words a meaning.
      if (ports.get(port.port) === undefined || port.protocol !== Protocol.TCP) ports.set(port.port, port.protocol);
    }
  }
  return ports.size === 0 ? null : ports;
}

function checkCaller(policy: Resource, { caller }: Caller, path: string, report: Report): void {
  switch (caller.case) {
    case 'serviceAccount':
      if (caller.value === '' || ACCOUNT.test(caller.value)) return;
      report(
        policy,
        `${path}.serviceAccount`,
        `"${caller.value}" is not a service account`,
        'write `account` or `account.namespace`',
      );
      return;
    case 'namespace':
      if (caller.value === '' || NAMESPACE.test(caller.value)) return;
      report(
        policy,
        `${path}.namespace`,
        `"${caller.value}" is not a namespace`,
        'write a namespace: lower-case letters, digits and -',
      );
      return;
    case 'spiffeId': {
      const parsed = caller.value.startsWith('spiffe://') ? parseSpiffeId(caller.value) : null;
      if (parsed === null || parsed.ok) return;
      const fix = 'write `spiffe://<trust-domain>/ns/<namespace>/sa/<account>`';
      report(policy, `${path}.spiffeId`, parsed.error, fix);
    }
  }
}

function checkOperation(
  policy: Resource,
  operation: Operation,
  path: string,
  ports: Ports | null,
  report: Report,
): void {
  operation.methods.forEach((method, i) => {
    note(policy, `${path}.methods[${i}]`, methodMistake(method), report);
  });
  operation.paths.forEach(({ match }, i) => {
    const at = `${path}.paths[${i}].${match.case}`;
    if (match.case === 'regex') checkPathRegex(policy, at, match.value, report);
    if (match.case === 'exact') checkPath(policy, at, match.value, 'whole', report);
    if (match.case === 'prefix') checkPath(policy, at, match.value, 'start', report);
    if (match.case === 'suffix') checkPath(policy, at, match.value, 'end', report);
  });
  if (ports === null) return;
  operation.ports.forEach((port, i) => {
    if (port < 1 || port > 65_535 || ports.has(port)) return;
    const known = [...ports.keys()].join(', ');
    report(policy, `${path}.ports[${i}]`, `nothing that it protects has a port ${port}`, `write one of ${known}`);
  });
  checkOpaque(policy, operation, path, ports, report);
}

/** The words of HTTP mean nothing on ports that are opaque TCP: calls come as CONNECT, without a path. */
function checkOpaque(policy: Resource, operation: Operation, path: string, ports: Ports, report: Report): void {
  const meant = operation.ports.length === 0 ? [...ports.keys()] : operation.ports.filter((port) => ports.has(port));
  if (meant.length === 0 || meant.some((port) => ports.get(port) !== Protocol.TCP)) return;
  const which = `port ${meant.join(', ')} is opaque TCP`;
  if (operation.methods.length > 0 && !operation.methods.includes('CONNECT'))
    report(policy, `${path}.methods`, `${which}, where the only method is CONNECT`, 'remove `methods`');
  if (operation.paths.length > 0)
    report(policy, `${path}.paths`, `${which}, where connections have no path`, 'remove `paths`');
}
