// What came of the registration, told to log, readiness and stats. A refusal needs a person, or a policy that is still
// on its way: so it is asked again for ever, but never silently, and nobody sends work to a sidecar that no caller finds.

import type { Logger } from '../telemetry/log.ts';

/** The same refusal is said this often: a log that is read by people stays readable, one that is cut off still says why. */
const REPEAT_MS = 60_000;

const FIX =
  "mend --app or --join-token-file, or the Service's spec.serviceAccounts: a policy that allows it takes effect within 15 s, without a restart";

export class RegistrationReport {
  private readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  private readonly nowMs: () => number;
  private saidMs = Number.NEGATIVE_INFINITY;
  private taken = false;
  private reason = '';

  /** @param nowMs of a clock that never goes back. */
  constructor(log: Pick<Logger, 'info' | 'warn' | 'error'>, nowMs: () => number) {
    this.log = log;
    this.nowMs = nowMs;
  }

  /** Whether callers find this workload, as far as is known. */
  get registered(): boolean {
    return this.taken;
  }

  /** Why the control plane will not have this workload as an endpoint; empty: it did not say so. */
  get refused(): string {
    return this.reason;
  }

  onRegistered(endpoints: readonly string[]): void {
    this.taken = true;
    this.reason = '';
    this.saidMs = Number.NEGATIVE_INFINITY;
    this.log.info({ endpoints }, 'registered');
  }

  /** @param refused whether it was looked at and not taken; otherwise the way there was cut, and what was said last holds. */
  onFailed(reason: string, retryMs: number, refused: boolean): void {
    this.taken = false;
    if (!refused) {
      this.log.warn(`not registered: ${reason}; again in ${Math.round(retryMs)} ms`);
      return;
    }
    const known = reason === this.reason && this.nowMs() - this.saidMs < REPEAT_MS;
    this.reason = reason;
    if (known) return;
    this.saidMs = this.nowMs();
    this.log.error(`registration refused, so no caller reaches this application: ${reason}; ${FIX}`);
  }
}
