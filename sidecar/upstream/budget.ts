// Keeps retries from turning an outage into a storm: the retries in flight of a cluster are a bounded share of its
// requests in flight (Envoy's retry budget; Google SRE book, ch. 21).

import { LIMITS } from '../base/limits.ts';

/** What an acquire gives; `release` counts once however often it is called. */
export interface Guard {
  release(): void;
}

/** One per cluster; outlives config changes. */
export class RetryBudget {
  /** Requests in flight, retries included. */
  requests = 0;
  /** Retries in flight. */
  retries = 0;
  private readonly percent: number;
  private readonly min: number;

  /** `percent` of requests in flight may be retries (default 20), at least `min` of them (default 3). */
  constructor(percent: number = LIMITS.retryBudgetPercent, min: number = LIMITS.retryBudgetMin) {
    this.percent = percent;
    this.min = min;
  }

  /** Counts a request until it is finished. Never refused: the breaker limits requests. */
  acquireRequest(): Guard {
    this.requests += 1;
    return new BudgetGuard(this, false);
  }

  /** Counts a retry until it is finished, or null when the budget is spent and the failure must be passed on. */
  tryAcquireRetry(): Guard | null {
    if (this.retries >= Math.max(this.min, Math.floor((this.requests * this.percent) / 100))) return null;
    this.retries += 1;
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
    if (this.retry) budget.retries -= 1;
    else budget.requests -= 1;
  }
}
