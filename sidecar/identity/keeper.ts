// Keeps the identity fresh: renewed at half of its life, with jitter, so that workloads that started together do not
// all ask together; an outage of half a life harms nobody.

import { whenDue } from '../../proto/kit/when-due.ts';
import type { Random } from '../base/random.ts';
import { backoffMs } from '../upstream/backoff.ts';
import type { HeldIdentity } from './stored.ts';

/** Renewal falls between 45 % and 55 % of the life. */
const RENEW_AT = 0.45;
const RENEW_JITTER = 0.1;

/** After a failed renewal: soon at first, at most 5 min apart (12 h of half life hold 144 of them). */
const RETRY_BASE_MS = 1_000;
const RETRY_MAX_MS = 300_000;
/** Nor more than a tenth of what is left, so that an outage that ends before a short life does is always noticed in time. */
const RETRY_SHARE = 0.1;
/** The least of that: near the end it is asked six times a minute. */
const RETRY_SHARE_MS_MIN = 10_000;
/** Once it has expired: as a first join is tried again, since traffic fails, and whoever mends it wants to see it soon. */
const RETRY_EXPIRED_MS = 10_000;
/** Full jitter may give nearly nothing; a control plane that refuses is not asked in a loop. */
const RETRY_MIN_MS = 500;

/** A renewal out of turn comes within 5 s: the workloads of a Service hear of a change together, and the control plane signs 50 a second. */
const RENEW_SOON_MS = 5_000;

export interface KeeperParts {
  readonly renew: (current: HeldIdentity) => Promise<HeldIdentity>;
  readonly onRenewed: (identity: HeldIdentity) => void;
  /** `retryMs`: when it is tried again. */
  readonly onFailure: (error: Error, retryMs: number) => void;
  readonly now: () => number;
  readonly random: Random;
}

/** When to renew what lives from `fromMs` until `untilMs`, in Unix milliseconds. */
export function renewalAtMs(fromMs: number, untilMs: number, random: Random): number {
  return fromMs + (untilMs - fromMs) * (RENEW_AT + RENEW_JITTER * random());
}

/** A renewal that goes on until it is stopped. */
export interface Keeper {
  /** The certificate does not say all that it should: a new one within {@link RENEW_SOON_MS}. */
  renewSoon(): void;
  stop(): void;
}

/** Renews from now on. */
export function keepRenewed(first: HeldIdentity, parts: KeeperParts): Keeper {
  let identity = first;
  let dueMs = renewalAtMs(first.notBeforeMs, first.notAfterMs, parts.random);
  /** Out of turn; infinite: not asked for since the last renewal began. */
  let soonMs = Number.POSITIVE_INFINITY;
  let running = false;
  let failures = 0;
  let stopped = false;
  let cancel: () => void = () => {};
  const arm = (): void => {
    cancel = whenDue(
      () => Math.min(dueMs, soonMs),
      parts.now,
      () => void run(),
    );
  };
  const run = async (): Promise<void> => {
    running = true;
    soonMs = Number.POSITIVE_INFINITY;
    try {
      const renewed = await parts.renew(identity);
      if (stopped) return;
      identity = renewed;
      failures = 0;
      // Not from its notBefore, which is dated back: half of a short life would be over at once, again and again.
      dueMs = renewalAtMs(parts.now(), identity.notAfterMs, parts.random);
      parts.onRenewed(identity);
    } catch (error) {
      const maxMs = retryMaxMs(identity.notAfterMs - parts.now());
      const retryMs = RETRY_MIN_MS + backoffMs(failures++, parts.random, RETRY_BASE_MS, maxMs);
      dueMs = parts.now() + retryMs;
      if (!stopped) parts.onFailure(error as Error, retryMs);
    }
    running = false;
    if (!stopped) arm();
  };
  arm();
  return {
    renewSoon() {
      soonMs = Math.min(soonMs, parts.now() + RENEW_SOON_MS * parts.random());
      // What is under way was perhaps asked for before the reason: another one follows.
      if (running || stopped) return;
      cancel();
      arm();
    },
    stop() {
      stopped = true;
      cancel();
    },
  };
}

function retryMaxMs(leftMs: number): number {
  if (leftMs <= 0) return RETRY_EXPIRED_MS;
  return Math.min(RETRY_MAX_MS, Math.max(RETRY_SHARE_MS_MIN, leftMs * RETRY_SHARE));
}
