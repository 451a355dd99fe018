// The endpoints of one Service as this worker sees them: who is picked, who is ejected, how many retries are left.
// State that outlives a config change: an endpoint keeps its pool and its health for as long as its name stays.

import { LIMITS } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import type { Balanced, Balancer } from './balancer.ts';
import { RetryBudget } from './budget.ts';
import type { DialObserver } from './connect.ts';
import {
  type EndpointHealth,
  type HealthEvent,
  OUTLIER_DEFAULTS,
  OutlierDetector,
  type OutlierPolicy,
} from './outlier.ts';
import type { Pool } from './pool.ts';

/** One workload that can be called. */
export class Endpoint implements Balanced {
  /** Resource name: `namespace/service/workload`. */
  readonly name: string;
  /** Flat `[label, value, ...]`. */
  readonly labels: readonly string[];
  readonly pool: Pool;
  readonly health: EndpointHealth;
  /** Another sidecar stands before it, whose word on what was sent on holds. */
  readonly behindSidecar: boolean;
  inFlight = 0;

  constructor(name: string, labels: readonly string[], pool: Pool, health: EndpointHealth, behindSidecar: boolean) {
    this.behindSidecar = behindSidecar;
    this.name = name;
    this.labels = labels;
    this.pool = pool;
    this.health = health;
  }

  admits(nowMs: number): boolean {
    return this.health.admits(nowMs);
  }
}

/** An endpoint as `explain` and admin show it. */
export interface EndpointView {
  readonly name: string;
  /** `version=v2,zone=a`. */
  readonly labels: string;
  /** Whether it has the labels that were asked for. */
  readonly chosenFrom: boolean;
  /** Whether a request may go there now. */
  readonly takesRequests: boolean;
  /** What it is and why. */
  readonly health: string;
  readonly inFlight: number;
}

/** Envoy's panic mode: better a request that may fail than all of the load on the few that are left. */
const PANIC = '; health is ignored, since too few are healthy';

/** Who counts what happens to endpoints. */
export interface ClusterObserver extends DialObserver {
  onHealth(endpoint: Endpoint, event: HealthEvent): void;
  onConnectFailed(): void;
}

const NOBODY: ClusterObserver = {
  onHealth() {},
  onConnectFailed() {},
  onMalformed() {},
  onGuard() {},
  onHandshake() {},
};

export class Cluster {
  observer: ClusterObserver = NOBODY;
  /** Knows the requests under way, in all workers; at most `requestsMax` (1,024: Envoy's circuit breaker). */
  budget = new RetryBudget();
  requestsMax: number = LIMITS.clusterRequestsMax;
  private balancer: Balancer;
  private readonly detector: OutlierDetector;
  private endpoints: readonly Endpoint[] = [];
  /** Endpoints by label selection, so that a weighted pick of `version: v2` filters nothing per request. */
  private readonly subsets = new Map<string, readonly Endpoint[]>();

  constructor(balancer: Balancer, random: Random, outlier: OutlierPolicy = OUTLIER_DEFAULTS) {
    this.balancer = balancer;
    this.detector = new OutlierDetector(random, outlier);
  }

  /** A changed policy; who is ejected now stays so until its probe. */
  configure(balancer: Balancer | null, outlier: OutlierPolicy, requestsMax: number): void {
    if (balancer !== null) this.balancer = balancer;
    this.detector.policy = outlier;
    this.requestsMax = requestsMax;
  }

  /** For `explain` and `dump`. */
  get list(): readonly Endpoint[] {
    return this.endpoints;
  }

  get size(): number {
    return this.endpoints.length;
  }

  /** Adds an endpoint, or replaces the one of this name: changed labels or address mean a new pool. */
  setEndpoint(name: string, labels: readonly string[], pool: Pool, behindSidecar = false): void {
    this.removeEndpoint(name);
    this.endpoints = [...this.endpoints, new Endpoint(name, labels, pool, this.detector.track(), behindSidecar)];
    this.subsets.clear();
  }

  /** Withdraws an endpoint: nothing new goes there, what is under way ends by itself. */
  removeEndpoint(name: string): void {
    const gone = this.endpoints.find((endpoint) => endpoint.name === name);
    if (gone === undefined) return;
    this.endpoints = this.endpoints.filter((endpoint) => endpoint !== gone);
    this.subsets.clear();
    gone.health.remove();
    gone.pool.close();
  }

  /** An endpoint with these labels, other than `avoid` if there is another; null when there is none to be had. */
  pick(labels: readonly string[], nowMs: number, avoid: Endpoint | null): Endpoint | null {
    const candidates = labels.length === 0 ? this.endpoints : this.subset(labels);
    return this.balancer.pick(candidates, nowMs, avoid, this.panics(candidates));
  }

  /** Why `pick` found none. */
  whyNone(labels: readonly string[]): string {
    if (this.size === 0) return 'the Service has no endpoints';
    if (labels.length > 0 && this.subset(labels).length === 0) return `no endpoint has the labels ${labelText(labels)}`;
    return 'every endpoint is ejected; explain says since when and why';
  }

  /** Too few are healthy of those that could be picked: what holds for the whole Service holds for its v1, too. */
  private panics(candidates: readonly Endpoint[]): boolean {
    if (this.detector.ejected === 0) return false;
    let out = 0;
    for (const { health } of candidates) if (health.isOut) out++;
    return out * 100 > candidates.length * this.detector.policy.percentMax;
  }

  /** For people: all endpoints with what `pick` would do with each, for a request that wants `labels`. */
  describe(labels: readonly string[], nowMs: number): EndpointView[] {
    const panic = this.panics(labels.length === 0 ? this.endpoints : this.subset(labels));
    return this.endpoints.map((endpoint) => ({
      name: endpoint.name,
      labels: labelText(endpoint.labels),
      chosenFrom: hasLabels(endpoint.labels, labels),
      takesRequests: panic || endpoint.admits(nowMs),
      health: `${endpoint.health.describe(nowMs)}${panic ? PANIC : ''}`,
      inFlight: endpoint.inFlight,
    }));
  }

  private subset(labels: readonly string[]): readonly Endpoint[] {
    const key = labels.join('\0');
    let found = this.subsets.get(key);
    if (found === undefined) {
      // Slow path: once per selection and change of the endpoints.
      found = this.endpoints.filter((endpoint) => hasLabels(endpoint.labels, labels));
      this.subsets.set(key, found);
    }
    return found;
  }
}

/** Labels as selectors are written: `version=v2,zone=a`; empty without any. */
export function labelText(labels: readonly string[]): string {
  const pairs: string[] = [];
  for (let i = 0; i < labels.length; i += 2) pairs.push(`${labels[i]}=${labels[i + 1]}`);
  return pairs.join(',');
}

function hasLabels(labels: readonly string[], wanted: readonly string[]): boolean {
  for (let i = 0; i < wanted.length; i += 2) {
    let found = false;
    for (let j = 0; j < labels.length && !found; j += 2)
      found = labels[j] === wanted[i] && labels[j + 1] === wanted[i + 1];
    if (!found) return false;
  }
  return true;
}
