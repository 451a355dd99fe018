// The two waits of a server connection that no request's own timeout covers: for the rest of a head, and for the
// next request. One wheel entry a connection, moved between them.

import { threadClock } from '../base/clock.ts';
import { LIMITS } from '../base/limits.ts';
import { TimerWheel, WheelTimer } from '../base/timer-wheel.ts';
import type { ByteConnection } from './socket.ts';

/** What a connection waits for. `busy`: for nothing that is bounded here, a request is under way. */
export type Waiting = 'busy' | 'head' | 'idle' | 'close';

/** Bounds of a connection's waits. */
export interface WireTimeouts {
  /** Where timers wait; default a wheel of this thread. Pass the worker's, so that one alarm drives all. */
  wheel?: TimerWheel;
  /** From the first byte of a head to its last, in ms; default LIMITS.headerTimeoutMs. */
  headTimeoutMs?: number;
  /** Without any request, in ms; default LIMITS.connectionIdleMs. */
  idleTimeoutMs?: number;
}

let shared: TimerWheel | null = null;

/** The wheel of connections that were given none. */
export function threadWheel(): TimerWheel {
  shared ??= new TimerWheel(threadClock);
  return shared;
}

/** The timer of one connection. */
export class ConnectionTimer {
  private readonly wheel: TimerWheel;
  private readonly timer: WheelTimer;
  private readonly headMs: number;
  private readonly idleMs: number;
  private waiting: Waiting = 'busy';

  /** `onTimeout` is told which wait was too long; what it throws ends the connection only. */
  constructor(socket: ByteConnection, timeouts: WireTimeouts, onTimeout: (waiting: Waiting) => void) {
    this.wheel = timeouts.wheel ?? threadWheel();
    this.headMs = timeouts.headTimeoutMs ?? LIMITS.headerTimeoutMs;
    this.idleMs = timeouts.idleTimeoutMs ?? LIMITS.connectionIdleMs;
    this.timer = new WheelTimer(() => {
      const waiting = this.waiting;
      this.waiting = 'busy';
      socket.guard(() => onTimeout(waiting));
    });
  }

  /** Says what is waited for from now on. The same again goes on with the time that is left: more bytes of a head buy no more time. */
  wait(waiting: 'busy' | 'head' | 'idle'): void {
    if (waiting === this.waiting) return;
    this.waiting = waiting;
    if (waiting === 'busy') this.wheel.cancel(this.timer);
    else this.wheel.arm(this.timer, waiting === 'head' ? this.headMs : this.idleMs);
  }

  /** The connection ends; `close` is reported after `delayMs` unless `stop` comes first. */
  closeIn(delayMs: number): void {
    this.waiting = 'close';
    this.wheel.arm(this.timer, delayMs);
  }

  stop(): void {
    this.waiting = 'busy';
    this.wheel.cancel(this.timer);
  }
}
