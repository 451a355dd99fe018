// From resources to the snapshot that requests pin: takes changes in slices between requests and swaps with one
// assignment. What outlives a change (clusters with their connections and health, counters) is carried over by name.

import type { MethodIndex } from '../../proto/kit/transcoded-methods.ts';
import type { HealthNews, LocalApp, ResourceBytes, ResourceError } from '../base/messages.ts';
import type { WorkerSeries } from '../telemetry/worker-series.ts';
import { alternatesOf } from '../upstream/dns.ts';
import type { Upstream, UpstreamContext } from '../upstream/upstream.ts';
import { buildModels, buildProviders } from './ai-models.ts';
import { type CompiledService, type CompiledTelemetryResource, telemetryOf } from './compile-service.ts';
import { buildTableSteps, type HostCache } from './compile-table.ts';
import { buildOwnServices, callerService } from './own-services.ts';
import { ResolvedNames } from './resolved-names.ts';
import { type Changes, Resources } from './resources.ts';
import { runInSlices, type SliceCount } from './slices.ts';
import type { CompiledTelemetry, Destination, ServiceState, Snapshot } from './snapshot.ts';
import { DEFAULT_TELEMETRY } from './snapshot.ts';
import { Targets } from './targets.ts';

/** What the configuration needs of its worker. */
export interface StateContext extends UpstreamContext {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly apps: readonly LocalApp[];
  readonly series: WorkerSeries;
  /** The own SPIFFE id; empty before the first identity. */
  spiffeId(): string;
  /** Tells the other workers. */
  announce(news: HealthNews): void;
  /** The swap. */
  publish(snapshot: Snapshot): void;
}

interface CachedService {
  readonly compiled: CompiledService;
  readonly telemetry: CompiledTelemetry;
  readonly transcode: MethodIndex | null;
  readonly state: ServiceState;
}

export class ConfigState {
  readonly resources = new Resources();
  readonly sliceCount: SliceCount = { slices: 0 };
  private readonly context: StateContext;
  private readonly targets: Targets;
  private readonly names: ResolvedNames;
  private readonly hostCache: HostCache = new Map();
  private readonly filtered = new WeakMap<MethodIndex, Map<string, MethodIndex>>();
  private cached = new Map<string, CachedService>();
  private telemetryOfService = new Map<string | null, CompiledTelemetry>();
  private last: Promise<unknown> = Promise.resolve();

  constructor(context: StateContext) {
    this.context = context;
    this.targets = new Targets(context);
    this.names = new ResolvedNames(context);
  }

  /**
   * Takes changes and swaps; one change after the other. Resolves, after the swap, with what was rejected.
   * With nothing to take it builds anew: what a new identity needs.
   */
  apply(
    upserts: readonly ResourceBytes[],
    removed: readonly { readonly typeUrl: string; readonly name: string }[],
  ): Promise<ResourceError[]> {
    const done = this.last.then(() => runInSlices(this.steps(upserts, removed), this.sliceCount));
    this.last = done.catch(() => {});
    return done;
  }

  /** Endpoints as people read them. */
  describeEndpoints(nowMs: number): object[] {
    return this.targets.describe(nowMs);
  }

  /** What another worker found out about an endpoint. */
  follow(news: HealthNews, nowMs: number): void {
    this.targets.follow(news, nowMs);
  }

  /** What requests can go to, with or without endpoints. */
  describeClusters(nowMs: number): object[] {
    return this.targets.describeClusters(nowMs);
  }

  /** Stops resolving and closes every pool. */
  close(): void {
    this.names.close();
    this.targets.close();
  }

  private *steps(
    upserts: readonly ResourceBytes[],
    removed: readonly { readonly typeUrl: string; readonly name: string }[],
  ): Generator<void, ResourceError[]> {
    const { resources } = this;
    const errors: ResourceError[] = [];
    const changes: Changes = { services: new Set(), endpoints: new Set(), telemetry: false, revocations: false };
    for (const resource of upserts) {
      const error = resources.upsert(resource, changes);
      if (error !== null) errors.push(error);
      yield;
    }
    for (const { typeUrl, name } of removed) {
      resources.remove(typeUrl, name, changes);
      yield;
    }
    if (changes.telemetry) this.telemetryOfService = new Map();
    yield* this.addEndpoints(changes);
    const messages = [...resources.services.values()].map((service) => service.message);
    const { table, errors: ties } = yield* buildTableSteps(
      messages,
      [...resources.routes.values()],
      this.context.namespace,
      this.hostCache,
    );
    errors.push(...tieErrors(ties, upserts));
    const telemetry = this.telemetry(callerService(this.context, this.resources));
    const services = yield* this.buildServices(telemetry);
    const ownServices = buildOwnServices(this.context, this.resources, this.targets, (name) => this.telemetry(name));
    const providers = buildProviders(this.resources, this.targets, this.names, telemetry);
    const models = buildModels(this.context.namespace, this.resources, providers);
    const serverNames = serverNamesOf(this.resources.services.values(), this.context.namespace);
    const snapshot = { table, serverNames, services, ownServices, providers, models, telemetry };
    if (changes.revocations) this.context.peers.take(resources.revoked());
    this.context.publish(snapshot);
    this.targets.retain(snapshot);
    this.names.retain((slot) => services.has(slot) || providers.has(slot.replace(/^provider /, '')));
    return errors;
  }

  /** Endpoints before the routes that need them; withdrawn ones get nothing new from here on, and what they carry ends by itself. */
  private *addEndpoints(changes: Changes): Generator<void, void> {
    const touched = new Set([...changes.services, ...changes.endpoints]);
    for (const name of touched) {
      const service = this.resources.services.get(name);
      if (service === undefined) continue;
      this.resolve(service);
      for (const { port, settings } of service.ports) {
        const { upstream } = this.targets.get('outbound', name, port, settings);
        if (changes.services.has(name)) upstream.configure(settings);
        yield* this.fill(upstream, service, port);
      }
    }
  }

  private *fill(upstream: Upstream, service: CompiledService, port: number): Generator<void, void> {
    const names = new Set<string>();
    if (service.dns !== null) {
      this.fillResolved(service, port, upstream);
      return;
    }
    for (const [name, endpoint] of this.resources.endpoints.get(service.name) ?? []) {
      const dialled = endpoint.ports[port];
      if (dialled === undefined) continue;
      names.add(name);
      upstream.set({
        name,
        host: endpoint.address,
        port: dialled,
        labels: Object.entries(endpoint.labels).flat(),
        spiffeId: endpoint.spiffeId,
      });
      yield;
    }
    upstream.retain(names);
  }

  private fillResolved(service: CompiledService, port: number, upstream: Upstream): void {
    const names = new Set<string>();
    const addresses = this.names.addresses(service.name);
    for (const address of addresses) {
      const name = `${service.name}/${address}`;
      names.add(name);
      const alternates = alternatesOf(address, addresses);
      const dialled = { host: address, port: service.dns?.port || port, alternates };
      upstream.set({ name, ...dialled, labels: [], spiffeId: '' });
    }
    if (names.size > 0) upstream.retain(names);
  }

  private resolve({ dns, name }: CompiledService): void {
    if (dns === null) return this.names.forget(name);
    this.names.watch(name, dns.host, dns.refreshMs, '', () => {
      const current = this.resources.services.get(name);
      if (current === undefined) return;
      for (const { port, settings } of current.ports)
        this.fillResolved(current, port, this.targets.get('outbound', name, port, settings).upstream);
    });
  }

  private *buildServices(telemetry: CompiledTelemetry): Generator<void, Map<string, ServiceState>> {
    const services = new Map<string, ServiceState>();
    const cached = new Map<string, CachedService>();
    for (const [name, compiled] of this.resources.services) {
      const transcode = this.transcode(compiled);
      let entry = this.cached.get(name);
      if (entry?.compiled !== compiled || entry.telemetry !== telemetry || entry.transcode !== transcode)
        entry = { compiled, telemetry, transcode, state: this.buildService(compiled, telemetry, transcode) };
      cached.set(name, entry);
      services.set(name, entry.state);
      yield;
    }
    this.cached = cached;
    return services;
  }

  private buildService(
    compiled: CompiledService,
    telemetry: CompiledTelemetry,
    transcode: MethodIndex | null,
  ): ServiceState {
    const ports = new Map<number, Destination>();
    let http: Destination | null = null;
    for (const { port, settings, opaque } of compiled.ports) {
      const { protocol, tls } = settings;
      const target = this.targets.get('outbound', compiled.name, port, settings);
      const destination: Destination = {
        service: compiled.name,
        port,
        protocol,
        tls,
        cluster: target.upstream.cluster,
        stats: target.stats,
        telemetry,
        // JSON becomes gRPC only where gRPC is spoken.
        transcode: protocol === 'grpc' || protocol === 'http2' ? transcode : null,
        opaque,
      };
      ports.set(port, destination);
      if (http === null && protocol !== 'tcp') http = destination;
    }
    return { name: compiled.name, ports, http, localPort: compiled.message.localPort };
  }

  private telemetry(service: string | null): CompiledTelemetry {
    let found = this.telemetryOfService.get(service);
    if (found === undefined) {
      const all: CompiledTelemetryResource[] = [...this.resources.telemetries.values()];
      found = all.length === 0 ? DEFAULT_TELEMETRY : telemetryOf(service, all);
      this.telemetryOfService.set(service, found);
    }
    return found;
  }

  /** The methods that the Service offers as JSON; null when it has no descriptors, or they are not here yet. */
  private transcode({ message }: CompiledService): MethodIndex | null {
    const index = message.descriptorSet === '' ? undefined : this.resources.descriptors.get(message.descriptorSet);
    if (index === undefined || message.transcodedServices.length === 0) return index ?? null;
    const key = [...message.transcodedServices].sort().join(' ');
    const known = this.filtered.get(index) ?? new Map<string, MethodIndex>();
    this.filtered.set(index, known);
    let filtered = known.get(key);
    if (filtered === undefined) {
      const offered = new Set(message.transcodedServices);
      const bindings: MethodIndex['bindings'] = new Map();
      for (const [method, list] of index.bindings)
        bindings.set(
          method,
          list.filter((binding) => offered.has(binding.method.parent.typeName)),
        );
      filtered = { registry: index.registry, bindings };
      known.set(key, filtered);
    }
    return filtered;
  }
}

/** Where TLS to names outside the mesh goes. Of two Services with one name, that of the own namespace, else the first. */
function serverNamesOf(services: Iterable<CompiledService>, namespace: string): Map<string, string> {
  const named = [...services].filter(
    ({ dns, ports }) => dns !== null && ports.some((one) => one.settings.protocol === 'tcp'),
  );
  const rank = ({ name }: CompiledService): string => `${name.startsWith(`${namespace}/`) ? 0 : 1} ${name}`;
  named.sort((a, b) => (rank(a) < rank(b) ? 1 : -1));
  return new Map(named.map(({ name, dns }) => [(dns?.host ?? '').toLowerCase(), name]));
}

/** Routes that tie with another one, as far as they came with this change. */
function tieErrors(
  ties: readonly { readonly path: string; readonly message: string }[],
  upserts: readonly ResourceBytes[],
): ResourceError[] {
  const errors: ResourceError[] = [];
  for (const { path, message } of ties) {
    const name = path.slice(0, Math.max(0, path.indexOf('#')));
    const resource = upserts.find((one) => one.name === name && one.typeUrl.endsWith('.Route'));
    if (resource !== undefined) errors.push({ typeUrl: resource.typeUrl, name, error: `${path}: ${message}` });
  }
  return errors;
}
