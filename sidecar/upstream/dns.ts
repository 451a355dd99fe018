// Endpoints that come from a name: asked again and again, and what was good last stays when the resolver fails.

import { lookup as lookupAddress } from 'node:dns';
import { isIP } from 'node:net';
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
 * Of the addresses of one name the one to try beside `address`: of the other family, so that a family that leads nowhere
 * costs little, and not the same one for all, so that the load stays spread. Undefined: the name has one family.
 */
export function alternateOf(address: string, addresses: readonly string[]): string | undefined {
  const family = isIP(address);
  const others = addresses.filter((one) => isIP(one) !== family);
  const at = addresses.filter((one) => isIP(one) === family).indexOf(address);
  return others[at % others.length];
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
