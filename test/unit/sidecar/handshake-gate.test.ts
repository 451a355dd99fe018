// The bounds on handshakes, with a clock of the test's own.
import { expect, test } from 'vitest';
import { TimerWheel } from '../../../sidecar/base/timer-wheel.ts';
import { HandshakeGate } from '../../../sidecar/listen/handshake-gate.ts';

function gateOf(inProgressMax: number, perSecond: number) {
  let nowMs = 0;
  const clock = { nowMs: () => nowMs };
  const wheel = new TimerWheel(clock, { set() {} });
  const seen = { active: 0, delayed: 0, begun: [] as number[] };
  const gate = new HandshakeGate({ inProgressMax, perSecond }, clock, wheel, {
    onActive(change) {
      seen.active += change;
    },
    onDelayed() {
      seen.delayed++;
    },
  });
  let next = 0;
  return {
    gate,
    seen,
    wheel,
    enter: () => {
      const number = next++;
      return gate.enter(() => seen.begun.push(number));
    },
    pass(ms: number) {
      nowMs += ms;
      wheel.advance();
    },
  };
}

test('so many are under way, and one that ends makes room for one', () => {
  const { gate, seen, enter } = gateOf(3, 100);
  expect([enter(), enter(), enter(), enter()]).toEqual([true, true, true, false]);
  expect([seen.begun, seen.active, seen.delayed]).toEqual([[0, 1, 2], 3, 0]);
  gate.leave();
  expect([enter(), enter()]).toEqual([true, false]);
  expect(seen.active).toBe(3);
});

test('above the rate they wait, and begin in their order when it allows', () => {
  const { seen, enter, pass, wheel } = gateOf(1000, 100);
  for (let i = 0; i < 110; i++) expect(enter()).toBe(true);
  expect([seen.begun.length, seen.delayed, seen.active]).toEqual([100, 10, 110]);
  pass(48);
  expect(seen.begun.slice(100)).toEqual([100, 101, 102, 103]);
  // Who comes now stands behind those that wait.
  pass(2);
  enter();
  expect(seen.begun.at(-1)).toBe(103);
  pass(1_000);
  expect(seen.begun.slice(104)).toEqual([104, 105, 106, 107, 108, 109, 110]);
  expect(wheel.armedCount).toBe(0);
});

test('a quiet hour saves up one second', () => {
  const { seen, enter, pass } = gateOf(10_000, 100);
  pass(3_600_000);
  for (let i = 0; i < 500; i++) enter();
  expect(seen.begun).toHaveLength(100);
});
