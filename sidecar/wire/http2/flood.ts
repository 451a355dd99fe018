// The flood guard: a token bucket for each kind of frame that is cheap to send and costs us work.

import { FLOOD_LIMITS, type FloodKind } from './limits.ts';

/** Budgets of one connection. */
export class FloodGuard {
  private readonly left = new Map<FloodKind, number>();
  private readonly since = new Map<FloodKind, number>();
  private readonly nowMs: () => number;

  /** `nowMs`: a monotonic clock in milliseconds. */
  constructor(nowMs: () => number) {
    this.nowMs = nowMs;
  }

  /** Takes one token; false: the budget is exceeded. */
  take(kind: FloodKind): boolean {
    const limit = FLOOD_LIMITS[kind];
    let left = this.left.get(kind) ?? limit.burst;
    if (left < 1) {
      // Slow path: the clock is read only when the burst is used up.
      const now = this.nowMs();
      const since = this.since.get(kind) ?? now;
      left = Math.min(limit.burst, left + ((now - since) * limit.perSecond) / 1000);
      this.since.set(kind, now);
      if (left < 1) {
        this.left.set(kind, left);
        return false;
      }
    } else if (!this.since.has(kind)) {
      this.since.set(kind, this.nowMs());
    }
    this.left.set(kind, left - 1);
    return true;
  }

  /** Gives back what the peer earned by work we did, up to the burst. */
  earn(kind: FloodKind, tokens: number): void {
    const left = this.left.get(kind);
    if (left !== undefined) this.left.set(kind, Math.min(FLOOD_LIMITS[kind].burst, left + tokens));
  }
}
