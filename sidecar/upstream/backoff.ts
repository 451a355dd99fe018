// How long to wait before a retry. Full jitter spreads the callers of a failed endpoint over the whole interval,
// which finishes soonest with the fewest calls (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).

import { LIMITS } from '../base/limits.ts';
import type { Random } from '../base/random.ts';

/**
 * Milliseconds to wait before retry number `retry` (0 is the first): uniform in [0, min(maxMs, baseMs * 2^retry)).
 * Defaults 25 ms and 250 ms (Envoy).
 */
export function backoffMs(
  retry: number,
  random: Random,
  baseMs: number = LIMITS.backoffBaseMs,
  maxMs: number = LIMITS.backoffMaxMs,
): number {
  return random() * Math.min(maxMs, baseMs * 2 ** retry);
}
