// What one sidecar must know: out of all policies, the wire resources for one identity, with every name made complete.
// Pure: the same policies and identity give the same resources in the same order.
import { createHash } from 'node:crypto';
import type { DescMessage, Message } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import * as mesh from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { AuthorizationRule, Caller, Operation } from '../../proto/gen/weft/policy/v1/authorization_pb.js';
import { AuthorizationAction } from '../../proto/gen/weft/policy/v1/authorization_pb.js';
import { Protocol, TlsMode } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { hostsOf } from '../../proto/kit/host.ts';
import { of } from './check.ts';
import { portName, serviceKey } from './names.ts';
import type { Resource } from './resource.ts';
import type { NeedsIdentity } from './visible.ts';
import { accountsOf, completeCaller, mayCall, serves, spiffe, targetsOf } from './visible.ts';

/** One wire resource: `schema.typeName` and `name` are its key in a snapshot. */
export interface MeshResource {
  readonly schema: DescMessage;
  readonly name: string;
  readonly message: Message;
}

/**
 * The wire resources of one identity, sorted by type and name: the Services that it may serve or that some Authorization could let it
 * call, their static Endpoints and descriptors, the Routes for those hosts, what targets its own Services
 * (Authorization, Telemetry) and the hosts under which they may be reached, and the Providers and Models of its namespace. `resources` are those that `check` passed.
 */
export function needs(resources: readonly Resource[], identity: NeedsIdentity): MeshResource[] {
  const out = new Map<string, MeshResource>();
  const add = (schema: DescMessage, name: string, message: Message) =>
    out.set(`${schema.typeName} ${name}`, { schema, name, message });
  const services = of(resources, 'Service');
  const policies = of(resources, 'Authorization');
  const own = services.filter((service) => serves(service, identity));
  const seen = new Set(
    services.filter((service) => own.includes(service) || mayCall(service, policies, identity)).map(keyOf),
  );
  for (const service of services) {
    if (seen.has(keyOf(service)))
      once(service, identity.trustDomain, (into) => addService(service, identity.trustDomain, into), add);
  }
  addRoutes(of(resources, 'Route'), seen, identity, add);
  for (const service of own) addHosts(service, rewrittenHosts(resources).get(keyOf(service)) ?? [], add);
  for (const policy of policies) addAuthorization(policy, own, identity.trustDomain, add);
  for (const policy of of(resources, 'Telemetry')) addTelemetry(policy, own, identity, resources, add);
  for (const provider of of(resources, 'Provider')) {
    if (provider.namespace !== identity.namespace || provider.message.spec === undefined) continue;
    const { caPem } = provider;
    add(
      mesh.ProviderSchema,
      keyOf(provider),
      create(mesh.ProviderSchema, { name: keyOf(provider), spec: provider.message.spec, caPem }),
    );
  }
  for (const model of of(resources, 'Model')) {
    const spec = model.message.spec;
    if (model.namespace !== identity.namespace || spec === undefined) continue;
    const targets = spec.targets.map((target) => ({ ...target, provider: `${model.namespace}/${target.provider}` }));
    const aliases = spec.aliases.length > 0 ? spec.aliases : [model.name];
    add(
      mesh.ModelSchema,
      keyOf(model),
      create(mesh.ModelSchema, { name: keyOf(model), spec: { ...spec, aliases, targets } }),
    );
  }
  return [...out.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, resource]) => resource);
}

type Add = (schema: DescMessage, name: string, message: Message) => void;

/** What was made of a policy, by what else went into it: a thousand identities share one message, encoded once. */
const made = new WeakMap<Resource, Map<string, readonly MeshResource[]>>();

/** The messages made of `resource` before with the same `inputs`, else those of `make`. */
function once(resource: Resource, inputs: string, make: (add: Add) => void, add: Add): void {
  let byInputs = made.get(resource);
  if (byInputs === undefined) {
    byInputs = new Map();
    made.set(resource, byInputs);
  }
  let messages = byInputs.get(inputs);
  if (messages === undefined) {
    const list: MeshResource[] = [];
    make((schema, name, message) => list.push({ schema, name, message }));
    byInputs.set(inputs, list);
    messages = list;
  }
  for (const { schema, name, message } of messages) add(schema, name, message);
}

function keyOf(resource: { readonly namespace: string; readonly name: string }): string {
  return `${resource.namespace}/${resource.name}`;
}

function addTelemetry(
  policy: Resource<'Telemetry'>,
  own: readonly Resource<'Service'>[],
  identity: NeedsIdentity,
  resources: readonly Resource[],
  add: Add,
): void {
  const spec = policy.message.spec;
  if (spec === undefined) return;
  const services = own
    .filter((service) => targetsOf(policy, service).length > 0 && !shadowed(policy, service, resources))
    .map(keyOf);
  const name = keyOf(policy);
  const callersWithoutService =
    own.length === 0 &&
    policy.namespace === identity.namespace &&
    spec.targetRefs.every((target) => target.name === '');
  if (services.length === 0 && !callersWithoutService) return;
  add(mesh.TelemetrySchema, name, create(mesh.TelemetrySchema, { name, services, spec, callersWithoutService }));
}

/** A Telemetry of the whole namespace gives way to one that names the Service. */
function shadowed(
  policy: Resource<'Telemetry'>,
  service: Resource<'Service'>,
  resources: readonly Resource[],
): boolean {
  const names = (other: Resource<'Telemetry'>) =>
    other.namespace === service.namespace &&
    (other.message.spec?.targetRefs ?? []).some((t) => t.name === service.name);
  return !names(policy) && of(resources, 'Telemetry').some(names);
}

function addService(service: Resource<'Service'>, trustDomain: string, add: Add): void {
  const spec = service.message.spec;
  if (spec === undefined) return;
  const name = keyOf(service);
  const message = create(mesh.ServiceSchema, {
    name,
    ports: spec.ports.map((port) => ({
      ...port,
      name: portName(port),
      protocol: port.protocol || Protocol.HTTP1,
      tls: port.tls || TlsMode.MUTUAL,
    })),
    identities: accountsOf(service).map((serviceAccount) =>
      spiffe({ trustDomain, namespace: service.namespace, serviceAccount }),
    ),
    localPort: spec.localPort,
    transcodedServices: spec.transcoding?.services ?? [],
    caPem: service.caPem,
  });
  if (spec.loadBalancing) message.loadBalancing = spec.loadBalancing;
  if (spec.connectionPool) message.connectionPool = spec.connectionPool;
  if (spec.outlierDetection) message.outlierDetection = spec.outlierDetection;
  if (spec.endpointSource.case === 'dns') message.dns = spec.endpointSource.value;
  const descriptors = spec.transcoding?.descriptors;
  if (descriptors?.case === 'descriptorSet') {
    message.descriptorSet = createHash('sha256').update(descriptors.value).digest('hex');
    add(
      mesh.DescriptorSetSchema,
      message.descriptorSet,
      create(mesh.DescriptorSetSchema, { fileDescriptorSet: descriptors.value }),
    );
  }
  add(mesh.ServiceSchema, name, message);
  if (spec.endpointSource.case !== 'static') return;
  spec.endpointSource.value.endpoints.forEach(({ address, port, labels }, i) => {
    const ports = Object.fromEntries(spec.ports.map((servicePort) => [servicePort.port, port || servicePort.port]));
    add(
      mesh.EndpointSchema,
      `${name}/static-${i}`,
      create(mesh.EndpointSchema, { service: name, address, ports, labels }),
    );
  });
}

/** A Route of the caller's own namespace goes before those of the Service's namespace; others' Routes are not its business. */
function addRoutes(
  routes: readonly Resource<'Route'>[],
  seen: ReadonlySet<string>,
  identity: NeedsIdentity,
  add: Add,
): void {
  const decidedBy = (route: Resource<'Route'>) =>
    (route.message.spec?.hosts ?? [])
      .map((host) => serviceKey(host, route.namespace))
      .filter((key) => key !== null && seen.has(key)) as string[];
  const own = new Set(routes.filter((route) => route.namespace === identity.namespace).flatMap(decidedBy));
  for (const route of routes) {
    const mine = route.namespace === identity.namespace;
    const services = decidedBy(route).filter((key) => mine || (key.startsWith(`${route.namespace}/`) && !own.has(key)));
    if (services.length > 0) once(route, services.join(' '), (into) => addRoute(route, services, into), add);
  }
}

function addRoute(route: Resource<'Route'>, services: string[], add: Add): void {
  const rules = (route.message.spec?.rules ?? []).map((rule) => ({
    ...rule,
    backends: rule.backends.map((backend) => ({
      ...backend,
      service: serviceKey(backend.service, route.namespace) ?? '',
    })),
  }));
  add(mesh.RouteSchema, keyOf(route), create(mesh.RouteSchema, { name: keyOf(route), services, rules }));
}

function addHosts(service: Resource<'Service'>, rewritten: readonly string[], add: Add): void {
  const name = keyOf(service);
  const hosts = [...new Set([...hostsOf(service.namespace, service.name), ...rewritten])];
  const make = (into: Add) =>
    into(mesh.ServiceHostsSchema, name, create(mesh.ServiceHostsSchema, { service: name, hosts }));
  once(service, `hosts ${hosts.join(' ')}`, make, add);
}

/** By the policies of one moment: all identities ask the same. */
const rewrites = new WeakMap<readonly Resource[], ReadonlyMap<string, readonly string[]>>();

/** The hosts that rules write into requests, sorted, by the Services that those rules send to. */
function rewrittenHosts(resources: readonly Resource[]): ReadonlyMap<string, readonly string[]> {
  const known = rewrites.get(resources);
  if (known !== undefined) return known;
  const found = new Map<string, Set<string>>();
  for (const route of of(resources, 'Route')) {
    for (const rule of route.message.spec?.rules ?? []) {
      const written = rule.filters.flatMap(({ filter }) => (filter.case === 'rewrite' ? [filter.value.host] : []));
      const targets =
        rule.backends.length > 0 ? rule.backends.map(({ service }) => service) : route.message.spec?.hosts;
      for (const target of targets ?? []) {
        const service = serviceKey(target, route.namespace) ?? '';
        for (const host of written) {
          if (host !== '') found.set(service, (found.get(service) ?? new Set()).add(host));
        }
      }
    }
  }
  const sorted = new Map([...found].map(([service, hosts]) => [service, [...hosts].sort()]));
  rewrites.set(resources, sorted);
  return sorted;
}

/** One resource for each port that the policy attaches to: the wire says ports in the rules, never beside them. */
function addAuthorization(
  policy: Resource<'Authorization'>,
  own: readonly Resource<'Service'>[],
  trustDomain: string,
  add: Add,
): void {
  const spec = policy.message.spec;
  if (spec === undefined) return;
  const byPort = new Map<number, string[]>();
  for (const service of own) {
    const sections = targetsOf(policy, service);
    for (const section of sections.includes('') ? [''] : sections) {
      const port = section === '' ? 0 : service.message.spec?.ports.find((p) => portName(p) === section)?.port;
      // A port that is not there must not become all of them.
      if (port === undefined) continue;
      byPort.set(port, [...(byPort.get(port) ?? []), keyOf(service)]);
    }
  }
  const inputs = `${trustDomain} ${[...byPort].map(([port, services]) => `${port}=${services.join(',')}`).join(' ')}`;
  once(policy, inputs, (into) => addPorts(policy, byPort, trustDomain, into), add);
}

function addPorts(
  policy: Resource<'Authorization'>,
  byPort: ReadonlyMap<number, string[]>,
  trustDomain: string,
  add: Add,
): void {
  const spec = policy.message.spec;
  if (spec === undefined) return;
  for (const [port, services] of byPort) {
    const complete = spec.rules.map((rule) => completeRule(rule, policy.namespace, trustDomain));
    const deny = spec.action === AuthorizationAction.DENY;
    const rules =
      port === 0 ? complete : narrow(deny && complete.length === 0 ? [{ name: '', from: [], to: [] }] : complete, port);
    // A DENY whose rules all speak of other ports must not become one without rules: that denies everything.
    if (deny && rules.length === 0 && spec.rules.length > 0) continue;
    const name = port === 0 ? keyOf(policy) : `${keyOf(policy)}:${port}`;
    add(
      mesh.AuthorizationSchema,
      name,
      create(mesh.AuthorizationSchema, { name, services, action: spec.action, rules }),
    );
  }
}

interface PlainRule {
  readonly name: string;
  readonly from: Caller[];
  readonly to: Pick<Operation, 'methods' | 'paths' | 'ports'>[];
}

function completeRule(rule: AuthorizationRule, namespace: string, trustDomain: string): PlainRule {
  const from = rule.from.map((entry): Caller => {
    if (entry.caller.case !== 'serviceAccount') return entry;
    const value = completeCaller('serviceAccount', entry.caller.value, namespace, trustDomain);
    return { ...entry, caller: { case: 'spiffeId', value } };
  });
  return { name: rule.name, from, to: rule.to };
}

/** The rules, kept to one port; without those that say nothing about it. */
function narrow(rules: readonly PlainRule[], port: number): PlainRule[] {
  return rules.flatMap((rule) => {
    const to =
      rule.to.length === 0
        ? [{ methods: [], paths: [], ports: [port] }]
        : rule.to
            .filter((op) => op.ports.length === 0 || op.ports.includes(port))
            .map((op) => ({ ...op, ports: [port] }));
    return to.length === 0 ? [] : [{ ...rule, to }];
  });
}
