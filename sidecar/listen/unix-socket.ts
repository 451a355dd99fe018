// A unix socket to listen on, as a file that only this user may open. It is bound under a name that nobody knows, closed
// to others, and then moved to its place: there is no moment in which another user could connect, and what a sidecar
// that was killed has left there is replaced.

import { randomBytes } from 'node:crypto';
import { chmodSync, lstatSync, renameSync, rmSync } from 'node:fs';
import type { Server } from 'node:net';

/** Who connects speaks for this sidecar's identity: read and write for its own user, as nobody else may use the ports on loopback of a pod. */
const MODE = 0o600;

/** Where to bind for `path`; 9 bytes longer. */
export function temporaryName(path: string): string {
  return `${path}.${randomBytes(4).toString('hex')}`;
}

/** Closes the socket file to others and moves it from `temporary` to `path`. Throws what the disk says. */
export function settleSocket(temporary: string, path: string): void {
  try {
    chmodSync(temporary, MODE);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** Stops, and removes the file unless another program has put its own there. */
export function stopSocket(server: Server, path: string, inode: number): void {
  server.close();
  if (inodeOf(path) === inode) rmSync(path, { force: true });
}

/** What stands at `path`; 0: nothing. */
export function inodeOf(path: string): number {
  return lstatSync(path, { throwIfNoEntry: false })?.ino ?? 0;
}
