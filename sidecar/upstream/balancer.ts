// Which endpoint gets the next request. Every endpoint weighs the same; weights between backends are the route's.

import { type Random, randomBelow } from '../base/random.ts';

/** What a balancer needs to know of an endpoint. */
export interface Balanced {
  /** Requests in flight there. */
  readonly inFlight: number;
  /** Whether it takes a request now: neither ejected, unhealthy, nor draining. */
  admits(nowMs: number): boolean;
}

/** Picks; holds its own state, so one per cluster. */
export interface Balancer {
  /**
   * An endpoint that admits, or null when none does. `avoid` is the endpoint of the failed attempt before: taken
   * only when there is no other. `panic` means too few are healthy, and health is ignored (Envoy's panic mode).
   */
  pick<E extends Balanced>(endpoints: readonly E[], nowMs: number, avoid: E | null, panic: boolean): E | null;
}

/** Each in turn. Starts at a random place, so that many sidecars do not march in step. */
export function roundRobin(random: Random): Balancer {
  let cursor = randomBelow(random, 0x4000_0000);
  return {
    pick(endpoints, nowMs, avoid, panic) {
      const at = scan(endpoints, cursor % Math.max(1, endpoints.length), nowMs, avoid, panic);
      if (at < 0) return null;
      cursor = at + 1;
      return endpoints[at] ?? null;
    },
  };
}

/**
 * The less busy of two endpoints chosen by chance (Mitzenmacher 1996): nearly as even as asking all, at the cost of
 * two looks, and without the herd that follows a stale minimum.
 */
export function leastRequest(random: Random): Balancer {
  return {
    pick<E extends Balanced>(endpoints: readonly E[], nowMs: number, avoid: E | null, panic: boolean): E | null {
      const count = endpoints.length;
      if (count === 0) return null;
      const first = draw(endpoints, randomBelow(random, count), -1, random, nowMs, avoid, panic);
      if (first < 0) return null;
      const one = endpoints[first] as E;
      if (count === 1) return one;
      // The second start is drawn from the others.
      const start = (first + 1 + randomBelow(random, count - 1)) % count;
      const second = draw(endpoints, start, first, random, nowMs, avoid, panic);
      const two = endpoints[second] ?? one;
      // The one that just failed may be idle because it fails: it is no choice beside another.
      return two !== avoid && two.inFlight < one.inFlight ? two : one;
    },
  };
}

/**
 * Index of the endpoint at `start`, which chance chose; where that one is out, of another, each with the same chance: a
 * neighbour that inherited its turns would get a multiple of the others' load. `avoid` comes last; -1 when none is usable.
 * @param except is not taken; -1: none.
 */
function draw<E extends Balanced>(
  endpoints: readonly E[],
  start: number,
  except: number,
  random: Random,
  nowMs: number,
  avoid: E | null,
  panic: boolean,
): number {
  const chosen = endpoints[start] as E;
  if (start !== except && chosen !== avoid && (panic || chosen.admits(nowMs))) return start;
  // Slow path: somebody is out, or has just failed. One of those that are left, each as likely (reservoir sampling).
  let found = -1;
  let seen = 0;
  let lastResort = -1;
  for (let i = 0; i < endpoints.length; i += 1) {
    const endpoint = endpoints[i] as E;
    if (i === except || (!panic && !endpoint.admits(nowMs))) continue;
    if (endpoint === avoid) lastResort = i;
    else if (randomBelow(random, ++seen) === 0) found = i;
  }
  return found < 0 ? lastResort : found;
}

/** Index of the first usable endpoint from `start` on, going round; `avoid` comes last; -1 when none is usable. */
function scan<E extends Balanced>(
  endpoints: readonly E[],
  start: number,
  nowMs: number,
  avoid: E | null,
  panic: boolean,
): number {
  const count = endpoints.length;
  let lastResort = -1;
  for (let i = 0; i < count; i += 1) {
    const at = (start + i) % count;
    const endpoint = endpoints[at] as E;
    if (!panic && !endpoint.admits(nowMs)) continue;
    if (endpoint !== avoid) return at;
    lastResort = at;
  }
  return lastResort;
}
