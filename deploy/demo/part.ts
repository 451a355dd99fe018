// One program of the demo as a child process: started, waited for, ended, and its last words kept when it fails.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import type { Ready } from '../../proto/kit/ready-file.ts';
import { until } from './until.ts';

/** How to start a program. */
export interface PartOptions {
  /** What people call it: `orders-1 sidecar`. */
  readonly name: string;
  /** The JavaScript or TypeScript file, and its arguments. */
  readonly command: readonly string[];
  /** The whole environment: nothing of ours leaks into an application. */
  readonly env: Readonly<Record<string, string>>;
  /** Output of both streams is added here. */
  readonly logFile: string;
  /** Where it says that it serves; a program without one says `listens on HOST:PORT` in its output. */
  readonly readyFile?: string;
  /** It ended though nobody asked it to. */
  readonly onCrash: (part: Part, how: string) => void;
}

/** A start includes a TLS handshake and a join on a busy machine. */
const READY_MS_MAX = 20_000;
/** Longer than the sidecars' drain time. */
const END_MS_MAX = 8_000;
const LAST_LINES = 15;

/** A running program. */
export class Part {
  readonly name: string;
  readonly logFile: string;
  /** By name, as the ready file says; an application has one, `app`. */
  ports: Readonly<Record<string, number>> = {};
  private readonly child: ChildProcess;
  private readonly logStart: number;
  private ended: string | null = null;
  private expected = false;
  /** By us, on purpose: an end that needs no report. */
  private killed = false;

  constructor(options: PartOptions) {
    this.name = options.name;
    this.logFile = options.logFile;
    if (options.readyFile !== undefined) rmSync(options.readyFile, { force: true });
    const log = openSync(options.logFile, 'a');
    this.logStart = readFileSync(options.logFile).length;
    // A group of its own: Ctrl-C in a terminal reaches us alone, and we end the parts in order.
    // No inspector for whoever sends SIGUSR1.
    this.child = spawn(process.execPath, ['--disable-sigusr1', ...options.command], {
      env: options.env,
      stdio: ['ignore', log, log],
      detached: true,
    });
    closeSync(log);
    const end = (how: string) => {
      this.ended ??= how;
      if (!this.expected) options.onCrash(this, how);
    };
    this.child.once('exit', (code, signal) => end(signal ?? `exit code ${code}`));
    this.child.once('error', (error) => end(error.message));
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }

  /** Waits until it serves. Rejects when it ended instead, or after 20 s. */
  async ready(readyFile: string | undefined): Promise<this> {
    await until(`${this.name} serves`, READY_MS_MAX, () => {
      if (this.ended !== null) throw new Error(`${this.name} ended (${this.ended}) before it served`);
      if (readyFile === undefined) {
        const port = /listens on [\d.]+:(\d+)/.exec(this.log())?.[1];
        if (port === undefined) return false;
        this.ports = { app: Number(port) };
        return true;
      }
      const ready = readReady(readyFile);
      if (ready?.pid !== this.pid) return false;
      this.ports = ready.ports;
      return true;
    });
    return this;
  }

  /** What this run has written. */
  log(): string {
    return readFileSync(this.logFile).subarray(this.logStart).toString();
  }

  lastLines(): string {
    return this.log().trimEnd().split('\n').slice(-LAST_LINES).join('\n');
  }

  /** Asks it to end and waits; after 8 s it is killed. Says how it ended when that was not as asked, else null. */
  async end(): Promise<string | null> {
    this.expected = true;
    if (this.ended === null) {
      const exited = once(this.child, 'exit');
      this.child.kill('SIGTERM');
      const timer = setTimeout(() => this.child.kill('SIGKILL'), END_MS_MAX);
      await exited;
      clearTimeout(timer);
    }
    return this.killed || this.ended === 'exit code 0' ? null : this.ended;
  }

  /** SIGKILL: no goodbye of any kind. */
  async kill(): Promise<void> {
    this.expected = true;
    this.killed = true;
    if (this.ended !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }

  /** For the end of our own process, when nothing can be waited for. */
  killNow(): void {
    this.expected = true;
    if (this.ended === null) this.child.kill('SIGKILL');
  }
}

function readReady(path: string): Ready | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Ready;
  } catch {
    return null;
  }
}
