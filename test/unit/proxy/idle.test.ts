// When quiet ends an exchange, with a clock that the test moves: never before the idle time, and soon after it.
import { expect, test } from 'vitest';
import { TimerWheel } from '../../../sidecar/base/timer-wheel.ts';
import { INBOUND_RULE } from '../../../sidecar/config/snapshot.ts';
import { RequestPlan } from '../../../sidecar/proxy/attempt.ts';
import { Head } from '../../../sidecar/wire/stream.ts';

const IDLE_MS = 400;
/** A slot of the wheel, in each look of an idle time. */
const LATE_MS = 4 * 8;

/** A response that has begun, seen at 0 ms; `bytesAtMs`: when one more byte of it comes. The time at which quiet ends it. */
function endsAt(bytesAtMs: readonly number[]): number {
  let nowMs = 0;
  let dueMs = Number.POSITIVE_INFINITY;
  let ring = (): void => {};
  let endedAtMs = -1;
  const clock = { nowMs: () => nowMs };
  const alarm = {
    set(delayMs: number, callback: () => void): void {
      dueMs = nowMs + delayMs;
      ring = callback;
    },
  };
  const exchange = {
    requestEnded: true,
    requestBytes: 0,
    responseBytes: 0,
    abort: () => {
      endedAtMs = nowMs;
    },
  };
  const plan = new RequestPlan(
    { clock, wheel: new TimerWheel(clock, alarm), random: () => 0 } as never,
    exchange as never,
    { budget: { acquireRequest: () => ({ release() {} }) } } as never,
    { ...INBOUND_RULE, idleTimeoutMs: IDLE_MS },
    [],
  );
  plan.judge(Head.response(200, []), true);
  for (; nowMs < 10 * IDLE_MS && endedAtMs < 0; nowMs++) {
    if (bytesAtMs.includes(nowMs)) exchange.responseBytes++;
    if (nowMs < dueMs) continue;
    dueMs = Number.POSITIVE_INFINITY;
    ring();
  }
  return endedAtMs;
}

test.each([
  ['no byte at all', []],
  ['one with the head', [1]],
  ['one just before a look', [99]],
  ['one just after a look', [140]],
  ['one in each half of the time', [200, 400, 600, 800, 1000]],
])('%s', (_what, bytesAtMs) => {
  const last = bytesAtMs.at(-1) ?? 0;
  const quietMs = endsAt(bytesAtMs) - last;
  expect(quietMs).toBeGreaterThanOrEqual(IDLE_MS);
  expect(quietMs).toBeLessThanOrEqual(IDLE_MS * 1.25 + LATE_MS);
});
