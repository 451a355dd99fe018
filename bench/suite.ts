// What a suite is given by the command line.

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
