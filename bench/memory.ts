// The memory suite: what a proxy holds before its first request, and what each idle connection costs it, in the clear
// and with mutual TLS: anonymous memory, which is the process's own, from /proc/PID/smaps_rollup.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { choosePeers, onGrounds, REFERENCES, wanted, withContestants } from './contest.ts';
import { clientPem } from './handshake.ts';
import type { IdleLoad } from './idle-load.ts';
import { programCommand } from './load-program.ts';
import { type Scenario, SNI } from './peers/peer.ts';
import { LOAD_CORES, pause, start, until } from './processes.ts';
import type { Contestant } from './rounds.ts';
import { median, type Row, ratioTo, round, table } from './rows.ts';
import { refuseUnknown, type SuiteContext } from './suite.ts';
import { anonymousKib, rssMb } from './usage.ts';
import { PEERS } from './wire.ts';

/** A proxy settles its timers and pools in less than 2 s, and frees what it will free. */
const REST_MS = 2_000;
/** Opened before counting: what a proxy needs for its first connections and requests it needs once, however many come. */
const FIRST = 200;
const FIRST_REQUESTS = 50;

const one = { protocol: 'h1', hops: 1 } as const;
const SCENARIOS = [
  { ...one, name: 'idle-clear', title: 'idle connections in the clear', front: 'clear', connections: 2_000 },
  { ...one, name: 'idle-mutual', title: 'idle connections with mutual TLS', front: 'mutual', connections: 1_000 },
] as const satisfies (Scenario & { connections: number })[];

/** One launch of one proxy. */
interface Figures {
  readonly restMb: number;
  readonly restAnonymousMb: number;
  readonly kibPerConnection: number;
}

/** Runs the suite: in each round every proxy is started anew. */
export async function memorySuite(context: SuiteContext): Promise<Row[]> {
  refuseUnknown(context, { scenarios: SCENARIOS, peers: PEERS });
  const peers = choosePeers(context, PEERS);
  // Titles and configs are the same in every round.
  const quiet: SuiteContext = { ...context, print() {}, printConfigs() {} };
  return await onGrounds(context, async (grounds) => {
    const rows: Row[] = [];
    for (const scenario of wanted(context, SCENARIOS)) {
      const found = new Map<string, Figures[]>();
      const count = context.smoke ? FIRST : scenario.connections;
      const identity = scenario.front === 'mutual' ? clientPem(grounds.identities.client) : null;
      const sni = scenario.front === 'mutual' ? SNI : null;
      for (let number = 0; number < context.rounds; number++) {
        await withContestants(number === 0 ? context : quiet, scenario, peers, grounds, async (contestants) => {
          await pause(context.smoke ? 0 : REST_MS);
          for (const contestant of contestants) {
            const target = { port: contestant.launched.port, sni, identity };
            const figures = await measure(context, contestant, count, target);
            found.set(contestant.name, [...(found.get(contestant.name) ?? []), figures]);
          }
        });
      }
      const own = [...found].map(([name, figures]) => rowOf(scenario.name, name, count, figures));
      rows.push(...own);
      context.print(report(own));
    }
    return rows;
  });
}

async function measure(
  { folder, smoke }: SuiteContext,
  { name, pids, launched }: Contestant,
  count: number,
  target: Pick<IdleLoad, 'port' | 'sni' | 'identity'>,
): Promise<Figures> {
  const restMb = rssMb(pids);
  const restAnonymousMb = (anonymousKib(pids) * 1024) / 1e6;
  const programs = [];
  const kib: number[] = [];
  try {
    for (const [connections, requests] of [
      [FIRST, smoke ? 1 : FIRST_REQUESTS],
      [count, 1],
    ] as const) {
      const readyFile = join(folder, `idle-${name}-${launched.port}-${kib.length}.json`);
      const load: IdleLoad = { ...target, connections, requests, readyFile };
      const program = start('idle-load.ts', LOAD_CORES, programCommand('./idle-load.ts', load));
      programs.push(program);
      await until(program, () => existsSync(readyFile), `open ${connections} connections to ${name}`);
      await pause(smoke ? 0 : REST_MS);
      kib.push(anonymousKib(pids));
    }
  } finally {
    await Promise.all(programs.map((program) => program.stop()));
  }
  return { restMb, restAnonymousMb, kibPerConnection: ((kib[1] ?? 0) - (kib[0] ?? 0)) / count };
}

function rowOf(scenario: string, proxy: string, connections: number, figures: readonly Figures[]): Row {
  const middle = (pick: (of: Figures) => number): number => round(median(figures.map(pick)));
  return {
    suite: 'memory',
    scenario,
    proxy,
    rss_mb: middle((one) => one.restMb),
    rest_anonymous_mb: middle((one) => one.restAnonymousMb),
    connections,
    anonymous_kib_per_connection: middle((one) => one.kibPerConnection),
  };
}

function report(rows: readonly Row[]): string {
  return table(
    ['proxy', 'RSS MB at rest', ...REFERENCES.map((name) => `to ${name}`), 'anonymous MB', 'KiB/idle connection'],
    rows.map((row) => [
      row.proxy,
      row.rss_mb,
      ...REFERENCES.map((name) => ratioTo(rows, name, row, 'rss_mb')),
      row['rest_anonymous_mb'],
      row['anonymous_kib_per_connection'],
    ]),
  );
}
