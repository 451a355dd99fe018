// The overload ladder of a worker: what it stops doing, step by step, before memory is in danger. It goes by what
// messages hold, which is exact at every moment, and by the thread's heap, which is looked at now and then.

import type { Clock } from './clock.ts';
import { type HeldBytes, threadHeld } from './held.ts';

/**
 * The rungs in order, each with the share of the limit from which it holds (Envoy's overload manager: 92 % and 95 % of
 * a heap). The first costs callers a connection, the second a call that may be tried elsewhere, the third newcomers,
 * the last whoever holds most.
 */
export const RUNG = { none: 0, stopKeepAlive: 1, refuseStreams: 2, refuseConnections: 3, shedLargest: 4 } as const;
const FROM = [0.8, 0.9, 0.95, 0.98] as const;

/** How often the heap is looked at, at most: reading it takes 20 microseconds. */
const HEAP_EVERY_MS = 100;

/** Bounds of one worker. */
export interface OverloadLimits {
  /** Of all that messages hold. */
  readonly heldBytesMax: number;
  /** Of heap and buffers, garbage included. */
  readonly heapBytesMax: number;
}

/** Something that holds parts of messages and can be ended. */
export interface Holder {
  readonly heldBytes: number;
  destroy(): void;
}

export interface OverloadParts<H extends Holder> {
  readonly clock: Clock;
  readonly held?: HeldBytes;
  /** Default: this thread's. */
  readonly heapBytes?: () => number;
  /** Who may be ended. */
  readonly holders: () => Iterable<H>;
  /** One of them was. */
  readonly onShed: (holder: H) => void;
  /** The first rung was reached: connections without a request may go. */
  readonly onPressure: () => void;
}

/** Where a worker stands. */
export class Overload<H extends Holder = Holder> {
  private readonly limits: OverloadLimits;
  private readonly parts: OverloadParts<H>;
  private readonly held: HeldBytes;
  private readonly heapBytes: () => number;
  private heapShare = 0;
  private heapReadMs = Number.NEGATIVE_INFINITY;
  /** The first rung was reached and not left since. */
  private pressed = false;

  constructor(limits: OverloadLimits, parts: OverloadParts<H>) {
    this.limits = limits;
    this.parts = parts;
    this.held = parts.held ?? threadHeld;
    this.heapBytes = parts.heapBytes ?? ownHeapBytes;
    this.held.maxBytes = limits.heldBytesMax;
    this.watch();
  }

  /** The highest rung that holds now, one of RUNG. */
  get rung(): number {
    const nowMs = this.parts.clock.nowMs();
    if (nowMs - this.heapReadMs >= HEAP_EVERY_MS) {
      this.heapReadMs = nowMs;
      this.heapShare = this.heapBytes() / this.limits.heapBytesMax;
    }
    const share = Math.max(this.heapShare, this.held.bytes / this.limits.heldBytesMax);
    if (share < FROM[0]) {
      if (this.pressed) this.watch();
      return RUNG.none;
    }
    let rung = 1;
    while (rung < FROM.length && share >= (FROM[rung] as number)) rung++;
    // Garbage may fill a heap, and ending connections frees none of it.
    return rung === RUNG.shedLargest && this.held.bytes < this.bytesOf(RUNG.shedLargest)
      ? RUNG.refuseConnections
      : rung;
  }

  private bytesOf(rung: number): number {
    return (FROM[rung - 1] as number) * this.limits.heldBytesMax;
  }

  /** Between alarms nothing is looked at, so that a worker at rest stays at rest. @param atLeast below it nobody is ended: it would not help. */
  private watch(atLeast = 0): void {
    const first = this.bytesOf(RUNG.stopKeepAlive);
    const last = Math.max(this.bytesOf(RUNG.shedLargest), atLeast);
    const shedSoon = (): void => void setImmediate(() => this.shed());
    this.pressed = this.held.bytes > first;
    if (this.held.bytes > last) shedSoon();
    else if (this.pressed) this.held.alarmAbove(last, shedSoon);
    else {
      this.held.alarmAbove(first, () => {
        setImmediate(this.parts.onPressure);
        this.watch();
      });
    }
  }

  /** Ends the largest, one after the other, until what is left is below the third rung. Never inside of its own call. */
  private shed(): void {
    const holders = [...this.parts.holders()].map((holder) => ({ holder, bytes: holder.heldBytes }));
    holders.sort((a, b) => b.bytes - a.bytes);
    const { bytes: held } = this.held;
    let excess = held - this.bytesOf(RUNG.refuseConnections);
    for (const { holder, bytes } of holders) {
      if (excess <= 0 || bytes === 0) break;
      excess -= bytes;
      this.parts.onShed(holder);
      holder.destroy();
    }
    // What is left is held by nobody who could be ended: looked at again when it is a hundredth more.
    const atLeast = excess > 0 ? held + this.limits.heldBytesMax / 100 : 0;
    // A destroyed socket gives back what it holds when it has closed, in this turn of the loop.
    setImmediate(() => this.watch(atLeast));
  }
}

function ownHeapBytes(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
