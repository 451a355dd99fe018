// What a suite is given by the command line, and what of it no suite can mean.

export interface SuiteContext {
  /** Names of the peers wanted; none: all that are installed. */
  readonly peers: readonly string[];
  /** Names of the scenarios wanted; none: all. */
  readonly only: readonly string[];
  readonly rounds: number;
  /** Length of one round. */
  readonly seconds: number;
  /** How long the soak lasts. */
  readonly minutes: number;
  /** One short round without warm-up: proves that the bench works; its figures mean nothing. */
  readonly smoke: boolean;
  /** An empty folder, removed afterwards. */
  readonly folder: string;
  print(text: string): void;
  /** Prints how each peer was configured; `--smoke` leaves it out. */
  printConfigs(configs: readonly { readonly name: string; readonly text: string }[]): void;
}

interface Named {
  readonly name: string;
}

/** A name on the command line that is none of the suite's; its message says where, and which there are. */
export class UnknownName extends Error {}

/** Throws `UnknownName` where `--only` or `--peers` names what the suite has not: a run would quietly be narrower. */
export function refuseUnknown(
  { only, peers }: Pick<SuiteContext, 'only' | 'peers'>,
  known: { readonly scenarios: readonly Named[]; readonly peers: readonly Named[] },
): void {
  refuse('--only', 'scenario', only, known.scenarios);
  refuse('--peers', 'peer', peers, known.peers);
}

function refuse(option: string, what: string, given: readonly string[], known: readonly Named[]): void {
  const names = known.map(({ name }) => name);
  const unknown = given.filter((name) => !names.includes(name));
  if (unknown.length === 0) return;
  const has = names.length === 0 ? `leave ${option} out` : `it has ${names.join(', ')}`;
  throw new UnknownName(`${option}: this suite has no ${what} ${unknown.join(', ')}; ${has}`);
}
