// One scenario, all proxies: they are launched beside each other, take turns round by round so that what the machine
// does meanwhile hits all of them, and are ended whatever happens. What a round sends is its suite's business.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Backends, startBackends } from './backends.ts';
import { createIdentities, type Identities } from './certificates.ts';
import type { LoadResult, LoadTarget } from './load.ts';
import type { Launched, Peer, Scenario } from './peers/peer.ts';
import { LOAD_CORES, PROXY_CORE } from './processes.ts';
import { type Cost, median, type Row, ratioTable, round } from './rows.ts';
import type { SuiteContext } from './suite.ts';
import { cpuMicros, rssMb } from './usage.ts';

/** Ratios are to the proxy that most meshes run, and to the leanest. */
export const REFERENCES = ['envoy', 'haproxy'];

/** What all proxies of a run are given. */
export interface Grounds {
  readonly backends: Backends;
  readonly identities: Identities;
}

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

export type Rounds = ReadonlyMap<Contestant, readonly Round[]>;
type Load = (target: LoadTarget, contestant: Contestant) => Promise<LoadResult>;

/** A suite whose scenarios differ only in what is sent. */
export interface Trial {
  readonly suite: string;
  readonly scenarios: readonly Scenario[];
  readonly peers: readonly Peer[];
  readonly cost: Cost;
  /** Sends one round's load and waits for its end. */
  load(scenario: Scenario, target: LoadTarget, grounds: Grounds): Promise<LoadResult>;
  /** Throws when what the contestant answers would make its figures mean nothing. */
  check?(scenario: Scenario, port: number): Promise<void>;
}

/** Plays every scenario that the command line wants, and prints a table of each. */
export async function playTrial(context: SuiteContext, trial: Trial): Promise<Row[]> {
  const peers = choosePeers(context, trial.peers);
  return await onGrounds(context, async (grounds) => {
    const rows: Row[] = [];
    for (const scenario of wanted(context, trial.scenarios)) {
      await withContestants(context, scenario, peers, grounds, async (contestants) => {
        for (const one of contestants) await checked(one, () => trial.check?.(scenario, one.launched.port));
        const rounds = await playRounds(context, contestants, (target) => trial.load(scenario, target, grounds));
        const found = rowsOf(trial.suite, scenario.name, rounds, trial.cost);
        rows.push(...found);
        context.print(ratioTable(found, REFERENCES, trial.cost));
      });
    }
    return rows;
  });
}

/** The peers that are wanted and installed; says which are which. */
export function choosePeers(context: SuiteContext, peers: readonly Peer[]): Peer[] {
  context.print(`proxies alone on core ${PROXY_CORE}; load and backends on ${LOAD_CORES}`);
  const chosen = peers.filter((peer) => context.peers.length === 0 || context.peers.includes(peer.name));
  return chosen.filter((peer) => {
    const version = peer.version();
    context.print(version === null ? `${peer.name}: not installed; its rows are absent` : `${peer.name}: ${version}`);
    return version !== null;
  });
}

/** Those that `--only` names; all without it. */
export function wanted<T extends { readonly name: string }>({ only }: SuiteContext, scenarios: readonly T[]): T[] {
  return scenarios.filter(({ name }) => only.length === 0 || only.includes(name));
}

/** Runs `use` beside backends and with identities, and ends the backends. */
export async function onGrounds<T>(context: SuiteContext, use: (grounds: Grounds) => Promise<T>): Promise<T> {
  const identities = await createIdentities(context.folder);
  const backends = await startBackends(context.folder);
  try {
    return await use({ backends, identities });
  } finally {
    await backends.stop();
  }
}

let launches = 0;

/** Launches `scenario` with every peer that can do it, runs `use`, prints how they were configured, and ends them. */
export async function withContestants(
  context: SuiteContext,
  scenario: Scenario,
  peers: readonly Peer[],
  { backends, identities }: Grounds,
  use: (contestants: readonly Contestant[]) => Promise<void>,
): Promise<void> {
  context.print(`\n${scenario.name}: ${scenario.title}`);
  const contestants: Contestant[] = [];
  try {
    for (const peer of peers) {
      const folder = join(context.folder, `${scenario.name}-${peer.name}-${launches++}`);
      mkdirSync(folder);
      const all = backends[scenario.protocol];
      const instances = scenario.hops === 1 && scenario.front === 'clear' ? all : all.slice(0, 1);
      const launched = await peer.launch({ scenario, folder, backends: instances, identities });
      const pids = launched?.programs.map(({ pid }) => pid) ?? [];
      if (launched !== null) contestants.push({ name: peer.name, launched, pids });
    }
    await use(contestants);
    context.printConfigs(contestants.map(({ name, launched }) => ({ name, text: launched.config })));
  } finally {
    await Promise.all(contestants.flatMap(({ launched }) => launched.programs.map((program) => program.stop())));
  }
}

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

async function checked({ name }: Contestant, check: () => Promise<void> | undefined): Promise<void> {
  try {
    await check();
  } catch (error) {
    throw new Error(`${name}: ${(error as Error).message}`);
  }
}
