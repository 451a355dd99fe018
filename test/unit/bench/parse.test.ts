// What the benches read from other programs' output: a wrong reading would be a wrong figure in the README.
import { expect, test } from 'vitest';
import { parseGhz } from '../../../bench/grpc.ts';
import { withAdded } from '../../../bench/latency.ts';
import { parseH2load, parseWrk, percentile } from '../../../bench/load.ts';
import { median, PER_REQUEST, ratioTable, round } from '../../../bench/rows.ts';
import { growthPerMinute } from '../../../bench/soak.ts';
import { statTicks } from '../../../bench/usage.ts';

const WRK = `Running 4s test @ http://127.0.0.1:1/bench
  Latency Distribution
     50%    1.40ms
     75%    1.90ms
     90%    3.00ms
     99%    1.02s
  51237 requests in 4.00s, 8.30MB read
Requests/sec:  12809.25
Transfer/sec:      2.08MB
`;

test('wrk: requests, rate, and latencies in whatever unit it chose', () => {
  expect(parseWrk(WRK)).toEqual({ requests: 51237, requestsPerSecond: 12809.25, p50Ms: 1.4, p99Ms: 1020, errors: 0 });
  expect(parseWrk(WRK.replace('1.40ms', '830.00us')).p50Ms).toBeCloseTo(0.83);
});

test('wrk: socket errors and answers that are no success are errors', () => {
  const errors = '  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 50000\n';
  expect(parseWrk(WRK + errors).errors).toBe(54321);
});

test('wrk: output of a run that failed is no result', () => {
  expect(() => parseWrk('unable to connect to 127.0.0.1:1 Connection refused')).toThrow('unable to connect');
});

const H2LOAD = `finished in 1.01s, 13480.00 req/s, 737.60KB/s
requests: 13480 total, 13488 started, 13480 done, 13480 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 13480 2xx, 0 3xx, 0 4xx, 0 5xx
`;
const LOG = '1795495603134227\t200\t356\n1795495603134228\t200\t1391\n1795495603134229\t200\t93\n';

test('h2load: counts from the report, percentiles from the log of single requests', () => {
  expect(parseH2load(H2LOAD, LOG)).toEqual({
    requests: 13480,
    requestsPerSecond: 13480,
    p50Ms: 0.356,
    p99Ms: 1.391,
    errors: 0,
  });
});

test('h2load: what failed and what was answered 503 are errors, each once', () => {
  const failed = H2LOAD.replace('13480 succeeded, 0 failed', '13400 succeeded, 80 failed').replace(
    '13480 2xx',
    '13400 2xx',
  );
  expect(parseH2load(failed, LOG).errors).toBe(80);
  expect(parseH2load(H2LOAD.replace('13480 2xx, 0 3xx', '13470 2xx, 0 3xx'), LOG).errors).toBe(10);
});

test('percentiles are by nearest rank, medians by the middle or the mean of two', () => {
  expect([percentile([1, 2, 3, 4], 50), percentile([1, 2, 3, 4], 99), percentile([7], 1)]).toEqual([2, 4, 7]);
  expect([median([3, 1, 2]), median([4, 1, 2, 3])]).toEqual([2, 2.5]);
});

test('a process may be named so that its stat line looks like another', () => {
  const fields = 'R 1 1 1 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 1 0 1 1';
  expect(statTicks(`42 (a) b (c)) ${fields}`)).toBe(300);
});

test('a ratio is to each reference of the same table, and a dash without it', () => {
  const row = (proxy: string, cost: number) => ({ suite: 'wire', scenario: 'h1', proxy, cpu_us_per_request: cost });
  const rows = [row('envoy', 50), row('haproxy', 16), row('weft', 20)];
  expect(ratioTable(rows, ['envoy', 'haproxy'], PER_REQUEST)).toMatch(/^weft .* 0\.40x +1\.25x /m);
  expect(ratioTable([row('weft', 20)], ['envoy'], PER_REQUEST)).not.toMatch(/[0-9]x /);
  expect([round(12345.6), round(0.12345)]).toEqual([12346, 0.123]);
});

test('what a proxy adds is what it has above the same load without one', () => {
  const row = (proxy: string, p50_ms: number, p99_ms: number) => ({
    suite: 'latency',
    scenario: 's',
    proxy,
    p50_ms,
    p99_ms,
  });
  const [direct, weft] = withAdded([row('direct', 0.25, 1), row('weft', 0.75, 4)]);
  expect(direct).not.toHaveProperty('added_p50_ms');
  expect(weft).toMatchObject({ added_p50_ms: 0.5, added_p99_ms: 3 });
});

test('ghz: latencies in ms, and every call that did not end OK is an error', () => {
  const report = {
    count: 100,
    rps: 99.5,
    statusCodeDistribution: { OK: 97, Unavailable: 3 },
    latencyDistribution: [
      { percentage: 50, latency: 1_250_000 },
      { percentage: 99, latency: 9_000_000 },
    ],
  };
  const expected = { count: 100, requests_per_s: 99.5, p50_ms: 1.25, p99_ms: 9, errors: 3 };
  expect(parseGhz(JSON.stringify(report))).toEqual(expected);
});

test('memory grows by the line through the second half, whatever the first half did', () => {
  const samples = [100, 150, 190, 200, 202, 204].map((mb, i) => ({ ms: i * 30_000, mb }));
  expect(growthPerMinute(samples)).toBeCloseTo(4);
});
