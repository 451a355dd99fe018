// A policy directory, watched: edits reach the mesh within a fraction of a second, whatever an editor or a volume
// mount does to save a file, and mistakes change nothing but what is said about them.

import { type FSWatcher, watch } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Resource } from '../model/resource.ts';
import { type Policies, readPolicies } from './files.ts';
import { type TakenProblem, takeGood } from './last-good.ts';

/** The policies in force. Replaced whole, never changed. */
export interface PolicyState {
  /** Counts the changes since the program started, from 1. */
  readonly revision: number;
  readonly resources: readonly Resource[];
  readonly problems: readonly TakenProblem[];
}

/** Hears of changes. */
export interface PolicyObserver {
  onChange(state: PolicyState): void;
  /** Something is wrong with the watching itself; the interval goes on. */
  onTrouble(error: Error): void;
}

/**
 * 50 ms after the last event: an editor's save is several events, and an edit must reach traffic within 1 s. Istio waits
 * for 100 ms of quiet and 10 s at most, since each of its pushes recomputes whole proxies and endpoints pass through it;
 * here only files do (endpoints have no delay), and a push holds what changed, so that half is enough.
 */
export const DEBOUNCE_MS = 50;

/** Events that do not stop are read in between, after this: with the read and the swap still within that 1 s, which Istio's 10 s are not. */
const DEBOUNCE_MS_MAX = 500;

/** A file that lost resources is looked at again after this: it may be half written. Additions do not wait. */
export const SECOND_LOOK_MS = 250;

/** Network file systems tell of no change: names, sizes and times are compared this often. */
export const INTERVAL_MS = 5_000;

/** Watches until closed. Start with `open`, which reads the directory once. */
export class PolicySource {
  readonly #directory: string;
  readonly #observer: PolicyObserver;
  readonly #interval: NodeJS.Timeout;
  #state: PolicyState;
  #watcher: FSWatcher | null = null;
  #timer: NodeJS.Timeout | null = null;
  #firstEventMs = 0;
  #reading = false;
  #again = false;
  #lookedTwice = false;
  #fingerprint = '';
  #closed = false;

  private constructor(directory: string, state: PolicyState, observer: PolicyObserver) {
    this.#directory = directory;
    this.#state = state;
    this.#observer = observer;
    this.#watch();
    // Also compares with what was on the disk before the watcher was there.
    this.#interval = setInterval(() => void this.#compare(), INTERVAL_MS);
    this.#interval.unref();
    this.#onEvent();
  }

  /**
   * Reads the directory and watches it. Rejects when it cannot be read.
   * @param before what was in force when somebody last watched: what is wrong keeps it. None by default.
   */
  static async open(
    directory: string,
    observer: PolicyObserver,
    before: readonly Resource[] = [],
  ): Promise<PolicySource> {
    const read = await readPolicies(directory);
    let taken = takeGood(before, read);
    if (losesFrom(read.files, before, taken.resources)) {
      await sleep(SECOND_LOOK_MS);
      taken = takeGood(before, await readPolicies(directory));
    }
    const { resources, problems } = taken;
    return new PolicySource(directory, { revision: 1, resources, problems }, observer);
  }

  get state(): PolicyState {
    return this.#state;
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#interval);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#watcher?.close();
  }

  #watch(): void {
    try {
      this.#watcher = watch(this.#directory, { recursive: true }, () => this.#onEvent());
      this.#watcher.on('error', (error) => this.#lose(error));
    } catch (error) {
      this.#lose(error as Error);
    }
  }

  /** The directory was replaced, or the system has no more watches: the interval opens a new one. */
  #lose(error: Error): void {
    this.#watcher?.close();
    this.#watcher = null;
    this.#observer.onTrouble(error);
  }

  #onEvent(delayMs: number = DEBOUNCE_MS): void {
    if (this.#closed) return;
    const nowMs = performance.now();
    if (this.#timer === null) this.#firstEventMs = nowMs;
    else clearTimeout(this.#timer);
    const left = Math.max(0, this.#firstEventMs + DEBOUNCE_MS_MAX - nowMs);
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        void this.#read();
      },
      Math.min(delayMs, left),
    );
    this.#timer.unref();
  }

  async #read(): Promise<void> {
    if (this.#reading) {
      this.#again = true;
      return;
    }
    this.#reading = true;
    try {
      this.#fingerprint = await fingerprint(this.#directory);
      this.#take(await readPolicies(this.#directory));
    } catch (error) {
      if (!this.#closed) this.#fail(error as Error);
    } finally {
      this.#reading = false;
      if (this.#again) {
        this.#again = false;
        this.#onEvent();
      }
    }
  }

  #take(read: Policies): void {
    if (this.#closed) return;
    const { resources, problems } = takeGood(this.#state.resources, read);
    if (!this.#lookedTwice && losesFrom(read.files, this.#state.resources, resources)) {
      this.#lookedTwice = true;
      this.#onEvent(SECOND_LOOK_MS);
      return;
    }
    this.#lookedTwice = false;
    this.#set(resources, problems);
  }

  /** The directory itself cannot be read: everything stays. */
  #fail(error: Error): void {
    const message = `the directory cannot be read: ${error.message}`;
    const fix = 'bring it back; until then all policies stay as they are';
    const problem = { file: '.', line: 0, column: 0, fieldPath: '', message, fix, resource: '', lastGoodStays: true };
    this.#set(this.#state.resources, [problem]);
  }

  #set(resources: readonly Resource[], problems: readonly TakenProblem[]): void {
    const before = this.#state;
    if (sameProblems(before.problems, problems) && sameResources(before.resources, resources)) return;
    this.#state = { revision: before.revision + 1, resources, problems };
    this.#observer.onChange(this.#state);
  }

  async #compare(): Promise<void> {
    if (this.#watcher === null) this.#watch();
    const now = await fingerprint(this.#directory).catch(() => 'unreadable');
    if (now !== this.#fingerprint) this.#onEvent();
  }
}

/** Whether resources are gone from files that are still there. */
function losesFrom(files: readonly string[], before: readonly Resource[], after: readonly Resource[]): boolean {
  const there = new Set(files);
  const held = new Set(after.map((resource) => `${resource.kind}/${resource.namespace}/${resource.name}`));
  return before.some(
    (resource) =>
      there.has(resource.place.file) && !held.has(`${resource.kind}/${resource.namespace}/${resource.name}`),
  );
}

/** Resources are read anew each time; whether they differ is told by their content, which is small text. */
function sameResources(a: readonly Resource[], b: readonly Resource[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  const content = (resource: Resource) =>
    JSON.stringify([resource.kind, resource.namespace, resource.name, resource.message, resource.caPem], plainValue);
  const texts = new Set(a.map(content));
  return b.every((resource) => texts.has(content(resource)));
}

function plainValue(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  return value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value;
}

function sameProblems(a: readonly TakenProblem[], b: readonly TakenProblem[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Names, sizes and times of all files: equal where nothing was written. */
async function fingerprint(directory: string): Promise<string> {
  const lines: string[] = [];
  for (const entry of await readdir(directory, { withFileTypes: true, recursive: true })) {
    const path = relative(directory, join(entry.parentPath, entry.name));
    if (entry.isDirectory() || path.split(sep).some((part) => part.startsWith('.'))) continue;
    const status = await stat(join(directory, path)).catch(() => null);
    lines.push(status === null ? `${path} gone` : `${path} ${status.size} ${status.mtimeMs} ${status.ino}`);
  }
  return lines.sort().join('\n');
}
