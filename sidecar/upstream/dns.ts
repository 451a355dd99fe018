// Endpoints that come from a name: asked again and again, and what was good last stays when the resolver fails.

import { lookup as lookupAddress } from 'node:dns';
import { isIP } from 'node:net';
import { LIMITS } from '../base/limits.ts';
import { WheelTimer } from '../base/timer-wheel.ts';
import type { PoolTime } from './pool.ts';

/** All addresses of a name, or an error; `dns.lookup` by default, so that /etc/hosts holds. */
export type Lookup = (host: string, done: (error: Error | null, addresses: readonly string[]) => void) => void;

const systemLookup: Lookup = (host, done) => {
  lookupAddress(host, { all: true, verbatim: true }, (error, found) => {
    done(
      error,
      (found ?? []).map((one) => one.address),
    );
  });
};

/**
 * Of the addresses of one name those to try beside `address`, in this order: the families take turns, the other one first,
 * so that a family that leads nowhere costs little (RFC 8305 §4). Which address is an endpoint's own is the balancer's
 * matter, and so is the preferred family: here all begin at different places, so that the load stays spread.
 * At most `LIMITS.raceAddressesMax`, `address` included; empty: the name has no other.
 */
export function alternatesOf(address: string, addresses: readonly string[]): readonly string[] {
  const family = isIP(address);
  const own = addresses.filter((one) => isIP(one) === family);
  const others = addresses.filter((one) => isIP(one) !== family);
  const at = own.indexOf(address);
  const turns = [rotated(others, at), rotated(own, at).slice(1)] as const;
  const ordered = addresses.flatMap((_, i) => turns.flatMap((turn) => turn.slice(i, i + 1)));
  return ordered.slice(0, LIMITS.raceAddressesMax - 1);
}

function rotated(list: readonly string[], by: number): readonly string[] {
  const at = list.length === 0 ? 0 : by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}

/**
 * Watches a name. `onAddresses` is called when the set of addresses changes, never with an empty one.
 * @param refreshMs between questions. @returns what stops it.
 */
export function watchName(
  host: string,
  refreshMs: number,
  time: PoolTime,
  onAddresses: (addresses: readonly string[]) => void,
  lookup: Lookup = systemLookup,
): () => void {
  if (isIP(host) !== 0) {
    onAddresses([host]);
    return () => {};
  }
  let stopped = false;
  let last = '';
  const timer = new WheelTimer(ask);
  function ask(): void {
    lookup(host, (error, addresses) => {
      if (stopped) return;
      time.wheel.arm(timer, refreshMs);
      const sorted = [...new Set(addresses)].sort();
      const key = sorted.join(' ');
      if (error !== null || key === '' || key === last) return;
      last = key;
      onAddresses(sorted);
    });
  }
  ask();
  return () => {
    stopped = true;
    time.wheel.cancel(timer);
  };
}
