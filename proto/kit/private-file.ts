// Files that hold secrets: written whole or not at all, readable by their owner only. Synchronous on purpose: they are
// small and rare, and a single-use token must be gone from the disk before the answer leaves.

import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';

/** Replaces the file by temp file, fsync and rename, mode 0600; makes the folder (0700). Throws what the disk says. */
export function writePrivateFile(path: string, content: string): void {
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = openSync(temporary, 'wx', 0o600);
    try {
      writeFileSync(file, content);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncFolder(folder);
}

/** The content, or null when there is no such file. Throws when group or others have any right on it. */
export function readPrivateFile(path: string): string | null {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    // Checked on the open file, so that it cannot be exchanged between check and read.
    const status = fstatSync(file);
    // What reading one would say names no path.
    if (!status.isFile()) throw new Error(`${path} is not a file: remove it, or name another`);
    const mode = status.mode & 0o777;
    if ((mode & 0o077) !== 0) {
      const shown = mode.toString(8).padStart(4, '0');
      throw new Error(
        `${path} has mode ${shown} and may have been read by others; replace its secrets, or if you are sure: chmod 600 ${path}`,
      );
    }
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

/** A rename survives a power cut only once its folder is on the disk too. */
function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
