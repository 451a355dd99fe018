// What all workers have under way together: a gauge that is read as well as written.

import type { Tally } from '../upstream/budget.ts';
import type { Counter } from './worker-series.ts';

/** Until main has given the gauge a slot, and where it shares the overflow series, a worker knows its own part only. */
export class SharedTally implements Tally {
  private readonly gauge: Counter;
  private own = 0;

  constructor(gauge: Counter) {
    this.gauge = gauge;
    // Asks for the slot now: the first request is to know what the others have under way.
    gauge.add(0);
  }

  add(value: number): void {
    this.own += value;
    this.gauge.add(value);
  }

  get total(): number {
    return Math.max(this.own, this.gauge.total);
  }
}
