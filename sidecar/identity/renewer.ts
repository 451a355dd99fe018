// How a sidecar proves who it is when it asks for its next certificate: by the one in use while that is valid, and after
// an outage that was longer than its life by a new join token, so that no restart is needed.

import { readFileSync } from 'node:fs';
import { decodeJoinToken } from '../../proto/kit/join-token.ts';
import type { HostPort, SidecarOptions } from '../options.ts';
import { expired, remedy } from './expiry.ts';
import type { WorkloadKey } from './key.ts';
import type { HeldIdentity } from './stored.ts';

/** The calls that it makes: those of sign.ts. */
export interface RenewCalls {
  renew(where: HostPort, current: HeldIdentity): Promise<HeldIdentity>;
  join(where: HostPort, token: string, key: WorkloadKey): Promise<HeldIdentity>;
  newKey(): Promise<WorkloadKey>;
}

/**
 * Gives the function that renews. It throws an Error with a sentence for the log.
 * @param now Unix milliseconds.
 */
export function renewer(
  where: HostPort,
  options: Pick<SidecarOptions, 'identityKey' | 'joinTokenFile'>,
  calls: RenewCalls,
  now: () => number,
): (current: HeldIdentity) => Promise<HeldIdentity> {
  // The same on every attempt: whoever redeemed a token may ask again after a lost answer.
  let key: WorkloadKey | null = null;
  return async (current) => {
    const why = expired(current, now());
    if (why === '') return calls.renew(where, current);
    if (options.joinTokenFile === '') throw new Error(`${why}; ${remedy(options)}`);
    try {
      const token = readFileSync(options.joinTokenFile, 'utf8');
      const decoded = decodeJoinToken(token);
      if (decoded.ok) checkAccount(decoded.token, current);
      key ??= await calls.newKey();
      const joined = await calls.join(where, token, key);
      key = null;
      return joined;
    } catch (error) {
      throw new Error(`${why}, and joining again failed: ${(error as Error).message}; ${remedy(options)}`);
    }
  };
}

/** Before it is used up: everything here was built for the identity in use. */
function checkAccount(
  token: { trustDomain: string; namespace: string; serviceAccount: string },
  { spiffeId, ...current }: HeldIdentity,
): void {
  const same = (['trustDomain', 'namespace', 'serviceAccount'] as const).every((part) => token[part] === current[part]);
  if (!same) throw new Error(`the join token is not for ${spiffeId}`);
}
