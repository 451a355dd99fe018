// The end of a certificate that nobody has renewed: from then on every peer refuses this sidecar, which must be said where
// operators and supervisors look, and not only by handshakes that fail on other machines.

import { whenDue } from '../../proto/kit/when-due.ts';
import type { HeldIdentity } from './stored.ts';

/** What an operator can do about it, by where the identity came from. */
export function remedy({ identityKey, joinTokenFile }: { identityKey: string; joinTokenFile: string }): string {
  if (identityKey !== '')
    return 'replace the files of --identity-key, --identity-cert and --trust-bundle: they are read anew';
  const token = 'weft token --service-account NAME makes a token';
  if (joinTokenFile !== '') return `${token}: write a new one to ${joinTokenFile}, which is read anew`;
  return `${token}: start again with it in --join-token-file`;
}

/** Why this identity is of no use any more, as a sentence; empty: it is. */
export function expired(identity: HeldIdentity | null, nowMs: number): string {
  if (identity === null || nowMs <= identity.notAfterMs) return '';
  return `the certificate of ${identity.spiffeId} expired at ${new Date(identity.notAfterMs).toISOString()}`;
}

/** Tells of the end of the identity in use, once for each. */
export class ExpiryWatch {
  readonly #onExpired: (sentence: string) => void;
  readonly #now: () => number;
  #cancel: () => void = () => {};

  /** @param now Unix milliseconds. */
  constructor(onExpired: (sentence: string) => void, now: () => number) {
    this.#onExpired = onExpired;
    this.#now = now;
  }

  /** From now on this one, and no more the one before. */
  watch(identity: HeldIdentity): void {
    this.#cancel();
    this.#cancel = whenDue(
      () => identity.notAfterMs + 1,
      this.#now,
      () => this.#onExpired(expired(identity, this.#now())),
    );
  }

  close(): void {
    this.#cancel();
  }
}
