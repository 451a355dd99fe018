// From resources to the snapshot that requests pin: takes changes in slices between requests and swaps with one
// assignment. What outlives a change (clusters with their connections and health, counters) is carried over by name.

import type { LocalApp, ResourceBytes, ResourceError } from '../base/messages.ts';
import { assembleAuthorization } from '../filters/authorization/compile.ts';
import { RequestStats } from '../telemetry/request-stats.ts';
import type { WorkerSeries } from '../telemetry/worker-series.ts';
import type { MethodIndex } from '../transcode/methods.ts';
import type { ClusterObserver } from '../upstream/cluster.ts';
import { watchName } from '../upstream/dns.ts';
import { Upstream, type UpstreamContext, type UpstreamSettings } from '../upstream/upstream.ts';
import {
  appSettings,
  type CompiledProvider,
  type CompiledService,
  type CompiledTelemetryResource,
  telemetryOf,
} from './compile-service.ts';
import { buildTableSteps, type HostCache } from './compile-table.ts';
import { type Changes, Resources } from './resources.ts';
import { runInSlices, type SliceCount } from './slices.ts';
import type {
  CompiledTelemetry,
  Destination,
  ModelState,
  ModelTargetState,
  OwnPort,
  OwnService,
  ProviderState,
  ServiceState,
  Snapshot,
} from './snapshot.ts';
import { AI_RULE, DEFAULT_TELEMETRY, DENY_ALL } from './snapshot.ts';

/** What the configuration needs of its worker. */
export interface StateContext extends UpstreamContext {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly apps: readonly LocalApp[];
  readonly series: WorkerSeries;
  /** The own SPIFFE id; empty before the first identity. */
  spiffeId(): string;
  /** The swap. */
  publish(snapshot: Snapshot): void;
}

/** One port of one Service, application or provider, for as long as it exists. */
interface Target {
  readonly upstream: Upstream;
  readonly stats: RequestStats;
}

interface CachedService {
  readonly compiled: CompiledService;
  readonly telemetry: CompiledTelemetry;
  readonly transcode: MethodIndex | null;
  readonly state: ServiceState;
}

interface Resolved {
  readonly key: string;
  readonly stop: () => void;
  addresses: readonly string[];
}

export class ConfigState {
  readonly resources = new Resources();
  readonly sliceCount: SliceCount = { slices: 0 };
  private readonly context: StateContext;
  private readonly targets = new Map<string, Target>();
  private readonly resolved = new Map<string, Resolved>();
  private readonly hostCache: HostCache = new Map();
  private readonly filtered = new WeakMap<MethodIndex, Map<string, MethodIndex>>();
  private cached = new Map<string, CachedService>();
  private telemetryOfService = new Map<string | null, CompiledTelemetry>();
  private last: Promise<unknown> = Promise.resolve();

  constructor(context: StateContext) {
    this.context = context;
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

  /** Endpoints as people read them: address, health and why, requests under way. */
  describeEndpoints(nowMs: number): object[] {
    const list: object[] = [];
    for (const [key, { upstream }] of this.targets) {
      const [direction, service, port] = key.split(' ');
      for (const endpoint of upstream.cluster.list) {
        list.push({
          direction,
          service,
          port: Number(port),
          name: endpoint.name,
          address: upstream.address(endpoint.name),
          labels: endpoint.labels,
          health: endpoint.health.describe(nowMs),
          inFlight: endpoint.inFlight,
          connections: endpoint.pool.connections,
          pending: endpoint.pool.pendingRequests,
        });
      }
    }
    return list;
  }

  /** Stops resolving and closes every pool. */
  close(): void {
    for (const { stop } of this.resolved.values()) stop();
    for (const { upstream } of this.targets.values()) upstream.close();
  }

  private *steps(
    upserts: readonly ResourceBytes[],
    removed: readonly { readonly typeUrl: string; readonly name: string }[],
  ): Generator<void, ResourceError[]> {
    const { resources } = this;
    const errors: ResourceError[] = [];
    const changes: Changes = { services: new Set(), endpoints: new Set(), telemetry: false };
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
    const telemetry = this.telemetry(this.callerService());
    const services = yield* this.buildServices(telemetry);
    const ownServices = this.buildOwn();
    const providers = this.buildProviders(telemetry);
    const models = this.buildModels(providers);
    this.context.publish({ table, services, ownServices, providers, models, telemetry });
    this.dropUnused(services, ownServices, providers);
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
        const { upstream } = this.target('outbound', name, port, settings);
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
    for (const address of this.resolved.get(service.name)?.addresses ?? []) {
      const name = `${service.name}/${address}`;
      names.add(name);
      upstream.set({ name, host: address, port: service.dns?.port || port, labels: [], spiffeId: '' });
    }
    if (names.size > 0) upstream.retain(names);
  }

  private resolve(service: CompiledService): void {
    const { dns, name } = service;
    const known = this.resolved.get(name);
    const key = dns === null ? '' : `${dns.host} ${dns.refreshMs}`;
    if (known?.key === key) return;
    known?.stop();
    this.resolved.delete(name);
    if (dns === null) return;
    let addresses: readonly string[] = known?.addresses ?? [];
    let resolved: Resolved | null = null;
    const stop = watchName(dns.host, dns.refreshMs, this.context, (found) => {
      addresses = found;
      if (resolved === null) return;
      resolved.addresses = found;
      const current = this.resources.services.get(name);
      if (current === undefined) return;
      for (const { port, settings } of current.ports)
        this.fillResolved(current, port, this.target('outbound', name, port, settings).upstream);
    });
    resolved = { key, stop, addresses };
    this.resolved.set(name, resolved);
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
    for (const { port, settings } of compiled.ports) {
      const { protocol, tls } = settings;
      const target = this.target('outbound', compiled.name, port, settings);
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
      };
      ports.set(port, destination);
      if (http === null && protocol !== 'tcp') http = destination;
    }
    return { name: compiled.name, ports, http, localPort: compiled.message.localPort };
  }

  private buildOwn(): Map<string, OwnService> {
    const own = new Map<string, { service: OwnService; ports: Map<number, OwnPort>; apps: Map<number, Set<string>> }>();
    const policies = [...this.resources.authorizations.values()];
    for (const app of this.context.apps) {
      const compiled = this.serviceOfApp(app);
      const found = compiled?.ports.find(({ port }) => app.servicePort === 0 || port === app.servicePort);
      if (compiled === undefined || found === undefined) continue;
      const { name } = compiled;
      let entry = own.get(name);
      if (entry === undefined) {
        const ports = new Map<number, OwnPort>();
        const authorization =
          this.resources.unreadable.size > 0
            ? DENY_ALL
            : assembleAuthorization(name, this.context.trustDomain, policies);
        entry = { service: { name, ports, authorization }, ports, apps: new Map() };
        own.set(name, entry);
      }
      const { port, settings } = found;
      const { upstream, stats } = this.target('inbound', name, port, appSettings(settings));
      upstream.configure(appSettings(settings));
      const endpoint = `app:${app.port}`;
      upstream.set({ name: endpoint, host: '127.0.0.1', port: app.port, labels: [], spiffeId: '' });
      const names = entry.apps.get(port) ?? new Set();
      names.add(endpoint);
      entry.apps.set(port, names);
      const { protocol, tls } = settings;
      const destination: Destination = {
        service: name,
        port,
        protocol,
        tls: 'off',
        cluster: upstream.cluster,
        stats,
        telemetry: this.telemetry(name),
        transcode: null,
      };
      entry.ports.set(port, { port, protocol, tls, destination });
    }
    return new Map([...own].map(([name, { service }]) => [name, service]));
  }

  /** The Service that an application answers; one without a name answers the only one that the identity serves. */
  private serviceOfApp(app: LocalApp): CompiledService | undefined {
    if (app.service !== '') return this.resources.services.get(app.service);
    const id = this.context.spiffeId();
    const mine = [...this.resources.services.values()].filter((service) => service.identities.has(id));
    return mine.length === 1 ? mine[0] : undefined;
  }

  private buildProviders(telemetry: CompiledTelemetry): Map<string, ProviderState> {
    const providers = new Map<string, ProviderState>();
    for (const [name, compiled] of this.resources.providers) {
      const { upstream, stats } = this.target('ai', name, 0, compiled.settings);
      upstream.configure(compiled.settings);
      this.resolveProvider(compiled, upstream);
      const destination: Destination = {
        service: name,
        port: 0,
        protocol: 'http1',
        tls: compiled.settings.tls === 'off' ? 'off' : 'simple',
        cluster: upstream.cluster,
        stats,
        telemetry,
        transcode: null,
      };
      providers.set(name, { name, destination, rule: AI_RULE });
    }
    return providers;
  }

  private resolveProvider({ name, host, port }: CompiledProvider, upstream: Upstream): void {
    const slot = `provider ${name}`;
    const key = `${host}:${port}`;
    if (this.resolved.get(slot)?.key === key) return;
    this.resolved.get(slot)?.stop();
    const stop = watchName(host, PROVIDER_REFRESH_MS, this.context, (addresses) => {
      const names = new Set<string>();
      for (const address of addresses) {
        names.add(`${name}/${address}:${port}`);
        upstream.set({ name: `${name}/${address}:${port}`, host: address, port, labels: [], spiffeId: '' });
      }
      upstream.retain(names);
    });
    this.resolved.set(slot, { key, stop, addresses: [] });
  }

  /** An alias of the own namespace comes first, then by name. */
  private buildModels(providers: ReadonlyMap<string, ProviderState>): Map<string, ModelState> {
    const models = new Map<string, ModelState>();
    const own = `${this.context.namespace}/`;
    const sorted = [...this.resources.models.values()].sort((a, b) => {
      const first = Number(b.name.startsWith(own)) - Number(a.name.startsWith(own));
      return first !== 0 ? first : a.name < b.name ? -1 : 1;
    });
    for (const { name, aliases, targets } of sorted) {
      const states: ModelTargetState[] = [];
      for (const { provider, model, prices, cumulativeWeight } of targets) {
        const compiled = this.resources.providers.get(provider);
        const state = providers.get(provider);
        if (compiled === undefined || state === undefined) continue;
        const { authority, pathPrefix, key } = compiled;
        const chat = { provider: { authority, pathPrefix, key, headers: [] }, model, prices };
        states.push({ provider: state, chat, cumulativeWeight });
      }
      if (states.length === 0) continue;
      for (const alias of aliases) if (!models.has(alias)) models.set(alias, { name, targets: states });
    }
    return models;
  }

  /** Whose Telemetry the calls of the application follow: of several Services the first `--app`'s. Null: it serves none. */
  private callerService(): string | null {
    for (const app of this.context.apps) {
      const served = this.serviceOfApp(app);
      if (served !== undefined) return served.name;
    }
    const id = this.context.spiffeId();
    const mine = [...this.resources.services.values()].filter((service) => service.identities.has(id));
    return mine.map(({ name }) => name).sort()[0] ?? null;
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

  private target(
    direction: 'outbound' | 'inbound' | 'ai',
    name: string,
    port: number,
    settings: UpstreamSettings,
  ): Target {
    const key = `${direction} ${name} ${port}`;
    let target = this.targets.get(key);
    if (target === undefined) {
      const stats = new RequestStats(this.context.series, direction, name);
      const upstream = new Upstream(this.context, settings);
      upstream.cluster.observer = observerOf(stats);
      target = { upstream, stats };
      this.targets.set(key, target);
    }
    return target;
  }

  private dropUnused(
    services: ReadonlyMap<string, ServiceState>,
    own: ReadonlyMap<string, OwnService>,
    providers: ReadonlyMap<string, ProviderState>,
  ): void {
    for (const [key, { upstream }] of this.targets) {
      const [direction, name = '', port] = key.split(' ');
      const used =
        direction === 'ai'
          ? providers.has(name)
          : direction === 'inbound'
            ? own.get(name)?.ports.has(Number(port)) === true
            : services.get(name)?.ports.has(Number(port)) === true;
      if (used) continue;
      upstream.close();
      this.targets.delete(key);
    }
    for (const [slot, { stop }] of this.resolved) {
      const used = slot.startsWith('provider ') ? providers.has(slot.slice('provider '.length)) : services.has(slot);
      if (used) continue;
      stop();
      this.resolved.delete(slot);
    }
  }
}

/** Providers move rarely and their DNS answers live for a minute or so. */
const PROVIDER_REFRESH_MS = 30_000;

function observerOf(stats: RequestStats): ClusterObserver {
  return { onEjected: () => stats.ejections.add(1), onConnectFailed: () => stats.connectFailures.add(1) };
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
