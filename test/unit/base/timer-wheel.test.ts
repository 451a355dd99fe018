// The wheel fires late by a tick at most, never early, in any round, and sleeps when empty.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Clock, threadClock } from '../../../sidecar/base/clock.ts';
import { seededRandom } from '../../../sidecar/base/random.ts';
import { type Alarm, TimerWheel, WheelTimer } from '../../../sidecar/base/timer-wheel.ts';

/** A clock that moves by hand and rings the alarm on the way, as the event loop would. */
class Bench implements Clock, Alarm {
  private atMs = 1_000;
  private dueMs = Number.POSITIVE_INFINITY;
  private ring: () => void = () => {};
  rings = 0;

  nowMs(): number {
    return this.atMs;
  }

  set(delayMs: number, ring: () => void): void {
    this.dueMs = this.atMs + delayMs;
    this.ring = ring;
  }

  get waiting(): boolean {
    return this.dueMs < Number.POSITIVE_INFINITY;
  }

  pass(ms: number): void {
    const endMs = this.atMs + ms;
    while (this.dueMs <= endMs) {
      this.atMs = this.dueMs;
      this.jump(0);
    }
    this.atMs = endMs;
  }

  /** The loop was blocked for `ms`; then the alarm rings late. */
  jump(ms: number): void {
    this.atMs += ms;
    this.dueMs = Number.POSITIVE_INFINITY;
    this.rings += 1;
    this.ring();
  }
}

function setUp(): { bench: Bench; wheel: TimerWheel; fired: string[]; timer(name: string): WheelTimer } {
  const bench = new Bench();
  const fired: string[] = [];
  return { bench, wheel: new TimerWheel(bench, bench), fired, timer: (name) => new WheelTimer(() => fired.push(name)) };
}

test.each([-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31])(
  'a delay of %d ms is a bug, and arms nothing',
  (delayMs) => {
    const { bench, wheel, timer } = setUp();
    expect(() => wheel.arm(timer('a'), delayMs)).toThrow('a timeout is 0 to 2,147,483,647 milliseconds');
    wheel.arm(timer('b'), 2 ** 31 - 1);
    expect([wheel.armedCount, bench.waiting]).toEqual([1, true]);
  },
);

test.each([0, 1, 7, 8, 9, 1_000, 8_191, 8_192, 8_200, 15_000, 300_000])('a %i ms timer fires on time', (delayMs) => {
  const { bench, wheel, fired, timer } = setUp();
  wheel.arm(timer('a'), delayMs);
  bench.pass(delayMs - 1);
  expect(fired).toEqual([]);
  bench.pass(1 + 9);
  expect(fired).toEqual(['a']);
  expect([wheel.armedCount, bench.waiting]).toEqual([0, false]);
});

test('a cancelled timer does not fire, and a moved one fires once', () => {
  const { bench, wheel, fired, timer } = setUp();
  const [a, b] = [timer('a'), timer('b')];
  wheel.arm(a, 100);
  wheel.arm(b, 100);
  wheel.arm(b, 500);
  wheel.cancel(a);
  wheel.cancel(a);
  expect([a.armed, b.armed, wheel.armedCount]).toEqual([false, true, 1]);
  bench.pass(400);
  expect(fired).toEqual([]);
  bench.pass(200);
  expect(fired).toEqual(['b']);
});

test('an earlier timer moves the alarm forward', () => {
  const { bench, wheel, fired, timer } = setUp();
  wheel.arm(timer('late'), 5_000);
  wheel.arm(timer('early'), 50);
  bench.pass(60);
  expect(fired).toEqual(['early']);
});

test('a long wait costs one ring a round, not one a tick', () => {
  const { bench, wheel, timer } = setUp();
  wheel.arm(timer('a'), 300_000);
  bench.pass(310_000);
  expect(bench.rings).toBeLessThan(40);
});

test('after a stall of many rounds everything due fires at once', () => {
  const { bench, wheel, fired, timer } = setUp();
  for (const delayMs of [10, 5_000, 9_000, 30_000]) wheel.arm(timer(String(delayMs)), delayMs);
  wheel.arm(timer('later'), 90_000);
  bench.jump(60_000);
  expect(fired.sort()).toEqual(['10', '30000', '5000', '9000']);
  bench.pass(30_010);
  expect(fired).toContain('later');
});

test('a callback may arm itself again and cancel its neighbours', () => {
  const { bench, wheel, fired, timer } = setUp();
  const victim = timer('victim');
  let times = 0;
  const again = new WheelTimer(() => {
    times += 1;
    wheel.cancel(victim);
    if (times < 3) wheel.arm(again, 0);
  });
  wheel.arm(again, 20);
  wheel.arm(victim, 20);
  bench.jump(24);
  expect([times, fired]).toEqual([1, []]);
  bench.pass(30);
  expect(times).toBe(3);
});

test('a callback that throws delays its neighbours by one ring only', () => {
  const { bench, wheel, fired, timer } = setUp();
  wheel.arm(
    new WheelTimer(() => {
      throw new Error('broken');
    }),
    20,
  );
  wheel.arm(timer('neighbour'), 20);
  expect(() => bench.pass(30)).toThrow('broken');
  bench.pass(30);
  expect(fired).toEqual(['neighbour']);
});

test('any mix of arms, cancels and time agrees with a plain list', () => {
  const action = fc.record({
    timer: fc.nat(9),
    delayMs: fc.oneof(fc.nat(50), fc.nat(40_000)),
    cancel: fc.boolean(),
    passMs: fc.nat(12_000),
  });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
      const bench = new Bench();
      const wheel = new TimerWheel(bench, bench);
      const due = new Map<number, number>();
      const timers = Array.from(
        { length: 10 },
        (_, i) =>
          new WheelTimer(() => {
            const lateMs = bench.nowMs() - (due.get(i) ?? Number.NaN);
            if (!(lateMs >= 0 && lateMs <= 17)) throw new Error(`timer ${i} fired ${lateMs} ms late`);
            due.delete(i);
          }),
      );
      for (const { timer, delayMs, cancel, passMs } of actions) {
        if (cancel) {
          wheel.cancel(timers[timer] as WheelTimer);
          due.delete(timer);
        } else {
          wheel.arm(timers[timer] as WheelTimer, delayMs);
          due.set(timer, bench.nowMs() + delayMs);
        }
        bench.pass(passMs);
      }
      expect(wheel.armedCount).toBe(due.size);
      bench.pass(50_000);
      expect([due.size, wheel.armedCount, bench.waiting]).toEqual([0, 0, false]);
    }),
    { numRuns: 300 },
  );
});

test('the system alarm rings', async () => {
  const wheel = new TimerWheel(threadClock);
  // The alarm is unref'd: something else has to keep the loop alive until it rings.
  const alive = setInterval(() => {}, 1_000);
  await new Promise<void>((resolve) => wheel.arm(new WheelTimer(resolve), 1));
  clearInterval(alive);
  expect(wheel.armedCount).toBe(0);
});

test('the thread clock stands still during a turn and moves between turns', async () => {
  const first = threadClock.nowMs();
  const spinUntilMs = performance.now() + 3;
  while (performance.now() < spinUntilMs);
  expect(threadClock.nowMs()).toBe(first);
  await new Promise<void>((resolve) => setImmediate(resolve));
  expect(threadClock.nowMs()).toBeGreaterThanOrEqual(first + 3);
});

test('the seeded source repeats, differs by seed, and stays in [0, 1)', () => {
  const draw = (seed: number): number[] => Array.from({ length: 1_000 }, seededRandom(seed));
  expect(draw(1)).toEqual(draw(1));
  expect(draw(1)).not.toEqual(draw(2));
  expect(draw(3).every((value) => value >= 0 && value < 1)).toBe(true);
  expect(Math.abs(draw(4).reduce((a, b) => a + b) / 1_000 - 0.5)).toBeLessThan(0.05);
});
