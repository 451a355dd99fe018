// What is counted of the requests to one Service in one direction: objects made once, found by number on the hot path.

import { LIMITS } from '../base/limits.ts';
import type { Counter, Histogram, WorkerSeries } from './worker-series.ts';

/** The requests that one rule decided. */
export class RuleStats {
  private readonly owner: RequestStats;
  private readonly rule: string;
  private readonly plain = new Map<number, Counter>();

  constructor(owner: RequestStats, rule: string) {
    this.owner = owner;
    this.rule = rule;
  }

  /**
   * Counts one request.
   * @param status 0 when none was sent. @param grpcStatus -1: not gRPC. @param flag `-` unless Weft answered.
   */
  count(status: number, grpcStatus: number, flag: string): void {
    if (flag !== '-') {
      // Slow path: failures are rare, and their flags a closed set.
      this.series(status, grpcStatus, flag).add(1);
      return;
    }
    // gRPC statuses are 0 to 16; a stranger's number would be a label made by a peer.
    const key = status * 32 + (grpcStatus > 16 ? 2 : grpcStatus) + 1;
    let counter = this.plain.get(key);
    if (counter === undefined) {
      counter = this.series(status, grpcStatus, flag);
      this.plain.set(key, counter);
    }
    counter.add(1);
  }

  private series(status: number, grpcStatus: number, flag: string): Counter {
    const { series, direction, service } = this.owner;
    const grpc = grpcStatus < 0 ? '' : String(grpcStatus > 16 ? 2 : grpcStatus);
    return series.counter('requests', direction, service, this.rule, String(status), grpc, flag);
  }
}

export class RequestStats {
  readonly series: WorkerSeries;
  readonly direction: string;
  readonly service: string;
  readonly duration: Histogram;
  readonly active: Counter;
  readonly retries: Counter;
  readonly connectFailures: Counter;
  readonly ejections: Counter;
  private readonly rules = new Map<string, RuleStats>();

  constructor(series: WorkerSeries, direction: 'outbound' | 'inbound' | 'ai', service: string) {
    this.series = series;
    this.direction = direction;
    this.service = service;
    this.duration = series.histogram('duration', direction, service);
    this.active = series.counter('active', direction);
    this.retries = series.counter('retries', service);
    this.connectFailures = series.counter('connectFailures', service);
    this.ejections = series.counter('ejections', service);
  }

  /** @param name of the rule, the same string object each time where possible. */
  rule(name: string): RuleStats {
    let found = this.rules.get(name);
    if (found === undefined) {
      if (this.rules.size >= LIMITS.serviceRulesMax) this.rules.clear();
      found = new RuleStats(this, name);
      this.rules.set(name, found);
    }
    return found;
  }
}
