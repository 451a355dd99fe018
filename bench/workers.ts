// The `workers` scenario of the wire suite: two data-path workers on two cores beside one worker on the same two. What
// counts is CPU per request, which a second worker must not raise, and how the kernel spreads 64 connections.

import { availableParallelism } from 'node:os';
import { onGrounds, wanted, withContestants } from './contest.ts';
import { type LoadResult, type LoadTarget, wrk } from './load.ts';
import type { Scenario } from './peers/peer.ts';
import { weftPeer } from './peers/weft.ts';
import { pause } from './processes.ts';
import { type Contestant, playRounds, rowsOf } from './rounds.ts';
import { median, PER_REQUEST, type Row, ratioTable, round } from './rows.ts';
import type { SuiteContext } from './suite.ts';

export const WORKERS: Scenario = {
  name: 'workers',
  title: 'HTTP/1.1 small GET, 64 connections, one worker and two on the last two cores',
  protocol: 'h1',
  front: 'clear',
  hops: 1,
};
const ONE = 'weft-1-worker';

/** Into a round: connections are open by then and not yet closed. */
const SPLIT_AT_MS = 500;

/** Runs the scenario; nothing unless the command line wants it. */
export async function workersScenario(context: SuiteContext): Promise<Row[]> {
  const unwanted = context.peers.length > 0 && !context.peers.includes('weft');
  if (unwanted || wanted(context, [WORKERS]).length === 0) return [];
  const cores = `${Math.max(0, availableParallelism() - 2)}-${availableParallelism() - 1}`;
  const peers = [1, 2].map((workers) =>
    weftPeer(`weft-${workers}-worker${workers > 1 ? 's' : ''}`, { workers, cores }),
  );
  return await onGrounds(context, async (grounds) => {
    const rows: Row[] = [];
    await withContestants(context, WORKERS, peers, grounds, async (contestants) => {
      const shares = new Map<string, number[]>(contestants.map(({ name }) => [name, []]));
      const load = async (target: LoadTarget, one: Contestant): Promise<LoadResult> => {
        const result = wrk(target);
        await pause(SPLIT_AT_MS);
        shares.get(one.name)?.push(await largestShare(one.launched.admin ?? 0));
        return await result;
      };
      for (const row of rowsOf('wire', WORKERS.name, await playRounds(context, contestants, load), PER_REQUEST)) {
        rows.push({ ...row, largest_share_percent: round(median(shares.get(row.proxy) ?? [])) });
      }
      context.print(ratioTable(rows, [ONE], PER_REQUEST));
      const [, two] = rows;
      context.print(`of 64 connections the fuller of two workers has ${two?.['largest_share_percent']} % (median)`);
    });
    return rows;
  });
}

/** Percent of the open connections that the fullest worker has, as admin tells. */
async function largestShare(admin: number): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${admin}/endpoints`);
  const { workers } = (await response.json()) as { workers: { connections: number }[] };
  const counts = workers.map(({ connections }) => connections);
  return (100 * Math.max(...counts)) / counts.reduce((sum, count) => sum + count, 0);
}
