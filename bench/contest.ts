// One scenario, all proxies: they are launched beside each other, take turns, and are ended whatever happens. What is
// sent is their suite's business.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Backends, startBackends } from './backends.ts';
import { createIdentities, type Identities } from './certificates.ts';
import type { LoadResult, LoadTarget } from './load.ts';
import type { Peer, Scenario } from './peers/peer.ts';
import { LOAD_CORES, PROXY_CORE } from './processes.ts';
import { type Contestant, playRounds, rowsOf } from './rounds.ts';
import { type Cost, type Row, ratioTable } from './rows.ts';
import type { SuiteContext } from './suite.ts';

/** Ratios are to the proxy that most meshes run, and to the leanest. */
export const REFERENCES = ['envoy', 'haproxy'];

/** What all proxies of a run are given. */
export interface Grounds {
  readonly backends: Backends;
  readonly identities: Identities;
}

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

async function checked({ name }: Contestant, check: () => Promise<void> | undefined): Promise<void> {
  try {
    await check();
  } catch (error) {
    throw new Error(`${name}: ${(error as Error).message}`);
  }
}
