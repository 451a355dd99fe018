// How long a request waits before another attempt, with a clock that stands still: the backoff, after what the response
// asked for, and never beyond the time that is left.
import { expect, test } from 'vitest';
import { LIMITS } from '../../../sidecar/base/limits.ts';
import { INBOUND_RULE } from '../../../sidecar/config/snapshot.ts';
import { RequestPlan } from '../../../sidecar/proxy/attempt.ts';
import type { CompiledRule } from '../../../sidecar/proxy/route.ts';
import { Head } from '../../../sidecar/wire/stream.ts';

const GUARD = { release() {} };
const REQUEST = Head.request('GET', 'http', 'orders', '/', []);

/** The wait after a response with these fields; -1: it goes to the caller. `passedMs` since the request's end. */
function wait(fields: string[], rule: Partial<CompiledRule>, passedMs = 0, requestEnded = true): number {
  let nowMs = 0;
  const context = {
    clock: { nowMs: () => nowMs },
    wheel: { arm() {}, cancel() {} },
    random: () => 0.5,
  };
  const cluster = { budget: { acquireRequest: () => GUARD, tryAcquireRetry: () => GUARD }, observer: {} };
  const exchange = { request: REQUEST, requestEnded, requestBytes: 0, responseBytes: 0, attempt: null };
  const retry = { ...INBOUND_RULE.retry, attempts: 3, onGatewayError: true, onRateLimited: true };
  const plan = new RequestPlan(
    context as never,
    exchange as never,
    cluster as never,
    { ...INBOUND_RULE, requestTimeoutMs: 15_000, retry, ...rule },
    [],
  );
  nowMs = passedMs;
  const failure = plan.judge(Head.response(503, fields), true);
  if (failure === null) throw new Error('it was not judged');
  return plan.retryAfterMs(REQUEST, failure, 0);
}

/** Half of the first backoff's ceiling. */
const BACKOFF_MS = LIMITS.backoffBaseMs / 2;
const after = (seconds: number): string[] => ['retry-after', String(seconds)];

test('it is the backoff alone where nothing, or nothing of use, is asked for', () => {
  expect(wait([], {})).toBe(BACKOFF_MS);
  expect(wait(['retry-after', 'soon'], {})).toBe(BACKOFF_MS);
  expect(wait(after(0), {})).toBe(BACKOFF_MS);
});

test('it is what was asked for, and then the backoff', () => {
  expect(wait(after(3), {})).toBe(3_000 + BACKOFF_MS);
});

test('what does not fit into the rest of the request is no retry', () => {
  expect(wait(after(14), {}, 900)).toBe(14_000 + BACKOFF_MS);
  expect(wait(after(14), {}, 1_000)).toBe(-1);
  expect(wait(after(15), {})).toBe(-1);
  // A request that still streams has no deadline yet, and will have all of its time.
  expect(wait(after(14), {}, 60_000, false)).toBe(14_000 + BACKOFF_MS);
});

test('without a request timeout it is less than five minutes', () => {
  expect(wait(after(299), { requestTimeoutMs: 0 })).toBe(299_000 + BACKOFF_MS);
  expect(wait(after(300), { requestTimeoutMs: 0 })).toBe(-1);
});
