// Ejects endpoints that fail and brings them back by trial. After the ejection time exactly one request, the
// probe, goes to the endpoint and decides: back in, or out for twice as long (Linkerd's failure accrual). Pure:
// time and chance are handed in.
//
// Each worker has a state of its own and tells the others what it found. So that they do not all probe, the worker that
// ejected an endpoint is the one that tries it; the others wait as long again, in case it has no request to try it with.
//
// Failures in a row are the only signal. A success rate (Envoy's deviation from the mean, Linkerd's 0.8 over 10 s) also
// finds the endpoint that fails half of its calls; but it needs a window of requests to every endpoint, which a sidecar
// with little traffic never has, and it ejects for errors that a kind of request causes, wherever it is sent, as those
// come mixed with successes. Failures in a row need seven requests and no clock, and are told in one sentence.

import { LIMITS } from '../base/limits.ts';
import type { HealthNews } from '../base/messages.ts';
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

/** What changed with an endpoint, to be counted. */
export type HealthChange = 'ejected' | 'readmitted' | null;

/** What the other workers are told: also that its probe is under way. */
export type HealthEvent = HealthNews['event'];

/** How long another worker's probe is waited for: as long as a request may take by default. */
const PROBE_PATIENCE_MS = LIMITS.routeTimeoutMs;

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
  /** Ejected, or probed last, by this worker, which tries it next. */
  private own = false;
  private removed = false;

  constructor(detector: OutlierDetector) {
    this.detector = detector;
  }

  /** Whether a request may be sent there now: it serves, or its ejection is over and nobody probes it yet. */
  admits(nowMs: number): boolean {
    return !this.out || (!this.probing && nowMs >= this.ejectedUntilMs);
  }

  /** Ejected or on probation. */
  get isOut(): boolean {
    return this.out;
  }

  /** For people: what it is and why. */
  describe(nowMs: number): string {
    if (!this.out) return this.failuresInRow === 0 ? 'serving' : `serving, ${this.failuresInRow} failures in a row`;
    if (this.probing) return 'on probation: one probe request is under way';
    const leftMs = Math.ceil(this.ejectedUntilMs - nowMs);
    if (leftMs <= 0) return 'on probation: the next request decides';
    return `ejected for ${leftMs} ms more${this.own ? '' : ', unless the worker that ejected it brings it back before'}`;
  }

  /** A request is being sent there. True when it is the probe; hand that to `record`. */
  begin(nowMs: number): boolean {
    // Panic sends to ejected endpoints too; only a request that `admits` allowed is the probe.
    if (!this.out || !this.admits(nowMs)) return false;
    this.probing = true;
    this.own = true;
    return true;
  }

  /** What came of a request. */
  record(verdict: Verdict, probe: boolean, nowMs: number): HealthChange {
    if (this.removed) return null;
    if (this.out) {
      // Requests sent before the ejection say nothing about now: only the probe decides.
      if (!probe) return null;
      this.probing = false;
      if (verdict === 'unknown') return null;
      return verdict === 'failure' ? this.eject(nowMs) : this.readmit();
    }
    if (verdict === 'unknown') return null;
    if (verdict === 'success') {
      this.failuresInRow = 0;
      return null;
    }
    this.failuresInRow += 1;
    if (this.failuresInRow < this.detector.policy.failures || !this.detector.mayEject) return null;
    return this.eject(nowMs);
  }

  /** How long the ejection still lasts, in ms; 0: it serves or may be tried. */
  ejectedMs(nowMs: number): number {
    return this.out ? Math.max(0, this.ejectedUntilMs - nowMs) : 0;
  }

  /**
   * What another worker found out holds here, too. As many may be out here as ever: what one worker saw does not take the
   * last endpoint from another.
   * @param lengthMs of an ejection.
   */
  follow(event: HealthEvent, lengthMs: number, nowMs: number): void {
    if (this.removed) return;
    switch (event) {
      case 'readmitted':
        if (this.out) this.readmit();
        return;
      case 'probing':
        // Both may have begun before they heard of each other: then each keeps to its own.
        if (!this.out || this.probing) return;
        this.own = false;
        this.ejectedUntilMs = Math.max(this.ejectedUntilMs, nowMs + PROBE_PATIENCE_MS);
        return;
      case 'ejected':
        // Both found it out at once: the first to probe tells the other.
        if (this.out ? this.own : !this.detector.mayEject) return;
        this.own = false;
        // Not at once after the other one, and not all at once.
        this.ejectUntil(nowMs + lengthMs * (2 + this.detector.random()));
    }
  }

  /** The endpoint has left the cluster; what its last requests say is ignored. */
  remove(): void {
    if (this.removed) return;
    this.removed = true;
    this.detector.total -= 1;
    if (this.out) this.detector.ejected -= 1;
  }

  private eject(nowMs: number): HealthChange {
    const { baseMs, maxMs, jitter } = this.detector.policy;
    const lengthMs = Math.min(maxMs, baseMs * 2 ** this.ejections);
    this.own = true;
    this.ejectUntil(nowMs + lengthMs * (1 + jitter * this.detector.random()));
    return 'ejected';
  }

  private ejectUntil(untilMs: number): void {
    if (!this.out) this.detector.ejected += 1;
    this.out = true;
    this.ejections += 1;
    this.ejectedUntilMs = untilMs;
  }

  private readmit(): HealthChange {
    this.out = false;
    this.detector.ejected -= 1;
    this.failuresInRow = 0;
    this.ejections = 0;
    return 'readmitted';
  }
}
