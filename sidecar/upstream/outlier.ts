// Ejects endpoints that fail and brings them back by trial. After the ejection time exactly one request, the
// probe, goes to the endpoint and decides: back in, or out for twice as long (Linkerd's failure accrual). Pure:
// time and chance are handed in.

import { LIMITS } from '../base/limits.ts';
import type { Random } from '../base/random.ts';

/** When to eject and for how long. */
export interface OutlierPolicy {
  /** Failures in a row that eject. */
  readonly failures: number;
  readonly baseMs: number;
  readonly maxMs: number;
  /** An ejection is longer by up to this share of itself, 0 to 1. */
  readonly jitter: number;
  /** Ejected endpoints, in percent of all, rounded down: the only endpoint of a cluster is never ejected. */
  readonly percentMax: number;
}

/** Consecutive 7, 1 s doubling to 60 s, jitter 0.5 (Linkerd), at most half (Envoy's panic threshold). */
export const OUTLIER_DEFAULTS: OutlierPolicy = {
  failures: LIMITS.ejectionFailures,
  baseMs: LIMITS.ejectionBaseMs,
  maxMs: LIMITS.ejectionMaxMs,
  jitter: LIMITS.ejectionJitter,
  percentMax: LIMITS.ejectionPercentMax,
};

/** What an attempt said of its endpoint; `unknown` when it ended before it could tell (the client left). */
export type Verdict = 'success' | 'failure' | 'unknown';

/** The endpoints of one cluster seen together, because only so many may be out at once. */
export class OutlierDetector {
  policy: OutlierPolicy;
  readonly random: Random;
  /** Endpoints tracked. */
  total = 0;
  /** Of those, ejected or on probation. */
  ejected = 0;

  constructor(random: Random, policy: OutlierPolicy = OUTLIER_DEFAULTS) {
    this.random = random;
    this.policy = policy;
  }

  /** Starts to track an endpoint; call `remove` on what it gives when the endpoint goes. */
  track(): EndpointHealth {
    this.total += 1;
    return new EndpointHealth(this);
  }

  /** More endpoints are out than may be (healthy ones were removed since): the balancer should ignore health. */
  get panic(): boolean {
    return this.ejected * 100 > this.total * this.policy.percentMax;
  }

  /** Whether one more may be ejected. */
  get mayEject(): boolean {
    return (this.ejected + 1) * 100 <= this.total * this.policy.percentMax;
  }
}

/** One endpoint's health: serving, ejected until a time, or on probation with one probe under way. */
export class EndpointHealth {
  private readonly detector: OutlierDetector;
  private failuresInRow = 0;
  /** Ejections since it last served; the exponent of the next one. */
  private ejections = 0;
  private ejectedUntilMs = 0;
  private out = false;
  private probing = false;
  private removed = false;

  constructor(detector: OutlierDetector) {
    this.detector = detector;
  }

  /** Whether a request may be sent there now: it serves, or its ejection is over and nobody probes it yet. */
  admits(nowMs: number): boolean {
    return !this.out || (!this.probing && nowMs >= this.ejectedUntilMs);
  }

  /** For people: what it is and why. */
  describe(nowMs: number): string {
    if (!this.out) return this.failuresInRow === 0 ? 'serving' : `serving, ${this.failuresInRow} failures in a row`;
    if (this.probing) return 'on probation: one probe request is under way';
    const leftMs = Math.ceil(this.ejectedUntilMs - nowMs);
    return leftMs > 0 ? `ejected for ${leftMs} ms more` : 'on probation: the next request decides';
  }

  /** A request is being sent there. True when it is the probe; hand that to `record`. */
  begin(nowMs: number): boolean {
    // Panic sends to ejected endpoints too; only a request that `admits` allowed is the probe.
    if (!this.out || !this.admits(nowMs)) return false;
    this.probing = true;
    return true;
  }

  /** What came of a request. True when this ejected the endpoint (to be counted, logged and announced). */
  record(verdict: Verdict, probe: boolean, nowMs: number): boolean {
    if (this.removed) return false;
    if (this.out) {
      // Requests sent before the ejection say nothing about now: only the probe decides.
      if (!probe) return false;
      this.probing = false;
      if (verdict === 'failure') this.eject(nowMs);
      else if (verdict === 'success') this.readmit();
      return verdict === 'failure';
    }
    if (verdict === 'unknown') return false;
    if (verdict === 'success') {
      this.failuresInRow = 0;
      return false;
    }
    this.failuresInRow += 1;
    if (this.failuresInRow < this.detector.policy.failures || !this.detector.mayEject) return false;
    this.out = true;
    this.detector.ejected += 1;
    this.eject(nowMs);
    return true;
  }

  /** The endpoint has left the cluster; what its last requests say is ignored. */
  remove(): void {
    if (this.removed) return;
    this.removed = true;
    this.detector.total -= 1;
    if (this.out) this.detector.ejected -= 1;
  }

  private eject(nowMs: number): void {
    const { baseMs, maxMs, jitter } = this.detector.policy;
    const lengthMs = Math.min(maxMs, baseMs * 2 ** this.ejections);
    this.ejections += 1;
    this.ejectedUntilMs = nowMs + lengthMs * (1 + jitter * this.detector.random());
  }

  private readmit(): void {
    this.out = false;
    this.detector.ejected -= 1;
    this.failuresInRow = 0;
    this.ejections = 0;
  }
}
