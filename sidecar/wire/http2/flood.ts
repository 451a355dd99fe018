// The flood guard: a token bucket for each kind of frame that is cheap to send and costs us work.

import { FLOOD_LIMITS, type FloodKind } from './limits.ts';

/** What is left of one budget. */
class Bucket {
  left: number;
  /** When `left` was last true; -1: never looked at. */
  sinceMs = -1;

  constructor(left: number) {
    this.left = left;
  }
}

/** Budgets of one connection. */
export class FloodGuard {
  private readonly buckets = new Map<FloodKind, Bucket>();
  private readonly nowMs: () => number;

  /** `nowMs`: a monotonic clock in milliseconds. */
  constructor(nowMs: () => number) {
    this.nowMs = nowMs;
  }

  /** Takes one token; false: the budget is exceeded. */
  take(kind: FloodKind): boolean {
    let bucket = this.buckets.get(kind);
    if (bucket === undefined) {
      bucket = new Bucket(FLOOD_LIMITS[kind].burst);
      this.buckets.set(kind, bucket);
    }
    if (bucket.sinceMs < 0) bucket.sinceMs = this.nowMs();
    // The clock is read again only when the burst is used up.
    if (bucket.left < 1 && !this.refill(bucket, kind)) return false;
    bucket.left -= 1;
    return true;
  }

  /** Gives back what the peer earned by work we did, up to the burst. */
  earn(kind: FloodKind, tokens: number): void {
    const bucket = this.buckets.get(kind);
    if (bucket !== undefined) bucket.left = Math.min(FLOOD_LIMITS[kind].burst, bucket.left + tokens);
  }

  private refill(bucket: Bucket, kind: FloodKind): boolean {
    const limit = FLOOD_LIMITS[kind];
    const nowMs = this.nowMs();
    bucket.left = Math.min(limit.burst, bucket.left + ((nowMs - bucket.sinceMs) * limit.perSecond) / 1000);
    bucket.sinceMs = nowMs;
    return bucket.left >= 1;
  }
}
