// When a certificate is renewed, with a clock that the test moves: at half of its life, again after a failure, and never
// in a loop.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Keeper, type KeeperParts, keepRenewed, renewalAtMs } from '../../../sidecar/identity/keeper.ts';
import type { HeldIdentity } from '../../../sidecar/identity/stored.ts';

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;

let stop: () => void;
let keeper: Keeper;
let renewals: number[];
let failures: number[];
/** What `renew` throws; null: it gives a certificate. */
let failure: Error | null;
let random: number;
/** Of what `renew` gives. */
let lifeMs: number;

beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
  stop = () => {};
  renewals = [];
  failures = [];
  failure = null;
  random = 0.5;
  lifeMs = 24 * HOUR_MS;
});
afterEach(() => {
  stop();
  vi.useRealTimers();
});

/** As the authority signs: valid from a minute before, since clocks differ. */
function identity(atMs: number): HeldIdentity {
  return {
    spiffeId: 'spiffe://mesh.local/ns/shop/sa/web',
    trustDomain: 'mesh.local',
    namespace: 'shop',
    serviceAccount: 'web',
    serial: String(atMs),
    privateKeyPem: '',
    chainPem: '',
    rootsPem: [],
    notBeforeMs: atMs - MINUTE_MS,
    notAfterMs: atMs + lifeMs,
  };
}

function keep(first: HeldIdentity): void {
  const parts: KeeperParts = {
    renew: async () => {
      if (failure !== null) throw failure;
      return identity(Date.now());
    },
    onRenewed: () => renewals.push(Date.now()),
    onFailure: () => failures.push(Date.now()),
    now: Date.now,
    random: () => random,
  };
  keeper = keepRenewed(first, parts);
  stop = keeper.stop;
}

test.each([
  [0, 0.45],
  [0.5, 0.5],
  [1, 0.55],
])('with chance %d it is due at %d of its life', (chance, share) => {
  const due = renewalAtMs(0, 24 * HOUR_MS, () => chance);
  expect(due / (24 * HOUR_MS)).toBeCloseTo(share, 10);
});

test('each certificate is renewed at half of its own life', async () => {
  keep(identity(0));
  await vi.advanceTimersByTimeAsync(11.9 * HOUR_MS);
  expect(renewals).toEqual([]);
  await vi.advanceTimersByTimeAsync(24.2 * HOUR_MS);
  expect(renewals.map((atMs) => Math.round(atMs / HOUR_MS))).toEqual([12, 24, 36]);
});

test('one that is past its half is renewed at once, as after a long stop', async () => {
  vi.setSystemTime(20 * HOUR_MS);
  keep(identity(0));
  await vi.advanceTimersByTimeAsync(1);
  expect(renewals).toHaveLength(1);
});

test('after a sleep of the machine, in which timers stand still, it is renewed within a minute', async () => {
  keep(identity(0));
  await vi.advanceTimersByTimeAsync(HOUR_MS);
  vi.setSystemTime(20 * HOUR_MS);
  await vi.advanceTimersByTimeAsync(MINUTE_MS);
  expect(renewals).toHaveLength(1);
});

test.each([0, 0.5, 1])('a life of a minute, dated back a minute, makes no loop (chance %d)', async (chance) => {
  lifeMs = MINUTE_MS;
  random = chance;
  keep(identity(0));
  await vi.advanceTimersByTimeAsync(10 * MINUTE_MS);
  expect(renewals.length).toBeGreaterThan(17);
  expect(renewals.length).toBeLessThan(25);
});

test('a failure is tried again, ever later, at most five minutes apart, and then life goes on', async () => {
  failure = new Error('no control plane');
  random = 1;
  keep(identity(0));
  await vi.advanceTimersByTimeAsync(20 * HOUR_MS);
  const gaps = failures.slice(1).map((atMs, i) => atMs - (failures[i] as number));
  expect(gaps.slice(0, 3)).toEqual([1_500, 2_500, 4_500]);
  expect(Math.max(...gaps)).toBe(300_500);
  expect(renewals).toEqual([]);
  failure = null;
  await vi.advanceTimersByTimeAsync(301_000);
  expect(renewals).toHaveLength(1);
  const tried = failures.length;
  await vi.advanceTimersByTimeAsync(10 * HOUR_MS);
  expect([failures.length, renewals.length]).toEqual([tried, 1]);
});

test('a short life is not slept through: a tenth of what is left at most, and ten seconds in the end', async () => {
  lifeMs = 10 * MINUTE_MS;
  failure = new Error('no control plane');
  random = 1;
  keep(identity(0));
  await vi.advanceTimersByTimeAsync(15 * MINUTE_MS);
  const gaps = failures.slice(1).map((atMs, i) => ({ atMs, gapMs: atMs - (failures[i] as number) }));
  const ends = (from: number, until: number) => gaps.filter(({ atMs }) => atMs > from && atMs <= until);
  expect(Math.max(...ends(0, 10 * MINUTE_MS).map(({ gapMs }) => gapMs))).toBeGreaterThan(11_000);
  expect(Math.max(...ends(8.5 * MINUTE_MS, 10 * MINUTE_MS).map(({ gapMs }) => gapMs))).toBe(10_500);
  expect(Math.max(...ends(11 * MINUTE_MS, 15 * MINUTE_MS).map(({ gapMs }) => gapMs))).toBe(10_500);
});

test('even without chance a failing control plane is asked twice a second at most', async () => {
  failure = new Error('no');
  random = 0;
  vi.setSystemTime(20 * HOUR_MS);
  keep(identity(0));
  await vi.advanceTimersByTimeAsync(10_000);
  expect(failures.length).toBeLessThanOrEqual(21);
  expect(failures.length).toBeGreaterThan(10);
});

test('what is due beyond the longest timer of Node is not renewed before', async () => {
  lifeMs = 365 * 24 * HOUR_MS;
  keep(identity(0));
  await vi.advanceTimersByTimeAsync(180 * 24 * HOUR_MS);
  expect(renewals).toEqual([]);
  await vi.advanceTimersByTimeAsync(5 * 24 * HOUR_MS);
  expect(renewals).toHaveLength(1);
});

test('once stopped nothing is asked, and an answer that was under way is dropped', async () => {
  keep(identity(0));
  stop();
  await vi.advanceTimersByTimeAsync(48 * HOUR_MS);
  expect(renewals).toEqual([]);
  let answer: (identity: HeldIdentity) => void = () => {};
  const onRenewed = vi.fn();
  ({ stop } = keepRenewed(identity(0), {
    renew: () =>
      new Promise((resolve) => {
        answer = resolve;
      }),
    onRenewed,
    onFailure: () => {},
    now: Date.now,
    random: () => 0.5,
  }));
  await vi.advanceTimersByTimeAsync(1);
  stop();
  answer(identity(Date.now()));
  await vi.advanceTimersByTimeAsync(1);
  expect(onRenewed).not.toHaveBeenCalled();
});

test('a renewal out of turn comes within five seconds, and the next one at half of the new life', async () => {
  random = 0.5;
  keep(identity(0));
  keeper.renewSoon();
  keeper.renewSoon();
  await vi.advanceTimersByTimeAsync(2_499);
  expect(renewals).toEqual([]);
  await vi.advanceTimersByTimeAsync(11 * HOUR_MS);
  expect(renewals).toEqual([2_500]);
  await vi.advanceTimersByTimeAsync(2 * HOUR_MS);
  expect(renewals).toHaveLength(2);
});

test('one that is asked for while another is under way follows it', async () => {
  const answers: ((identity: HeldIdentity) => void)[] = [];
  keeper = keepRenewed(identity(0), {
    renew: () => new Promise((resolve) => void answers.push(resolve)),
    onRenewed: () => {},
    onFailure: () => {},
    now: Date.now,
    random: () => 0.5,
  });
  ({ stop } = keeper);
  keeper.renewSoon();
  await vi.advanceTimersByTimeAsync(2_500);
  expect(answers).toHaveLength(1);
  keeper.renewSoon();
  await vi.advanceTimersByTimeAsync(2_500);
  expect(answers).toHaveLength(1);
  answers[0]?.(identity(Date.now()));
  await vi.advanceTimersByTimeAsync(1);
  expect(answers).toHaveLength(2);
});

test('one that fails is tried again as any other', async () => {
  failure = new Error('no control plane');
  keep(identity(0));
  keeper.renewSoon();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(failures.length).toBeGreaterThan(1);
  failure = null;
  await vi.advanceTimersByTimeAsync(10_000);
  expect(renewals).toHaveLength(1);
});
