// Turns round by round, so that what the machine does meanwhile hits every contestant, and the medians as rows.

import type { LoadResult, LoadTarget } from './load.ts';
import type { Launched } from './peers/peer.ts';
import { type Cost, median, type Row, round } from './rows.ts';
import type { SuiteContext } from './suite.ts';
import { cpuMicros, rssMb } from './usage.ts';

/** A proxy that takes part; `direct`, without one, has no programs. */
export interface Contestant {
  readonly name: string;
  readonly launched: Launched;
  readonly pids: readonly number[];
}

/** One turn of one contestant. */
export interface Round extends LoadResult {
  /** Of all its programs. */
  readonly cpuUsPerRequest: number;
  readonly rssMb: number;
}

type Rounds = ReadonlyMap<Contestant, readonly Round[]>;
type Load = (target: LoadTarget, contestant: Contestant) => Promise<LoadResult>;

/** Interleaved rounds; `load` sends those of one contestant. */
export async function playRounds(
  context: SuiteContext,
  contestants: readonly Contestant[],
  load: Load,
): Promise<Rounds> {
  const { folder, seconds } = context;
  const rounds = new Map<Contestant, Round[]>(contestants.map((one) => [one, []]));
  // Unmeasured: compilers warm up, pools fill.
  for (const one of context.smoke ? [] : contestants) await load({ port: one.launched.port, seconds: 2, folder }, one);
  for (let number = 1; number <= context.rounds; number++) {
    for (const [one, results] of rounds) {
      const before = cpuMicros(one.pids);
      const result = await load({ port: one.launched.port, seconds, folder }, one);
      const cpuUsPerRequest = (cpuMicros(one.pids) - before) / result.requests;
      results.push({ ...result, cpuUsPerRequest, rssMb: rssMb(one.pids) });
      if (result.errors > 0) {
        context.print(`  ${one.name}, round ${number}: ${result.errors} of ${result.requests} failed`);
      }
    }
  }
  return rounds;
}

/** Medians as rows; the CPU time under the figure that `cost` names. */
export function rowsOf(suite: string, scenario: string, rounds: Rounds, cost: Cost): Row[] {
  return [...rounds].map(([{ name, pids }, results]) => {
    const middle = (pick: (of: Round) => number): number => round(median(results.map(pick)));
    const costs = results.map((one) => one.cpuUsPerRequest);
    const usage = {
      [cost.figure]: middle((one) => one.cpuUsPerRequest),
      rss_mb: middle((one) => one.rssMb),
      round_min: round(Math.min(...costs)),
      round_max: round(Math.max(...costs)),
    };
    return {
      suite,
      scenario,
      proxy: name,
      requests_per_s: middle((one) => one.requestsPerSecond),
      p50_ms: middle((one) => one.p50Ms),
      p99_ms: middle((one) => one.p99Ms),
      errors: results.reduce((sum, one) => sum + one.errors, 0),
      ...(pids.length === 0 ? {} : usage),
    };
  });
}
