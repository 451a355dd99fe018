// When an accepted connection has lived long enough: with a clock, a jitter and an overload that the test sets.

import { expect, test } from 'vitest';
import { LIMITS } from '../../../sidecar/base/limits.ts';
import { RUNG } from '../../../sidecar/base/overload.ts';
import { ConnectionLife } from '../../../sidecar/listen/connection-life.ts';

const HOUR_MS = 3_600_000;

function connection(random = 0.5) {
  const seen: string[] = [];
  const state = { nowMs: 0, rung: RUNG.none as number };
  const context = {
    clock: { nowMs: () => state.nowMs },
    random: () => random,
    overload: state,
    guard: (listener: string, name: string) => void seen.push(`${listener} ${name}`),
  };
  const life = new ConnectionLife(context, 'inbound', () => seen.push('drained'));
  return { seen, state, life };
}

test.each([
  [0, 0.9 * HOUR_MS],
  [0.5, HOUR_MS],
  [1, 1.1 * HOUR_MS],
])('with a jitter of %d it is drained with the first request after %d ms, once', (random, endMs) => {
  const { seen, state, life } = connection(random);
  state.nowMs = endMs - 1;
  life.onRequest('http2');
  expect(seen).toEqual([]);
  state.nowMs = endMs;
  life.onRequest('http2');
  life.onRequest('http2');
  expect(seen).toEqual(['inbound connectionAge', 'drained']);
});

test('ten million requests are its last', () => {
  const { seen, life } = connection();
  for (let i = 1; i < LIMITS.connectionRequestsMax; i++) life.onRequest('http1');
  expect([LIMITS.connectionRequestsMax, seen]).toEqual([10_000_000, []]);
  life.onRequest('http1');
  expect(seen).toEqual(['inbound connectionRequests', 'drained']);
});

test('in overload an HTTP/1.1 connection ends with its answer, and the one that carries all of a peer stays', () => {
  const { seen, state, life } = connection();
  state.rung = RUNG.stopKeepAlive;
  life.onRequest('http2');
  expect(seen).toEqual([]);
  life.onRequest('http1');
  expect(seen).toEqual(['inbound stopKeepAlive', 'drained']);
});
