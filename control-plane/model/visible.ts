// Who may see what: which Services an identity serves, and which it could call under the Authorizations.
import type { Caller } from '../../proto/gen/weft/policy/v1/authorization_pb.js';
import { AuthorizationAction } from '../../proto/gen/weft/policy/v1/authorization_pb.js';
import { parseSpiffeId } from '../../proto/kit/spiffe.ts';
import type { Resource } from './resource.ts';

/** Whose sidecar asks. */
export interface NeedsIdentity {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** The accounts whose identities serve a Service: its own name when it lists none. */
export function accountsOf(service: Resource<'Service'>): string[] {
  const accounts = service.message.spec?.serviceAccounts ?? [];
  return accounts.length > 0 ? accounts : [service.name];
}

/** Whether workloads of the identity are endpoints of the Service. */
export function serves(service: Resource<'Service'>, identity: NeedsIdentity): boolean {
  return service.namespace === identity.namespace && accountsOf(service).includes(identity.serviceAccount);
}

/** Whether some request of the identity could pass. Errs towards yes: the receiver decides each request. */
export function mayCall(
  service: Resource<'Service'>,
  policies: readonly Resource<'Authorization'>[],
  identity: NeedsIdentity,
): boolean {
  let allows = 0;
  let allowed = false;
  for (const policy of policies) {
    const spec = policy.message.spec;
    const targets = targetsOf(policy, service);
    if (spec === undefined || targets.length === 0) continue;
    const matching = spec.rules.filter(
      (rule) => rule.from.length === 0 || rule.from.some((caller) => isCaller(caller, policy.namespace, identity)),
    );
    if (spec.action === AuthorizationAction.ALLOW) {
      allows++;
      allowed ||= matching.length > 0;
      continue;
    }
    const everything = spec.rules.length === 0 || matching.some((rule) => rule.to.length === 0);
    if (everything && targets.includes('')) return false;
  }
  return allows > 0 ? allowed : service.namespace === identity.namespace;
}

function isCaller({ caller }: Caller, namespace: string, identity: NeedsIdentity): boolean {
  switch (caller.case) {
    case 'namespace':
      return caller.value === identity.namespace;
    case 'serviceAccount':
    case 'spiffeId':
      return completeCaller(caller.case, caller.value, namespace, identity.trustDomain) === spiffe(identity);
    default:
      return false;
  }
}

/** The sections by which a policy attaches to a Service: `''` for all ports; none when it does not attach. */
export function targetsOf(
  policy: Resource<'Authorization'> | Resource<'Telemetry'>,
  service: Resource<'Service'>,
): string[] {
  if (policy.namespace !== service.namespace) return [];
  const targets = policy.message.spec?.targetRefs ?? [];
  if (targets.length === 0) return [''];
  return targets
    .filter((target) => target.name === '' || target.name === service.name)
    .map((target) => target.sectionName);
}

/** The id of an identity. */
export function spiffe({ trustDomain, namespace, serviceAccount }: NeedsIdentity): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
}

/** The id of a caller as a policy in `namespace` names it. */
export function completeCaller(
  kind: 'serviceAccount' | 'spiffeId',
  value: string,
  namespace: string,
  trustDomain: string,
): string {
  if (kind === 'spiffeId') return value;
  const [serviceAccount = '', ns = namespace] = value.split('.');
  return spiffe({ trustDomain, namespace: ns, serviceAccount });
}

/** Some identity whose sidecar has both Services, as a message names it; null when there is none. */
export function commonCaller(
  one: Resource<'Service'>,
  other: Resource<'Service'>,
  services: readonly Resource<'Service'>[],
  policies: readonly Resource<'Authorization'>[],
): string | null {
  const sees = (service: Resource<'Service'>, identity: NeedsIdentity) =>
    serves(service, identity) || mayCall(service, policies, identity);
  for (const identity of identitiesIn(services, policies)) {
    if (!sees(one, identity) || !sees(other, identity)) continue;
    const { serviceAccount, namespace } = identity;
    return serviceAccount === '' ? `a workload of namespace ${namespace || 'any'}` : `${serviceAccount}.${namespace}`;
  }
  return null;
}

/** Every identity that the policies name, and for the rest one without an account in each namespace and in none. */
function* identitiesIn(
  services: readonly Resource<'Service'>[],
  policies: readonly Resource<'Authorization'>[],
): Generator<NeedsIdentity> {
  const namespaces = new Set<string>();
  for (const service of services) {
    namespaces.add(service.namespace);
    for (const serviceAccount of accountsOf(service))
      yield { trustDomain: '', namespace: service.namespace, serviceAccount };
  }
  for (const policy of policies) {
    for (const { caller } of policy.message.spec?.rules.flatMap((rule) => rule.from) ?? []) {
      if (caller.case === 'namespace') namespaces.add(caller.value);
      if (caller.case === 'serviceAccount') {
        const [serviceAccount = '', namespace = policy.namespace] = caller.value.split('.');
        yield { trustDomain: '', namespace, serviceAccount };
      }
      const parsed = caller.case === 'spiffeId' ? parseSpiffeId(caller.value) : null;
      if (parsed?.ok) yield parsed.identity;
    }
  }
  for (const namespace of [...namespaces, '']) yield { trustDomain: '', namespace, serviceAccount: '' };
}
