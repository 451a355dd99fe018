// The processes of a bench: each one pinned to its core, all of them ended whatever happens to the bench.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer, connect as dial } from 'node:net';
import { availableParallelism } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where `npm run bench -- install` puts what Debian does not carry. */
export const CACHE = fileURLToPath(new URL('../node_modules/.cache', import.meta.url));

/** The last core carries the proxy under test and nothing else. */
export const PROXY_CORE = String(availableParallelism() - 1);
/** All other cores carry load and backends; on a machine with one core everything shares it, and figures mean little. */
export const LOAD_CORES = availableParallelism() > 1 ? `0-${availableParallelism() - 2}` : '0';

/** Debian: util-linux. */
export const PIN = 'taskset';
/** A program gets 20 s to listen: Envoy and a bundle need under 1 s on an idle machine. */
const START_TIMEOUT_MS = 20_000;
/** A program gets 5 s to end after SIGTERM, then SIGKILL. */
const STOP_TIMEOUT_MS = 5_000;
/** What is kept of a program's output, for the message when it fails. */
const OUTPUT_CHARACTERS_MAX = 8_192;

/** A running program. */
export interface Started {
  readonly name: string;
  readonly pid: number;
  /** The end of its standard output and error. */
  output(): string;
  /** Whether it ended by itself. */
  ended(): boolean;
  stop(): Promise<void>;
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));

/** Starts a program on `cores` (a `taskset` list). */
export function start(name: string, cores: string, command: readonly string[], cwd?: string): Started {
  const child = spawn(PIN, ['-c', cores, ...command], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  let text = '';
  const keep = (chunk: Buffer): void => {
    text = (text + chunk.toString('latin1')).slice(-OUTPUT_CHARACTERS_MAX);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  child.on('error', (error) => keep(Buffer.from(error.message)));
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  closed.then(() => running.delete(child));
  const ended = (): boolean => child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
  return {
    name,
    pid: child.pid ?? -1,
    output: () => text,
    ended,
    async stop() {
      if (ended()) return;
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await closed;
      clearTimeout(timer);
    },
  };
}

/** Runs a program on the load's cores to its end. Throws with its output unless it exits 0. */
export async function run(command: readonly string[]): Promise<string> {
  const child = spawn(PIN, ['-c', LOAD_CORES, ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  running.delete(child);
  const text = Buffer.concat(chunks).toString();
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}:\n${text}`);
  return text;
}

/** Resolves once something accepts connections on the loopback port; throws when `program` ends or takes too long. */
export async function accepting(program: Started, port: number): Promise<void> {
  await until(program, () => canConnect(port), `accept connections on port ${port}`);
}

/** Polls `condition` every 20 ms while `program` lives. */
export async function until(
  program: Started,
  condition: () => boolean | Promise<boolean>,
  what: string,
): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!(await condition())) {
    if (program.ended()) throw new Error(`${program.name} ended before it could ${what}:\n${program.output()}`);
    if (Date.now() > deadline) {
      throw new Error(`${program.name} did not ${what} within ${START_TIMEOUT_MS} ms:\n${program.output()}`);
    }
    await pause(20);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = dial(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** `count` different loopback ports that are free now: programs that cannot take port 0 need a number. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
          const server = createServer();
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** The path of a program on the PATH, in the system's folders, or where `install` puts it; null when there is none. */
export function findProgram(name: string): string | null {
  const folders = [
    join(CACHE, 'envoy/envoy/_bin'),
    join(CACHE, 'go-bin'),
    ...(process.env['PATH'] ?? '').split(delimiter),
    '/usr/sbin',
    '/usr/local/sbin',
  ];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path)) ?? null;
}

/** What `--version` (or another flag) prints first, for the head of a report. */
export function versionOf(path: string, flag: string): string {
  const result = spawnSync(path, [flag], { encoding: 'utf8' });
  const line = `${result.stdout}${result.stderr}`.split('\n').find((text) => text.trim() !== '') ?? '';
  return line.replace(path, '').trim();
}
