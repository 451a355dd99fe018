// One control plane for each data directory: two would each redeem a token, and each write its own registrations.

import { mkdirSync } from 'node:fs';
import { type DirectoryLock, lockDirectory } from '../../proto/kit/directory-lock.ts';
import { EXIT } from '../../proto/kit/exit.ts';
import { StartError } from './start-error.ts';

/** Makes the directory (0700) where there is none and locks it. Throws StartError when that cannot be, or another process holds it. */
export async function lockDataDir(directory: string): Promise<DirectoryLock> {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const message = `the data directory ${directory} cannot be made (${code}); give another with --data-dir`;
    throw new StartError(EXIT.unavailable, message);
  }
  const lock = await lockDirectory(directory);
  if (lock !== null) return lock;
  throw new StartError(
    EXIT.unavailable,
    `the data directory ${directory} is in use by another control plane; stop that one, or give another --data-dir`,
  );
}
