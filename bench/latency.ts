// The latency suite: what one hop adds to a call far below saturation, at 1,000 and 5,000 requests a second in an open
// loop, beside the same load without a proxy. The 99th percentile is printed; it says something of a proxy only where
// that of `direct` is below 1 ms, since otherwise the machine made it.

import { choosePeers, onGrounds, REFERENCES, wanted, withContestants } from './contest.ts';
import type { LatencyLoad } from './latency-load.ts';
import { runProgram } from './load-program.ts';
import type { Peer, Scenario } from './peers/peer.ts';
import { playRounds, rowsOf } from './rounds.ts';
import { PER_REQUEST, type Row, ratioTo, round, table } from './rows.ts';
import { refuseUnknown, type SuiteContext } from './suite.ts';
import { PEERS } from './wire.ts';

const one = { protocol: 'h1', front: 'clear', hops: 1 } as const;
const SCENARIOS = [1000, 5000].map((rate) => ({
  ...one,
  rate,
  name: `rate-${rate}`,
  title: `HTTP/1.1 small GET, ${rate} requests/s, one hop`,
})) satisfies Scenario[];

/** No proxy: the load reaches the application itself. */
const DIRECT: Peer = {
  name: 'direct',
  version: () => 'no proxy in between',
  launch: async ({ backends }) => ({ port: backends[0] ?? 0, programs: [], config: '' }),
};

/** Runs the suite. */
export async function latencySuite(context: SuiteContext): Promise<Row[]> {
  refuseUnknown(context, { scenarios: SCENARIOS, peers: [DIRECT, ...PEERS] });
  const peers = [DIRECT, ...choosePeers(context, PEERS)];
  return await onGrounds(context, async (grounds) => {
    const rows: Row[] = [];
    for (const scenario of wanted(context, SCENARIOS)) {
      const { rate, name } = scenario;
      await withContestants(context, scenario, peers, grounds, async (contestants) => {
        const rounds = await playRounds(context, contestants, ({ port, seconds }) =>
          runProgram('./latency-load.ts', { port, seconds, rate } satisfies LatencyLoad),
        );
        const found = withAdded(rowsOf('latency', name, rounds, PER_REQUEST));
        rows.push(...found);
        context.print(report(found));
      });
    }
    return rows;
  });
}

/** The rows with what each has above `direct`. */
export function withAdded(rows: readonly Row[]): Row[] {
  const direct = rows.find(({ proxy }) => proxy === DIRECT.name);
  const added = (row: Row, figure: 'p50_ms' | 'p99_ms'): number => round((row[figure] ?? 0) - (direct?.[figure] ?? 0));
  return rows.map((row) =>
    row === direct ? row : { ...row, added_p50_ms: added(row, 'p50_ms'), added_p99_ms: added(row, 'p99_ms') },
  );
}

function report(rows: readonly Row[]): string {
  const ratios = REFERENCES.map((name) => `added p50 to ${name}`);
  return table(
    ['', 'p50 ms', 'added p50 ms', ...ratios, 'p99 ms', 'added p99 ms', 'CPU µs/request', 'requests/s', 'errors'],
    rows.map((row) => [
      row.proxy,
      row.p50_ms,
      row['added_p50_ms'],
      ...REFERENCES.map((name) => ratioTo(rows, name, row, 'added_p50_ms')),
      row.p99_ms,
      row['added_p99_ms'],
      row.cpu_us_per_request,
      row.requests_per_s,
      row.errors,
    ]),
  );
}
