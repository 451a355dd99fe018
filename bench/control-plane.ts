// The control-plane suite: 1,000 sidecars hold their delta streams open, one workload changes, and the clock stops when
// the last sidecar that must know has acknowledged. Counted beside it: what was sent to whom, CPU and memory.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Ready } from '../proto/kit/ready-file.ts';
import { createAccounts } from './certificates.ts';
import { percentile } from './load.ts';
import { LOAD_CORES, PIN, PROXY_CORE, pause, type Started, start, until } from './processes.ts';
import { type Row, round, table } from './rows.ts';
import { SimulatedSidecar, SimulatedWorkload } from './simulated-sidecar.ts';
import { refuseUnknown, type SuiteContext } from './suite.ts';
import { cpuMicros, rssMb } from './usage.ts';

const BUNDLE = fileURLToPath(new URL('../dist/control-plane/main.js', import.meta.url));

/** Accounts that call `orders` and accounts that may not: half of the mesh each. */
const ACCOUNTS = 50;
const SIDECARS = 1_000;
const SIDECARS_SMOKE = 50;
/** Endpoint changes in each round of the command line. */
const CHANGES_PER_ROUND = 10;
/** A change that has not reached everybody by then counts as an error. */
const CHANGE_TIMEOUT_MS = 10_000;
/** After the last acknowledgement: whoever gets a second message, or one that is not its business, gets it in this time. */
const QUIET_MS = 100;
/** Connections opened at once: a mesh that starts, not a handshake benchmark. */
const CONNECTING = 20;

/** Runs the suite. */
export async function controlPlaneSuite(context: SuiteContext): Promise<Row[]> {
  refuseUnknown(context, { scenarios: [], peers: [] });
  if (!existsSync(BUNDLE)) throw new Error('dist/control-plane/main.js is missing; run npm run build');
  spawnSync(PIN, ['-acp', LOAD_CORES, String(process.pid)]);
  const count = context.smoke ? SIDECARS_SMOKE : SIDECARS;
  const changes = context.smoke ? 3 : context.rounds * CHANGES_PER_ROUND;
  context.print(`control plane alone on core ${PROXY_CORE}; ${count} sidecars in one process on ${LOAD_CORES}`);
  const dataDir = join(context.folder, 'data');
  mkdirSync(dataDir, { mode: 0o700 });
  const accounts = await createAccounts(dataDir, [...Array.from({ length: ACCOUNTS }, (_, i) => `app-${i}`), 'orders']);
  const { program, port } = await startControlPlane(context, dataDir);
  const sidecars: SimulatedSidecar[] = [];
  let workload: SimulatedWorkload | null = null;
  try {
    const startedMs = performance.now();
    for (let i = 0; i < count; i += CONNECTING) {
      const batch = Array.from({ length: Math.min(CONNECTING, count - i) }, (_, j) => (i + j) % ACCOUNTS);
      const opened = batch.map((account) => new SimulatedSidecar(port, accounts[account] as never, account % 2 === 0));
      sidecars.push(...opened);
      await Promise.all(opened.map((sidecar) => sidecar.synced));
    }
    const connectSeconds = (performance.now() - startedMs) / 1000;
    context.print(`${count} connected and in sync after ${connectSeconds.toFixed(1)} s`);
    workload = new SimulatedWorkload(port, accounts[ACCOUNTS] as never);
    await change(workload, sidecars, 0);
    await pause(QUIET_MS);
    return [await measure(context, { program, sidecars, workload, changes })];
  } finally {
    workload?.close();
    for (const sidecar of sidecars) sidecar.close();
    await program.stop();
  }
}

interface Mesh {
  readonly program: Started;
  readonly sidecars: readonly SimulatedSidecar[];
  readonly workload: SimulatedWorkload;
  readonly changes: number;
}

async function measure(context: SuiteContext, { program, sidecars, workload, changes }: Mesh): Promise<Row> {
  const concerned = sidecars.filter((sidecar) => sidecar.concerned);
  const others = sidecars.filter((sidecar) => !sidecar.concerned);
  const times: number[] = [];
  let errors = 0;
  let mostMessages = 0;
  const bytesBefore = sum(concerned, (sidecar) => sidecar.bytes);
  const othersBefore = { messages: sum(others, (s) => s.messages), bytes: sum(others, (s) => s.bytes) };
  const cpuBefore = cpuMicros([program.pid]);
  for (let number = 1; number <= changes; number++) {
    const messages = concerned.map((sidecar) => sidecar.messages);
    const ms = await change(workload, concerned, number);
    if (ms === null) errors++;
    else times.push(ms);
    await pause(QUIET_MS);
    concerned.forEach((sidecar, i) => {
      mostMessages = Math.max(mostMessages, sidecar.messages - (messages[i] ?? 0));
    });
  }
  const cpuMs = (cpuMicros([program.pid]) - cpuBefore) / 1000 / changes;
  const sorted = Float64Array.from(times).sort();
  const row = {
    suite: 'control-plane',
    scenario: `endpoint-change-${sidecars.length}`,
    proxy: 'weft',
    p50_ms: round(percentile(sorted, 50)),
    p99_ms: round(percentile(sorted, 99)),
    max_ms: round(percentile(sorted, 100)),
    rss_mb: round(rssMb([program.pid])),
    errors,
    changes,
    cpu_ms_per_change: round(cpuMs),
    concerned: concerned.length,
    messages_per_concerned_max: mostMessages,
    bytes_per_concerned: round((sum(concerned, (sidecar) => sidecar.bytes) - bytesBefore) / concerned.length / changes),
    others: others.length,
    messages_to_others: sum(others, (sidecar) => sidecar.messages) - othersBefore.messages,
    bytes_to_others: sum(others, (sidecar) => sidecar.bytes) - othersBefore.bytes,
  };
  context.print(
    `\none endpoint changes, ${changes} times: until the last of ${row.concerned} concerned has acknowledged`,
  );
  context.print(
    table(
      ['', 'p50 ms', 'p99 ms', 'max ms', 'CPU ms/change', 'RSS MB', 'errors'],
      [['weft', row.p50_ms, row.p99_ms, row.max_ms, row.cpu_ms_per_change, row.rss_mb, errors]],
    ),
  );
  context.print(
    table(
      ['a change sent', 'sidecars', 'messages', 'bytes'],
      [
        ['to each concerned', row.concerned, `at most ${mostMessages}`, row.bytes_per_concerned],
        ['to all others together', row.others, row.messages_to_others, row.bytes_to_others],
      ],
    ),
  );
  return row;
}

/** Changes the endpoint's labels; resolves with the ms until the last acknowledgement left, null after the timeout. */
async function change(
  workload: SimulatedWorkload,
  sidecars: readonly SimulatedSidecar[],
  number: number,
): Promise<number | null> {
  const version = String(number);
  const waiting = sidecars.filter((sidecar) => sidecar.concerned).map((sidecar) => sidecar.acknowledges(version));
  const startMs = performance.now();
  workload.register(version);
  const timeout = AbortSignal.timeout(CHANGE_TIMEOUT_MS);
  const late = new Promise<null>((resolve) => timeout.addEventListener('abort', () => resolve(null)));
  const last = Promise.all(waiting).then((times) => Math.max(...times) - startMs);
  return await Promise.race([last, late]);
}

async function startControlPlane(context: SuiteContext, dataDir: string): Promise<{ program: Started; port: number }> {
  const policies = join(context.folder, 'policies');
  mkdirSync(policies);
  writeFileSync(join(policies, 'mesh.yaml'), meshPolicies());
  const readyFile = join(context.folder, 'ready.json');
  const ports = ['--grpc-port=0', '--api-port=0', '--metrics-port=0', '--host=127.0.0.1', '--log-level=warn'];
  const paths = [`--policies=${policies}`, `--data-dir=${dataDir}`, `--ready-file=${readyFile}`];
  const program = start('control plane', PROXY_CORE, [process.execPath, BUNDLE, ...paths, ...ports]);
  await until(program, () => existsSync(readyFile), 'write its ready file');
  const { ports: bound } = JSON.parse(readFileSync(readyFile, 'utf8')) as Ready;
  return { program, port: bound['grpc'] ?? 0 };
}

/** A Service for each account, and `orders`, which every second account may call. */
function meshPolicies(): string {
  const service = (name: string): string =>
    `kind: Service\nmetadata: { name: ${name} }\nspec: { ports: [{ port: 80 }] }\n`;
  const names = Array.from({ length: ACCOUNTS }, (_, i) => `app-${i}`);
  const allow = (target: string, callers: readonly string[]): string =>
    `kind: Authorization
metadata: { name: callers-of-${target} }
spec:
  targetRefs: [{ name: ${target} }]
  action: ALLOW
  rules: [{ from: [${callers.map((name) => `{ serviceAccount: ${name} }`).join(', ')}] }]
`;
  // Each application may be called by its neighbour, so that a sidecar knows its own surroundings and not the mesh.
  const neighbours = names.map((name, i) => allow(name, [`app-${(i + 1) % ACCOUNTS}`]));
  const callers = names.filter((_, i) => i % 2 === 0);
  return [...[...names, 'orders'].map(service), ...neighbours, allow('orders', callers)].join('---\n');
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
