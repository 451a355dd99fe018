// Balancing, ejection, retry budget and backoff as pure machines: time and chance come from the test.

import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../sidecar/base/random.ts';
import { backoffMs } from '../../../sidecar/upstream/backoff.ts';
import { type Balanced, leastRequest, roundRobin } from '../../../sidecar/upstream/balancer.ts';
import { RetryBudget } from '../../../sidecar/upstream/budget.ts';
import { Cluster } from '../../../sidecar/upstream/cluster.ts';
import {
  type EndpointHealth,
  type HealthEvent,
  OUTLIER_DEFAULTS,
  OutlierDetector,
} from '../../../sidecar/upstream/outlier.ts';
import type { Pool } from '../../../sidecar/upstream/pool.ts';

interface Peer extends Balanced {
  name: string;
  inFlight: number;
}

function peers(count: number, out: number[] = []): Peer[] {
  return Array.from({ length: count }, (_, i) => ({ name: `p${i}`, inFlight: 0, admits: () => !out.includes(i) }));
}

describe('round robin', () => {
  test('gives each endpoint its turn', () => {
    const balancer = roundRobin(seededRandom(1));
    const all = peers(3);
    const picked = Array.from({ length: 6 }, () => balancer.pick(all, 0, null, false)?.name);
    expect(new Set(picked.slice(0, 3)).size).toBe(3);
    expect(picked.slice(3)).toEqual(picked.slice(0, 3));
  });
});

describe.each([
  ['round robin', roundRobin],
  ['least request', leastRequest],
] as const)('%s', (_name, make) => {
  test('says null for no endpoints and for none that admits', () => {
    expect(make(seededRandom(1)).pick([], 0, null, false)).toBeNull();
    expect(make(seededRandom(1)).pick(peers(2, [0, 1]), 0, null, false)).toBeNull();
  });

  test('ignores health in panic', () => {
    expect(make(seededRandom(1)).pick(peers(2, [0, 1]), 0, null, true)).not.toBeNull();
  });

  test('avoids the endpoint that just failed unless it is the only one', () => {
    const balancer = make(seededRandom(2));
    const two = peers(2);
    // A dead endpoint is the idle one: it fails at once.
    (two[1] as Peer).inFlight = 5;
    for (let i = 0; i < 20; i += 1) expect(balancer.pick(two, 0, two[0] ?? null, false)).toBe(two[1]);
    const one = peers(1);
    expect(balancer.pick(one, 0, one[0] ?? null, false)).toBe(one[0]);
  });

  test('never picks one that does not admit', () => {
    const balancer = make(seededRandom(3));
    const all = peers(4, [1, 2]);
    const names = new Set(Array.from({ length: 200 }, () => balancer.pick(all, 0, null, false)?.name));
    expect([...names].sort()).toEqual(['p0', 'p3']);
  });
});

describe('least request', () => {
  test('keeps the load of long requests nearly even', () => {
    const balancer = leastRequest(seededRandom(4));
    const all = peers(10);
    for (let i = 0; i < 1000; i += 1) {
      const peer = balancer.pick(all, 0, null, false);
      if (peer !== null) peer.inFlight += 1;
    }
    const loads = all.map((peer) => peer.inFlight);
    expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(8);
  });

  test.each([
    ['out', [3, 4, 5, 6], null],
    ['avoided', [], 3],
  ] as const)('gives the turns of who is %s to all others alike', (_what, out, avoided) => {
    const balancer = leastRequest(seededRandom(6));
    const all = peers(10, [...out]);
    const turns = new Map(all.map(({ name }) => [name, 0]));
    const avoid = avoided === null ? null : (all[avoided] as Peer);
    const rounds = 60_000;
    for (let i = 0; i < rounds; i += 1) {
      const { name } = balancer.pick(all, 0, avoid, false) as Peer;
      turns.set(name, (turns.get(name) ?? 0) + 1);
    }
    const shares = [...turns.values()].filter((count) => count > 0).map((count) => count / rounds);
    const fair = 1 / shares.length;
    expect(shares).toHaveLength(avoided === null ? 6 : 9);
    // 60,000 draws vary by less than a twentieth of a share (seeded).
    for (const share of shares) expect(Math.abs(share / fair - 1)).toBeLessThan(0.05);
  });

  test('of two, always takes the less busy', () => {
    const two = peers(2);
    (two[0] as Peer).inFlight = 5;
    const balancer = leastRequest(seededRandom(5));
    for (let i = 0; i < 50; i += 1) expect(balancer.pick(two, 0, null, false)?.name).toBe('p1');
  });
});

function failTimes(health: EndpointHealth, times: number, nowMs: number): boolean {
  let ejected = false;
  for (let i = 0; i < times; i += 1) ejected = health.record('failure', false, nowMs) === 'ejected';
  return ejected;
}

describe('outlier ejection', () => {
  const noJitter = { ...OUTLIER_DEFAULTS, jitter: 0 };

  test('ejects after seven failures in a row, not after six and a success', () => {
    const detector = new OutlierDetector(() => 0, noJitter);
    const health = detector.track();
    detector.track();
    expect(failTimes(health, 6, 0)).toBe(false);
    health.record('success', false, 0);
    expect(failTimes(health, 6, 0)).toBe(false);
    health.record('unknown', false, 0);
    expect(failTimes(health, 1, 0)).toBe(true);
    expect(health.admits(999)).toBe(false);
    expect(health.admits(1_000)).toBe(true);
  });

  test('lets one probe through, whose failure doubles the ejection up to a minute and whose success ends it', () => {
    const detector = new OutlierDetector(() => 0, noJitter);
    const health = detector.track();
    detector.track();
    failTimes(health, 7, 0);
    let nowMs = 0;
    for (const lengthMs of [1, 2, 4, 8, 16, 32, 60, 60].map((s) => s * 1_000)) {
      expect(health.admits(nowMs + lengthMs - 1)).toBe(false);
      nowMs += lengthMs;
      expect(health.begin(nowMs)).toBe(true);
      expect(health.admits(nowMs)).toBe(false);
      expect(health.begin(nowMs)).toBe(false);
      expect(health.record('success', false, nowMs)).toBeNull(); // a late answer from before decides nothing
      expect(health.admits(nowMs)).toBe(false);
      expect(health.record('failure', true, nowMs)).toBe('ejected');
    }
    nowMs += 60_000;
    health.begin(nowMs);
    health.record('success', true, nowMs);
    expect(health.admits(nowMs)).toBe(true);
    expect(detector.ejected).toBe(0);
    expect(failTimes(health, 6, nowMs)).toBe(false);
  });

  test('follows another worker in both directions, and keeps half of the endpoints whatever it says', () => {
    const detector = new OutlierDetector(() => 0, noJitter);
    const [one, two] = [detector.track(), detector.track()];
    one.follow('ejected', 5_000, 100);
    two.follow('ejected', 5_000, 100);
    expect([one.admits(5_099), two.admits(5_099), detector.ejected]).toEqual([false, true, 1]);
    one.follow('readmitted', 0, 200);
    one.follow('readmitted', 0, 200);
    expect([one.admits(200), one.ejectedMs(200), detector.ejected]).toEqual([true, 0, 0]);
    one.remove();
    one.follow('ejected', 5_000, 300);
    expect(detector.ejected).toBe(0);
  });

  /** One endpoint as `count` workers see it, who tell each other everything at once. */
  function workers(count: number) {
    const all = Array.from({ length: count }, () => {
      const detector = new OutlierDetector(() => 0, noJitter);
      detector.track();
      return detector.track();
    });
    const tell = (from: EndpointHealth, event: HealthEvent, nowMs: number): void => {
      for (const other of all) if (other !== from) other.follow(event, from.ejectedMs(nowMs), nowMs);
    };
    return {
      all,
      tell,
      /** Every worker has a request at `nowMs`; how many probed. */
      probes(nowMs: number, verdict: 'success' | 'failure'): number {
        const probing = all.filter((health) => {
          const is = health.begin(nowMs);
          if (is) tell(health, 'probing', nowMs);
          return is;
        });
        for (const health of probing) {
          const change = health.record(verdict, true, nowMs);
          if (change !== null) tell(health, change, nowMs);
        }
        return probing.length;
      },
    };
  }

  test('of several workers one probes, whose failure doubles the ejection for all', () => {
    const { all, tell, probes } = workers(4);
    const [first] = all as [EndpointHealth];
    failTimes(first, 7, 0);
    tell(first, 'ejected', 0);
    let nowMs = 0;
    for (const lengthMs of [1_000, 2_000, 4_000, 8_000]) {
      expect(probes(nowMs + lengthMs - 1, 'failure')).toBe(0);
      nowMs += lengthMs;
      expect(probes(nowMs, 'failure')).toBe(1);
    }
    nowMs += 16_000;
    expect(probes(nowMs, 'success')).toBe(1);
    expect(all.map((health) => health.admits(nowMs))).toEqual([true, true, true, true]);
  });

  test('another worker probes when the one that ejected it has no request, and waits while it does', () => {
    const { all, tell } = workers(2);
    const [first, second] = all as [EndpointHealth, EndpointHealth];
    failTimes(first, 7, 0);
    tell(first, 'ejected', 0);
    expect([first.admits(1_000), second.admits(1_999), second.admits(2_000)]).toEqual([true, false, true]);
    expect(second.describe(500)).toContain('unless the worker that ejected it brings it back before');
    first.begin(1_500);
    tell(first, 'probing', 1_500);
    expect([second.admits(16_499), second.admits(16_500)]).toEqual([false, true]);
  });

  test('two workers that eject at once stay two, and the second to probe waits for the first', () => {
    const { all, tell, probes } = workers(2);
    for (const health of all) failTimes(health, 7, 0);
    for (const health of all) tell(health, 'ejected', 0);
    expect(all.map((health) => health.admits(1_000))).toEqual([true, true]);
    expect(probes(1_000, 'failure')).toBe(1);
    expect(probes(2_999, 'failure')).toBe(0);
    expect(probes(3_000, 'failure')).toBe(1);
  });

  test('a probe that learns nothing frees the place for the next', () => {
    const detector = new OutlierDetector(() => 0, noJitter);
    const health = detector.track();
    detector.track();
    failTimes(health, 7, 0);
    health.begin(1_000);
    health.record('unknown', true, 1_000);
    expect(health.begin(1_000)).toBe(true);
  });

  test('adds up to half as much again as jitter', () => {
    const detector = new OutlierDetector(() => 0.999);
    const health = detector.track();
    detector.track();
    failTimes(health, 7, 0);
    expect(health.admits(1_490)).toBe(false);
    expect(health.admits(1_500)).toBe(true);
  });

  test('never ejects more than half, nor the only endpoint', () => {
    const alone = new OutlierDetector(() => 0).track();
    expect(failTimes(alone, 100, 0)).toBe(false);
    const detector = new OutlierDetector(() => 0);
    const all = [detector.track(), detector.track(), detector.track(), detector.track()] as const;
    expect(all.map((health) => failTimes(health, 7, 0))).toEqual([true, true, false, false]);
    all[3].remove();
    all[3].remove();
    expect([detector.total, detector.ejected]).toEqual([3, 2]);
    all[0].remove();
    expect([detector.total, detector.ejected]).toEqual([2, 1]);
  });
});

describe('a cluster', () => {
  const pool = { request: () => true, close() {} } as unknown as Pool;
  const versions = (...all: string[]) => {
    const cluster = new Cluster(
      roundRobin(() => 0),
      () => 0,
    );
    all.forEach((version, i) => {
      cluster.setEndpoint(`${version}-${i}`, ['version', version], pool);
    });
    const fail = (name: string) =>
      failTimes(cluster.list.find((one) => one.name === name)?.health as EndpointHealth, 7, 0);
    const pick = (...labels: string[]) => cluster.pick(labels, 1, null)?.name ?? cluster.whyNone(labels);
    return { cluster, fail, pick };
  };

  test('ignores health once too few are healthy, of all or of those with the labels', () => {
    const { cluster, fail, pick } = versions('v1', 'v2', 'v2', 'v2');
    expect([fail('v1-0'), fail('v2-1')]).toEqual([true, true]);
    // Half of all is out: nobody else is, and these two get nothing.
    expect(new Set([pick(), pick(), pick(), pick()])).toEqual(new Set(['v2-2', 'v2-3']));
    expect(new Set([pick('version', 'v2'), pick('version', 'v2')])).toEqual(new Set(['v2-2', 'v2-3']));
    // All of v1 is out: better a call that may fail than none.
    expect(pick('version', 'v1')).toBe('v1-0');
    cluster.removeEndpoint('v2-3');
    expect(new Set([pick(), pick(), pick()])).toEqual(new Set(['v1-0', 'v2-1', 'v2-2']));
  });

  test('says why there is none', () => {
    expect(versions('v1').pick('version', 'v3')).toBe('no endpoint has the labels version=v3');
    expect(versions().pick()).toBe('the Service has no endpoints');
  });
});

describe('retry budget', () => {
  test('always allows three, then a fifth of the requests in flight', () => {
    const budget = new RetryBudget();
    const take = (): number => {
      let taken = 0;
      while (budget.tryAcquireRetry() !== null) taken += 1;
      return taken;
    };
    expect(take()).toBe(3);
    for (let i = 0; i < 100; i += 1) budget.acquireRequest();
    expect(take()).toBe(17);
  });

  test('a guard gives back once', () => {
    const budget = new RetryBudget(undefined, undefined, 0, 1);
    const request = budget.acquireRequest();
    const retry = budget.tryAcquireRetry();
    expect(budget.tryAcquireRetry()).toBeNull();
    request.release();
    request.release();
    retry?.release();
    retry?.release();
    expect([budget.requests.total, budget.retries.total]).toEqual([0, 0]);
    expect(budget.tryAcquireRetry()).not.toBeNull();
  });
});

describe('backoff', () => {
  test.each([
    [0, 25],
    [1, 50],
    [3, 200],
    [4, 250],
    [60, 250],
  ])('retry %i waits anything below %i ms', (retry, ceilingMs) => {
    expect(backoffMs(retry, () => 0)).toBe(0);
    expect(backoffMs(retry, () => 0.5)).toBe(ceilingMs / 2);
  });
});
