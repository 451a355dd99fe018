// `npm run bench -- SUITE`: one suite against the peers found on this machine. README, "Benches", says what each prints.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { EXIT } from '../proto/kit/exit.ts';
import { flag, option, optionsOrExit, parseCount, parseText } from '../proto/kit/options.ts';
import { findProgram, PIN } from './processes.ts';
import type { Row } from './rows.ts';
import { type SuiteContext, UnknownName } from './suite.ts';

type Suite = (context: SuiteContext) => Promise<Row[]>;

/** Loaded on use: one suite's imports are not another's memory. */
const SUITES: Readonly<Record<string, () => Promise<Suite>>> = {
  wire: async () => (await import('./wire.ts')).wireSuite,
  mesh: async () => (await import('./mesh.ts')).meshSuite,
  body: async () => (await import('./body.ts')).bodySuite,
  handshake: async () => (await import('./handshake.ts')).handshakeSuite,
  memory: async () => (await import('./memory.ts')).memorySuite,
  latency: async () => (await import('./latency.ts')).latencySuite,
  soak: async () => (await import('./soak.ts')).soakSuite,
  'control-plane': async () => (await import('./control-plane.ts')).controlPlaneSuite,
  grpc: async () => (await import('./grpc.ts')).grpcSuite,
  install: async () => (await import('./install.ts')).installPeers,
};

const names = parseNames;
const OPTIONS = {
  json: option('FILE', 'also write the result as a JSON array of rows', '', parseText),
  peers: option('NAMES', 'only these peers, separated by commas (envoy, haproxy, nginx, weft)', [], names),
  only: option('NAMES', 'only these scenarios, separated by commas', [], names),
  rounds: option('N', 'interleaved rounds; the medians are reported', 5, parseCount(1, 1000)),
  seconds: option('N', 'length of one round', 4, parseCount(1, 3600)),
  minutes: option('N', 'length of the soak: half an hour shows a leak of a few MB an hour', 30, parseCount(1, 10_000)),
  smoke: flag('one round of 1 s: proves that the bench works, its figures mean nothing'),
};

const [suiteName = '', ...rest] = process.argv.slice(2);
const suite = SUITES[suiteName];
if (suite === undefined && !rest.concat(suiteName).includes('--help')) {
  console.error(`bench: name a suite: npm run bench -- ${Object.keys(SUITES).join('|')} [--help]`);
  process.exit(EXIT.commandLine);
}
process.argv.splice(2, 1);
if (suite === undefined) process.argv.push('--help');
const values = optionsOrExit(`npm run bench -- ${suiteName || 'SUITE'}`, OPTIONS);
if (process.platform !== 'linux' || findProgram(PIN) === null) {
  console.error('bench: needs Linux (CPU time from /proc) and taskset (Debian: util-linux)');
  process.exit(EXIT.unavailable);
}

const folder = mkdtempSync(join(tmpdir(), 'weft-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const { peers, only, smoke, minutes } = values;
const print = (text: string): void => console.log(text);
const context: SuiteContext = {
  peers,
  only,
  smoke,
  minutes,
  rounds: smoke ? 1 : values.rounds,
  seconds: smoke ? 1 : values.seconds,
  folder,
  print,
  printConfigs(configs) {
    if (!smoke) for (const { name, text } of configs) print(`\n--- ${name}\n${text.replaceAll(folder, '.').trimEnd()}`);
  },
};
try {
  // Before a run of half an hour, not after it.
  if (values.json !== '') writeFileSync(values.json, '[]\n');
} catch (error) {
  console.error(`bench: --json: ${(error as Error).message}; is the folder there?`);
  process.exit(EXIT.commandLine);
}
try {
  print(`${suiteName} on ${cpus().length} x ${cpus()[0]?.model.trim()}, Linux, Node ${process.version}`);
  const rows = await (await (suite as () => Promise<Suite>)())(context);
  if (rows.length === 0 && only.length + peers.length > 0) {
    console.error(
      'bench: nothing was run: no peer that --peers names is installed, or none of them plays what --only names',
    );
    process.exitCode = EXIT.commandLine;
  }
  if (values.json !== '') writeFileSync(values.json, `${JSON.stringify(rows, null, 1)}\n`);
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exitCode = error instanceof UnknownName ? EXIT.commandLine : EXIT.unavailable;
}
process.exit();

function parseNames(text: string): string[] {
  return text.split(',').filter((name) => name !== '');
}
