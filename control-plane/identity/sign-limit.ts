// Signing costs CPU, and all workloads ask at once after a root rotation or a restart. A token bucket spreads them.

/** Certificates per second, sustained: Consul's CSRMaxPerSecond; 1,000 workloads are served in 20 s. */
export const SIGN_RATE_PER_SECOND = 50;

/** Certificates at once after a quiet time: two seconds' worth. */
export const SIGN_BURST = 100;

/** A token bucket with a clock from outside; it starts full. */
export class SignLimit {
  readonly #now: () => number;
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #filledAtMs: number;

  /** `now` in milliseconds; best a monotonic clock. One that jumps back refills nothing until it has caught up. */
  constructor(now: () => number, ratePerSecond: number = SIGN_RATE_PER_SECOND, burst: number = SIGN_BURST) {
    this.#now = now;
    this.#perMs = ratePerSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
    this.#filledAtMs = now();
  }

  /** Takes one signature: 0 when granted, else the milliseconds (at least 1) after which to ask again. */
  take(): number {
    const nowMs = this.#now();
    if (nowMs > this.#filledAtMs) {
      this.#tokens = Math.min(this.#burst, this.#tokens + (nowMs - this.#filledAtMs) * this.#perMs);
      this.#filledAtMs = nowMs;
    }
    if (this.#tokens < 1) return Math.max(1, Math.ceil((1 - this.#tokens) / this.#perMs));
    this.#tokens -= 1;
    return 0;
  }
}
