// What requests go to, for as long as it exists: the clusters with their connections and health, and the counters, by
// direction, Service and port. They outlive every change of configuration but the one that takes them away.

import type { HealthNews } from '../base/messages.ts';
import { RequestStats } from '../telemetry/request-stats.ts';
import { SharedTally } from '../telemetry/tally.ts';
import { RetryBudget } from '../upstream/budget.ts';
import { type ClusterObserver, labelText } from '../upstream/cluster.ts';
import { Upstream, type UpstreamSettings } from '../upstream/upstream.ts';
import type { OwnPort, Snapshot } from './snapshot.ts';
import type { StateContext } from './state.ts';

/** One port of one Service, application or provider, for as long as it exists. */
export interface Target {
  readonly upstream: Upstream;
  readonly stats: RequestStats;
}

export class Targets {
  private readonly context: StateContext;
  private readonly targets = new Map<string, Target>();

  constructor(context: StateContext) {
    this.context = context;
  }

  /**
   * The one there is, else a new one with these settings. `port` 0: a provider's.
   * @param spoken one of several protocols of the port; empty: it has one, or this is the opaque one.
   */
  get(
    direction: 'outbound' | 'inbound' | 'ai',
    name: string,
    port: number,
    settings: UpstreamSettings,
    spoken: '' | 'http1' | 'http2' = '',
  ): Target {
    const key = spoken === '' ? `${direction} ${name} ${port}` : `${direction} ${name} ${port} ${spoken}`;
    let target = this.targets.get(key);
    if (target === undefined) {
      const stats = new RequestStats(this.context.series, direction, name);
      const upstream = new Upstream(this.context, settings);
      const { series } = this.context;
      const labels = [direction, name, String(port)];
      upstream.cluster.budget = new RetryBudget(
        new SharedTally(series.counter('upstreamRequests', ...labels)),
        new SharedTally(series.counter('upstreamRetries', ...labels)),
      );
      upstream.cluster.observer = this.observer(key, name, stats);
      target = { upstream, stats };
      this.targets.set(key, target);
    }
    return target;
  }

  private observer(target: string, service: string, stats: RequestStats): ClusterObserver {
    const { announce, clock, series } = this.context;
    return {
      onConnectFailed: () => stats.connectFailures.add(1),
      onMalformed: (reason) => series.counter('malformed', 'upstream', reason).add(1),
      onHandshake: ({ version, group, resumed }) =>
        series.counter('upstreamHandshakes', service, version, group, resumed ? 'yes' : 'no').add(1),
      onGuard: (name) => series.counter('guards', 'upstream', name).add(1),
      onHealth: ({ name, health }, event) => {
        if (event === 'ejected') stats.ejections.add(1);
        announce({ type: 'health', target, endpoint: name, event, ejectedMs: health.ejectedMs(clock.nowMs()) });
      },
    };
  }

  /** What another worker found out about an endpoint holds here, too. */
  follow({ target, endpoint, event, ejectedMs }: HealthNews, nowMs: number): void {
    const cluster = this.targets.get(target)?.upstream.cluster;
    cluster?.list.find(({ name }) => name === endpoint)?.health.follow(event, ejectedMs, nowMs);
  }

  /** Gives up what the configuration no longer knows: nothing new goes there, and what is under way ends by itself. */
  retain({ services, ownServices, providers }: Pick<Snapshot, 'services' | 'ownServices' | 'providers'>): void {
    for (const [key, { upstream }] of this.targets) {
      const [direction, name = '', port, spoken] = key.split(' ');
      const used =
        direction === 'ai'
          ? providers.has(name)
          : direction === 'inbound'
            ? isOwn(ownServices.get(name)?.ports.get(Number(port)), spoken)
            : services.get(name)?.ports.has(Number(port)) === true;
      if (used) continue;
      upstream.close();
      this.targets.delete(key);
    }
  }

  /** Endpoints as people read them: address, health and why, requests under way. */
  describe(nowMs: number): object[] {
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
          labels: labelText(endpoint.labels),
          health: endpoint.health.describe(nowMs),
          inFlight: endpoint.inFlight,
          connections: endpoint.pool.connections,
          pending: endpoint.pool.pendingRequests,
        });
      }
    }
    return list;
  }

  /** Everything that requests can go to, also what none went to yet and what has no endpoint. */
  describeClusters(nowMs: number): object[] {
    const list: object[] = [];
    for (const [key, { upstream }] of this.targets) {
      const [direction, service, port] = key.split(' ');
      const { cluster } = upstream;
      const views = cluster.describe([], nowMs);
      list.push({
        direction,
        service,
        port: Number(port),
        endpoints: views.length,
        takeRequests: views.filter((one) => one.takesRequests).length,
        requestsMax: cluster.requestsMax,
      });
    }
    return list;
  }

  close(): void {
    for (const { upstream } of this.targets.values()) upstream.close();
  }
}

/** Whether an application's port is there, and still tells its protocol by the connection where `spoken` is one of several. */
function isOwn(port: OwnPort | undefined, spoken: string | undefined): boolean {
  return port !== undefined && (spoken === undefined || port.spoken !== undefined);
}
