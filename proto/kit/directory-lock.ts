// One process for each directory of state: two would overwrite each other's files, and speak for one another. The lock is
// a local socket, which the system frees when its holder dies, however it dies.

import { createHash } from 'node:crypto';
import { realpathSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A directory that is ours until `release`, or the end of the process. */
export interface DirectoryLock {
  release(): Promise<void>;
}

/** Locks a directory that exists; null: another process of this machine holds it. */
export async function lockDirectory(directory: string): Promise<DirectoryLock | null> {
  const name = `weft-${createHash('sha256').update(realpathSync(directory)).digest('hex').slice(0, 32)}`;
  // Linux: a name without a file (unix(7), abstract sockets). Elsewhere a file, which a crash leaves behind.
  const path = process.platform === 'linux' ? `\0${name}` : join(tmpdir(), `${name}.sock`);
  let server = await tryListen(path);
  if (server === null && process.platform !== 'linux' && !(await answers(path))) {
    rmSync(path, { force: true });
    server = await tryListen(path);
  }
  if (server === null) return null;
  const held = server;
  return { release: () => new Promise((resolve) => held.close(() => resolve())) };
}

function tryListen(path: string): Promise<Server | null> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(null) : reject(error),
    );
    server.listen(path, () => {
      server.unref();
      resolve(server);
    });
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
