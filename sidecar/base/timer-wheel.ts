// Per-request timeouts are armed and cancelled millions of times and almost never fire. A hashed wheel
// (Varghese & Lauck 1987, scheme 6) makes both O(1) without allocating: the caller's entry is the list node.
// One real timer drives it, unref'd, and none runs while the wheel is empty.

import assert from 'node:assert/strict';
import type { Clock } from './clock.ts';

/** Width of a slot in ms: timeouts fire up to one slot late, never early. */
const TICK_MS = 8;
/** Slots; a power of two. 1024 x 8 ms: the connect timeout fires in the first round, the 15 s one in the second. */
const SLOTS = 1_024;
/** Above it `setTimeout` rings at once instead of late, again and again. */
const DELAY_MS_MAX = 2 ** 31 - 1;

/** One timeout, embedded in or owned by what it guards; reuse it for every arm. */
export class WheelTimer {
  /** Called once per expiry; may arm or cancel any timer. */
  readonly onTimeout: () => void;
  /** List links and due tick, written by the wheel only; `previous` is null while not armed. */
  next: WheelTimer;
  previous: WheelTimer | null = null;
  dueTick = 0;

  constructor(onTimeout: () => void) {
    this.onTimeout = onTimeout;
    this.next = this;
  }

  /** Whether it waits in a wheel. */
  get armed(): boolean {
    return this.previous !== null;
  }
}

/** The one real timer under a wheel. `set` replaces what was set before. */
export interface Alarm {
  set(delayMs: number, ring: () => void): void;
}

/** An alarm on `setTimeout` that does not keep the process alive. */
export function systemAlarm(): Alarm {
  let handle: NodeJS.Timeout | undefined;
  return {
    set(delayMs, ring) {
      clearTimeout(handle);
      handle = setTimeout(ring, delayMs).unref();
    },
  };
}

/** The wheel; one per thread. What a timer's callback throws passes to the alarm after the wheel is set again. */
export class TimerWheel {
  private readonly clock: Clock;
  private readonly alarm: Alarm;
  private readonly slots: WheelTimer[] = [];
  private readonly ring: () => void;
  private size = 0;
  private currentTick: number;
  /** Tick the alarm is set for; Infinity when it is not. */
  private alarmTick = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, alarm: Alarm = systemAlarm()) {
    this.clock = clock;
    this.alarm = alarm;
    this.currentTick = Math.floor(clock.nowMs() / TICK_MS);
    for (let i = 0; i < SLOTS; i += 1) {
      const head = new WheelTimer(unreachable);
      head.previous = head;
      this.slots.push(head);
    }
    this.ring = () => {
      this.alarmTick = Number.POSITIVE_INFINITY;
      this.advance();
    };
  }

  /** Timers waiting. */
  get armedCount(): number {
    return this.size;
  }

  /** Arms `timer` to fire `delayMs` (0 to 2^31 - 1, 24.8 days) from now; one that is armed already is moved. */
  arm(timer: WheelTimer, delayMs: number): void {
    assert(delayMs >= 0 && delayMs <= DELAY_MS_MAX, 'a timeout is 0 to 2,147,483,647 milliseconds');
    this.cancel(timer);
    const nowMs = this.clock.nowMs();
    // An empty wheel has nothing to fire on the way: jump to the present instead of walking there.
    if (this.size === 0) this.currentTick = Math.floor(nowMs / TICK_MS);
    // Always after the present tick, so that a callback which arms itself again cannot spin.
    timer.dueTick = Math.max(Math.ceil((nowMs + delayMs) / TICK_MS), Math.floor(nowMs / TICK_MS) + 1);
    const head = this.slots[timer.dueTick & (SLOTS - 1)] as WheelTimer;
    const last = head.previous as WheelTimer;
    last.next = timer;
    timer.previous = last;
    timer.next = head;
    head.previous = timer;
    this.size += 1;
    if (timer.dueTick < this.alarmTick) this.setAlarm(timer.dueTick, nowMs);
  }

  /** Disarms `timer`; nothing happens if it is not armed. */
  cancel(timer: WheelTimer): void {
    const previous = timer.previous;
    if (previous === null) return;
    previous.next = timer.next;
    timer.next.previous = previous;
    timer.next = timer;
    timer.previous = null;
    this.size -= 1;
  }

  /** Fires everything due. Called by the alarm; tests call it after moving their clock. */
  advance(): void {
    const nowMs = this.clock.nowMs();
    const nowTick = Math.floor(nowMs / TICK_MS);
    try {
      // After a stall longer than one round every slot has been passed: one round visits them all.
      if (nowTick - this.currentTick > SLOTS) this.currentTick = nowTick - SLOTS;
      while (this.size > 0 && this.currentTick < nowTick) {
        this.currentTick += 1;
        let fired = false;
        try {
          this.fireSlot(this.slots[this.currentTick & (SLOTS - 1)] as WheelTimer, nowTick);
          fired = true;
        } finally {
          // A callback threw: the rest of its slot fires at the next ring, not a whole round later.
          if (!fired) this.currentTick -= 1;
        }
      }
    } finally {
      if (this.size > 0) this.setAlarm(this.nextTick(), nowMs);
    }
  }

  private fireSlot(head: WheelTimer, nowTick: number): void {
    let timer = head.next;
    while (timer !== head) {
      if (timer.dueTick <= nowTick) {
        this.cancel(timer);
        timer.onTimeout();
        // The callback may have changed the list anywhere; each restart follows a removal, so this ends.
        timer = head.next;
      } else {
        timer = timer.next;
      }
    }
  }

  /** The first tick whose slot is occupied; that slot may hold only timers of a later round, which costs one idle wake. */
  private nextTick(): number {
    for (let tick = this.currentTick + 1; tick <= this.currentTick + SLOTS; tick += 1) {
      const head = this.slots[tick & (SLOTS - 1)] as WheelTimer;
      if (head.next !== head) return tick;
    }
    return this.currentTick + SLOTS;
  }

  private setAlarm(tick: number, nowMs: number): void {
    this.alarmTick = tick;
    this.alarm.set(Math.max(1, Math.ceil(tick * TICK_MS - nowMs)), this.ring);
  }
}

function unreachable(): void {
  assert.fail('the head of a slot is never due');
}
