// How many TLS handshakes a worker has under way, and how many it begins in a second. A handshake costs as much as a
// hundred requests and anybody can ask for one: above the rate they wait, so that the calls of those who are connected
// go on, and above the number they are refused.

import type { Clock } from '../base/clock.ts';
import { type TimerWheel, WheelTimer } from '../base/timer-wheel.ts';

/** See LIMITS.handshakesMax and LIMITS.handshakesPerSecond. */
export interface HandshakeLimits {
  readonly inProgressMax: number;
  readonly perSecond: number;
}

/** Hears what is counted. */
export interface HandshakeObserver {
  /** By how much the number under way changes, those that wait included. */
  onActive(change: 1 | -1): void;
  onDelayed(): void;
}

/** Waiting handshakes are looked at this often: short beside any handshake over a network. */
const RELEASE_EVERY_MS = 10;

export class HandshakeGate {
  private readonly limits: HandshakeLimits;
  private readonly clock: Clock;
  private readonly wheel: TimerWheel;
  private readonly observer: HandshakeObserver;
  private readonly timer = new WheelTimer(() => this.release());
  private waiting: (() => void)[] = [];
  private active = 0;
  /** Handshakes that may begin at once; full after a quiet second. */
  private tokens: number;
  private filledAtMs: number;

  constructor(limits: HandshakeLimits, clock: Clock, wheel: TimerWheel, observer: HandshakeObserver) {
    this.limits = limits;
    this.clock = clock;
    this.wheel = wheel;
    this.observer = observer;
    this.tokens = limits.perSecond;
    this.filledAtMs = clock.nowMs();
  }

  /** Calls `begin` now or in its turn. False: there are too many, and it is not called. */
  enter(begin: () => void): boolean {
    if (this.active >= this.limits.inProgressMax) return false;
    this.active++;
    this.observer.onActive(1);
    if (this.waiting.length === 0 && this.take()) {
      begin();
      return true;
    }
    this.observer.onDelayed();
    this.waiting.push(begin);
    if (!this.timer.armed) this.wheel.arm(this.timer, RELEASE_EVERY_MS);
    return true;
  }

  /** One that had begun has ended, well or not. */
  leave(): void {
    this.active--;
    this.observer.onActive(-1);
  }

  private take(): boolean {
    const { perSecond } = this.limits;
    const nowMs = this.clock.nowMs();
    this.tokens = Math.min(perSecond, this.tokens + ((nowMs - this.filledAtMs) * perSecond) / 1_000);
    this.filledAtMs = nowMs;
    if (this.tokens < 1) return false;
    this.tokens--;
    return true;
  }

  private release(): void {
    const { waiting } = this;
    let released = 0;
    while (released < waiting.length && this.take()) released++;
    this.waiting = waiting.slice(released);
    if (this.waiting.length > 0) this.wheel.arm(this.timer, RELEASE_EVERY_MS);
    for (let i = 0; i < released; i++) (waiting[i] as () => void)();
  }
}
