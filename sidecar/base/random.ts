// Chance as a value that can be handed in, so that jitter, balancing and sampling are repeatable in tests.

/** A number in [0, 1), uniform. `Math.random` is one; it is never used for anything secret. */
export type Random = () => number;

/** A repeatable source for tests and simulations (mulberry32); the same `seed` (32-bit integer) gives the same numbers. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** An integer in [0, bound); `bound` is at least 1. */
export function randomBelow(random: Random, bound: number): number {
  return Math.floor(random() * bound);
}
