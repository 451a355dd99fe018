// Keeps retries from turning an outage into a storm: the retries in flight of a cluster are a bounded share of its
// requests in flight (Envoy's retry budget; Google SRE book, ch. 21).

import { LIMITS } from '../base/limits.ts';

/** What an acquire gives; `release` counts once however often it is called. */
export interface Guard {
  release(): void;
}

/** A number that several workers make together. */
export interface Tally {
  add(value: number): void;
  /** Of all workers. */
  readonly total: number;
}

class OwnTally implements Tally {
  total = 0;

  add(value: number): void {
    this.total += value;
  }
}

/** One per cluster; outlives config changes. */
export class RetryBudget {
  /** Requests in flight, retries included. */
  readonly requests: Tally;
  /** Retries in flight. */
  readonly retries: Tally;
  private readonly percent: number;
  private readonly min: number;

  /**
   * `percent` of requests in flight may be retries (default 20), at least `min` of them (default 3).
   * @param requests counts here only, by default, and so does `retries`.
   */
  constructor(
    requests: Tally = new OwnTally(),
    retries: Tally = new OwnTally(),
    percent: number = LIMITS.retryBudgetPercent,
    min: number = LIMITS.retryBudgetMin,
  ) {
    this.requests = requests;
    this.retries = retries;
    this.percent = percent;
    this.min = min;
  }

  /** Counts a request until it is finished. Never refused: the breaker limits requests. */
  acquireRequest(): Guard {
    this.requests.add(1);
    return new BudgetGuard(this, false);
  }

  /** Counts a retry until it is finished, or null when the budget is spent and the failure must be passed on. */
  tryAcquireRetry(): Guard | null {
    const allowed = Math.max(this.min, Math.floor((this.requests.total * this.percent) / 100));
    if (this.retries.total >= allowed) return null;
    this.retries.add(1);
    return new BudgetGuard(this, true);
  }
}

class BudgetGuard implements Guard {
  private budget: RetryBudget | null;
  private readonly retry: boolean;

  constructor(budget: RetryBudget, retry: boolean) {
    this.budget = budget;
    this.retry = retry;
  }

  release(): void {
    const budget = this.budget;
    if (budget === null) return;
    this.budget = null;
    (this.retry ? budget.retries : budget.requests).add(-1);
  }
}
