// The sidecar as users run it: `sidecar/main.ts` in a process of its own, with real workers, on free loopback ports, its
// config in a snapshot file. What a test sees here is what an operator sees: ports, output, exit code, files.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { create, toJsonString } from '@bufbuild/protobuf';
import { SnapshotSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { ResourceBytes } from '../../sidecar/base/messages.ts';
import { until } from './worker-rig.ts';

const MAIN = fileURLToPath(new URL('../../sidecar/main.ts', import.meta.url));

/** Every port as the system chooses, every address on loopback. */
const ADDRESSES = [
  ...['outbound', 'inbound', 'ai', 'admin', 'metrics', 'readiness'].flatMap((name) => [`--${name}-port`, '0']),
  ...['--inbound-host', '127.0.0.1', '--metrics-host', '127.0.0.1', '--advertise-address', '127.0.0.1'],
];

/** A sidecar that serves, or has ended. */
export interface SidecarProcess {
  readonly child: ChildProcess;
  /** By the names of the ready file. */
  readonly ports: Readonly<Record<string, number>>;
  /** What it printed so far. */
  readonly out: string;
  readonly err: string;
  /** GET on `admin`, `metrics` or `readiness`. */
  get(port: string, path: string): Promise<{ status: number; text: string }>;
  /** The sum of all series of `family` whose labels include `labels`, as `/metrics` prints them. */
  metric(family: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  /** Resolves with the exit code. */
  ended(): Promise<number | null>;
}

/** How to start one. */
export interface SidecarStart {
  /** In place of `sidecar/main.ts`. */
  readonly program?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** The files and processes of one test; `close` ends and removes all of them. */
export class SidecarProcesses {
  readonly folder = mkdtempSync(join(tmpdir(), 'weft-sidecar-'));
  private readonly children: ChildProcess[] = [];

  /** A snapshot file for the account `web` in namespace `shop`. */
  snapshot(resources: readonly ResourceBytes[], spiffeId = 'spiffe://mesh.local/ns/shop/sa/web'): string {
    const path = join(this.folder, `snapshot-${this.children.length}.json`);
    writeFileSync(path, snapshotText(resources, spiffeId));
    return path;
  }

  /** Starts one; resolves when it serves. Rejects with its output when it ends instead. */
  async start(args: readonly string[], options: SidecarStart = {}): Promise<SidecarProcess> {
    const readyFile = join(this.folder, `ready-${this.children.length}.json`);
    const running = this.run([...args, '--ready-file', readyFile], options);
    const { child } = running;
    await until(
      () => `the sidecar serves: ${running.err}`,
      () => existsSync(readyFile) || child.exitCode !== null,
    );
    if (!existsSync(readyFile)) throw new Error(`ended with ${await running.ended()}: ${running.err}`);
    const { ports } = JSON.parse(readFileSync(readyFile, 'utf8')) as { ports: Record<string, number> };
    return Object.assign(running, { ports });
  }

  /** Starts one and does not wait: for what is expected to end by itself. */
  run(args: readonly string[], { program = MAIN, env = {} }: SidecarStart = {}): SidecarProcess {
    // An option that the test gives comes instead of ours: each may be given once.
    const given = new Set(args.filter((arg) => arg.startsWith('--')));
    const rest = ADDRESSES.filter((arg, i) => !given.has(i % 2 === 0 ? arg : (ADDRESSES[i - 1] as string)));
    const child = spawn(process.execPath, [program, ...rest, ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.children.push(child);
    const printed = { out: '', err: '' };
    child.stdout.on('data', (data) => {
      printed.out += data;
    });
    child.stderr.on('data', (data) => {
      printed.err += data;
    });
    const closed = once(child, 'close') as Promise<[number | null]>;
    const running = {
      child,
      ports: {} as Readonly<Record<string, number>>,
      get out() {
        return printed.out;
      },
      get err() {
        return printed.err;
      },
      async get(port: string, path: string) {
        const response = await fetch(`http://127.0.0.1:${running.ports[port]}${path}`);
        return { status: response.status, text: await response.text() };
      },
      async metric(family: string, labels: Readonly<Record<string, string>> = {}) {
        return sumOf((await running.get('metrics', '/metrics')).text, family, labels);
      },
      ended: async () => (await closed)[0],
    };
    return running;
  }

  async close(): Promise<void> {
    for (const child of this.children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The text of a snapshot file. */
export function snapshotText(resources: readonly ResourceBytes[], spiffeId: string): string {
  const all = resources.map(({ typeUrl, name, version, bytes }) => ({ typeUrl, name, version, resource: bytes }));
  return toJsonString(SnapshotSchema, create(SnapshotSchema, { format: 1, spiffeId, resources: all }));
}

function sumOf(text: string, family: string, labels: Readonly<Record<string, string>>): number {
  const wanted = Object.entries(labels).map(([name, value]) => `${name}="${value}"`);
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${family}{`) || line.startsWith(`${family} `))
    .filter((line) => wanted.every((pair) => line.includes(pair)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
