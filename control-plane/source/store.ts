// The file that remembers the policies in force over restarts. Written beside the work, never in its way: what a crash
// loses is one edit's time, and the files of the operator are still there.

import { createHash, randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { readPrivateFile } from '../../proto/kit/private-file.ts';
import { formatStored, parseStored, type Remembered } from './stored.ts';
import type { PolicyState } from './watch.ts';

/** What a store needs. */
export interface PolicyStoreOptions {
  /** Folder of `policies.json` (0600), which must exist. */
  readonly dataDir: string;
  /** The policy directory that the file is of. */
  readonly directory: string;
  /** The file could not be written; the next change tries again. */
  readonly onError: (error: Error) => void;
}

/** Resources encoded before others have their turn: 5 ms of the 100 ms that 10,000 take. */
const PIECES_AT_ONCE = 500;

/** The policies of one directory, on the disk. */
export class PolicyStore {
  readonly path: string;
  readonly #directory: string;
  readonly #onError: (error: Error) => void;
  #onDisk = '';
  #next: PolicyState | null = null;
  #writing: Promise<void> | null = null;

  constructor({ dataDir, directory, onError }: PolicyStoreOptions) {
    this.path = join(dataDir, 'policies.json');
    this.#directory = resolve(directory);
    this.#onError = onError;
  }

  /** What was stored for this directory; null when nothing was. Throws an Error with the reason where it is of no use. */
  read(): Remembered | null {
    const text = readPrivateFile(this.path);
    if (text === null) return null;
    const remembered = parseStored(text, this.#directory);
    this.#onDisk = digest(text);
    return remembered;
  }

  /** Writes a state soon. Those that come while one is written share the next write. */
  save(state: PolicyState): void {
    this.#next = state;
    this.#writing ??= this.#write();
  }

  /** Resolves once what was saved is on the disk. */
  async close(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    // The sidecars hear of the change first.
    await setImmediate();
    for (let state = this.#next; state !== null; state = this.#next) {
      this.#next = null;
      try {
        const text = await this.#format(state);
        const hash = digest(text);
        if (hash === this.#onDisk) continue;
        await replace(this.path, text);
        this.#onDisk = hash;
      } catch (error) {
        this.#onError(error as Error);
      }
    }
    this.#writing = null;
  }

  async #format(state: PolicyState): Promise<string> {
    const pieces: string[] = [];
    for (const piece of formatStored(this.#directory, state)) {
      if (pieces.push(piece) % PIECES_AT_ONCE === 0) await setImmediate();
    }
    return pieces.join('');
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}

/** As writePrivateFile, without holding up the streams: policies are megabytes in a large mesh, and edits come while traffic flows. */
async function replace(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
