// `weft run [sidecar options] -- COMMAND...`: an application and its sidecar as one. The application starts when the
// sidecar serves, gets signals, and decides the exit code; the sidecar ends after it, drained.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { EXIT } from '../../proto/kit/exit.ts';

/** A sidecar that has not started by then waits for something: its control plane, mostly. */
const READY_MS_MAX = 60_000;
const READY_POLL_MS = 20;

/** An application that has lost its sidecar may end by itself; after this it is made to. */
const APPLICATION_END_MS = 10_000;

/** They ask for an end: before there is an application and after it, that of the sidecar. */
const ENDING: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'];

/**
 * All that go to the application. Each would end this process by default, and leave both others without it, or means
 * something to servers (USR1 and USR2: reopen logs, dump state; WINCH: workers go; CONT: after a stop). Not here: KILL
 * and STOP, which nobody catches; TSTP, TTIN and TTOU, which a terminal sends to the application, too, and which must
 * stop this process for its shell; those of faults (SEGV, ABRT, ...); PIPE and CHLD, which are about this process.
 */
const PASSED: readonly NodeJS.Signals[] = [
  ...ENDING,
  ...(['SIGUSR1', 'SIGUSR2', 'SIGWINCH', 'SIGCONT', 'SIGALRM', 'SIGVTALRM', 'SIGIO', 'SIGPROF'] as const),
  // Of Linux alone, where they end a process by default.
  ...(process.platform === 'linux' ? (['SIGPWR', 'SIGSTKFLT'] as const) : []),
];

/** What a terminal sends to every process in the foreground: the application has it already. */
const TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT', 'SIGWINCH'];

const USAGE = `Usage: weft run [sidecar options] -- COMMAND [ARGUMENTS...]
For example: weft run --app 8080 --control-plane HOST:15012 --join-token-file F --state-dir D -- node server.js
`;

const HELP = `${USAGE}
Starts a sidecar, and COMMAND once it serves. Its only option of its own is --help; all of \`weft sidecar\` are taken, and
go to it. They come before the --; what comes after it is COMMAND's.

COMMAND finds the mesh in its environment: http_proxy, HTTP_PROXY, grpc_proxy and NODE_USE_ENV_PROXY for its calls,
NO_PROXY for localhost, OPENAI_BASE_URL for models, and WEFT_OUTBOUND, WEFT_AI_URL and WEFT_ADMIN for itself.

Signals go to COMMAND: INT, TERM, HUP, QUIT, USR1, USR2, WINCH, CONT, ALRM, VTALRM, IO, PROF, PWR and STKFLT. At a
terminal, INT, QUIT and WINCH are not passed on: it sends them to COMMAND itself. When COMMAND has ended, the sidecar
drains; another INT, TERM, HUP or QUIT ends the drain at once. The exit code is COMMAND's, 128 + N when signal N ended
it; 64 a bad option; 69 when COMMAND or the sidecar could not start, or the sidecar ended first.

Options of the sidecar, of which each may also be set in the environment (--app as WEFT_APP):

`;

/** Runs both; never returns before both have ended. Ends this process with the application's exit code or signal. */
export async function run(args: readonly string[], sidecarEntry: URL): Promise<void> {
  const split = args.indexOf('--');
  const sidecarArgs = split < 0 ? [...args] : args.slice(0, split);
  const [command, ...commandArgs] = split < 0 ? [] : args.slice(split + 1);
  if (sidecarArgs.includes('--help') || sidecarArgs.includes('-h')) {
    // Only here: what stays beside an application loads nothing of the sidecar.
    const [{ SIDECAR_OPTIONS }, { optionList }] = await Promise.all([
      import('../../sidecar/options.ts'),
      import('../../proto/kit/options-help.ts'),
    ]);
    process.stdout.write(`${HELP}${optionList(SIDECAR_OPTIONS)}\n`);
    return;
  }
  if (command === undefined) {
    process.stderr.write(`weft run: no command; write it after --\n${USAGE}`);
    process.exitCode = EXIT.commandLine;
    return;
  }
  const directory = mkdtempSync(join(tmpdir(), 'weft-run-'));
  try {
    await runBoth(sidecarArgs, sidecarEntry, directory, command, commandArgs);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function runBoth(
  sidecarArgs: readonly string[],
  sidecarEntry: URL,
  directory: string,
  command: string,
  commandArgs: readonly string[],
): Promise<void> {
  const given = optionValue('ready-file', sidecarArgs);
  const readyFile = given ?? (process.env.WEFT_READY_FILE || join(directory, 'ready'));
  try {
    // What an earlier run left would be read as this one's.
    rmSync(readyFile, { force: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    process.stderr.write(`weft run: --ready-file ${readyFile} cannot be replaced (${code}); name a file\n`);
    process.exitCode = EXIT.unavailable;
    return;
  }
  const readyArgs = given === undefined ? ['--ready-file', readyFile] : [];
  // A process group of its own: a terminal's Ctrl-C must reach the application first and the sidecar after it.
  // Node would open an inspector, which runs any code it is sent, for whoever sends it SIGUSR1.
  const sidecarCommand = ['--disable-sigusr1', fileURLToPath(sidecarEntry), ...sidecarArgs, ...readyArgs];
  const sidecar = spawn(process.execPath, sidecarCommand, { stdio: ['ignore', 'inherit', 'inherit'], detached: true });
  const sidecarEnd = ended(sidecar);
  let application: ChildProcess | null = null;
  let told: NodeJS.Signals | null = null;
  for (const signal of PASSED) {
    process.on(signal, () => {
      const ending = ENDING.includes(signal);
      if (application !== null) {
        if (ending) told = signal;
        if (!process.stdin.isTTY || !TERMINAL.includes(signal)) application.kill(signal);
      } else if (ending) {
        sidecar.kill(told === null ? 'SIGTERM' : 'SIGKILL');
        told = signal;
      }
    });
  }
  const starting = new AbortController();
  const ports = await Promise.race([waitForReady(readyFile, starting.signal), sidecarEnd]);
  starting.abort();
  if (!('ports' in ports)) {
    if (told === null) process.stderr.write('weft run: the sidecar ended before it served; it says why above\n');
    process.exitCode = told === null ? (ports.code ?? EXIT.unavailable) : EXIT.ok;
    return;
  }
  if (ports.ports === null) {
    process.stderr.write(
      `weft run: the sidecar did not serve within ${READY_MS_MAX / 1000} s; is its control plane reachable?\n`,
    );
    sidecar.kill('SIGKILL');
    await sidecarEnd;
    process.exitCode = EXIT.unavailable;
    return;
  }
  const env = { ...process.env, ...environment(ports.ports, sidecarArgs, process.env) };
  const started = spawn(command, commandArgs, { stdio: 'inherit', env });
  application = started;
  const applicationEnd = ended(started);
  const first = await Promise.race([
    applicationEnd.then((end) => ({ who: 'application' as const, end })),
    sidecarEnd.then((end) => ({ who: 'sidecar' as const, end })),
  ]);
  if (first.who === 'sidecar') {
    const how = first.end.signal ?? `exit code ${first.end.code}`;
    process.stderr.write(`weft run: the sidecar ended (${how}); ending the application, which cannot reach the mesh\n`);
    started.kill('SIGTERM');
    const timer = setTimeout(() => started.kill('SIGKILL'), APPLICATION_END_MS);
    await applicationEnd;
    clearTimeout(timer);
    process.exitCode = EXIT.unavailable;
    return;
  }
  // From here a further signal ends the drain.
  application = null;
  told ??= 'SIGTERM';
  sidecar.kill('SIGTERM');
  await sidecarEnd;
  finish(first.end, command);
}

interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** It could not be started. */
  readonly error: NodeJS.ErrnoException | null;
}

function ended(child: ChildProcess): Promise<End> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ code: null, signal: null, error }));
    child.once('exit', (code, signal) => resolve({ code, signal, error: null }));
  });
}

function finish({ code, signal, error }: End, command: string): void {
  if (error !== null) {
    process.stderr.write(`weft run: cannot start ${command} (${error.code ?? error.message}); is it installed?\n`);
    process.exitCode = EXIT.unavailable;
    return;
  }
  // 128 + signal, as shells say it.
  process.exitCode = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}

/** The ports by name, or null when the time is up. */
async function waitForReady(
  path: string,
  stop: AbortSignal,
): Promise<{ ports: Readonly<Record<string, number>> | null }> {
  const end = performance.now() + READY_MS_MAX;
  while (!existsSync(path)) {
    if (stop.aborted || performance.now() > end) return { ports: null };
    await sleep(READY_POLL_MS);
  }
  return JSON.parse(readFileSync(path, 'utf8')) as { ports: Readonly<Record<string, number>> };
}

/**
 * What tells an application of its sidecar: the proxy variables that HTTP clients, gRPC and Node read, and WEFT_*.
 * `localhost` stays direct: `http://orders.localhost:15001` reaches the sidecar by itself.
 */
export function environment(
  ports: Readonly<Record<string, number>>,
  sidecarArgs: readonly string[],
  inherited: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const host = reachable(optionValue('host', sidecarArgs) ?? inherited.WEFT_HOST ?? '127.0.0.1');
  const adminHost = reachable(optionValue('admin-host', sidecarArgs) ?? inherited.WEFT_ADMIN_HOST ?? '127.0.0.1');
  const outbound = `http://${host}:${ports.outbound}`;
  const direct = inherited.NO_PROXY ?? inherited.no_proxy;
  const noProxy =
    direct === undefined || direct === '' ? 'localhost,127.0.0.1,::1' : `${direct},localhost,127.0.0.1,::1`;
  const env: Record<string, string> = {
    http_proxy: outbound,
    HTTP_PROXY: outbound,
    grpc_proxy: outbound,
    no_proxy: noProxy,
    NO_PROXY: noProxy,
    NODE_USE_ENV_PROXY: '1',
    WEFT_OUTBOUND: outbound,
  };
  if (ports.ai !== undefined) {
    env.WEFT_AI_URL = `http://${host}:${ports.ai}`;
    env.OPENAI_BASE_URL = `${env.WEFT_AI_URL}/v1`;
    // SDKs refuse to start without a key; the sidecar replaces it with the provider's.
    if (inherited.OPENAI_API_KEY === undefined) env.OPENAI_API_KEY = 'held-by-the-sidecar';
  }
  if (ports.admin !== undefined) env.WEFT_ADMIN = `${adminHost}:${ports.admin}`;
  return env;
}

/** The value of an option as given, in either spelling; undefined when it is not. */
function optionValue(name: string, args: readonly string[]): string | undefined {
  const at = args.lastIndexOf(`--${name}`);
  if (at >= 0) return args[at + 1];
  return args.findLast((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
}

/** Where a listener on every address is reached from here; IPv6 in brackets. */
function reachable(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1';
  return host.includes(':') ? `[${host}]` : host;
}
