// One control plane for each data directory: two would each redeem a token, and each write its own registrations.
// The lock is a local socket, which the system frees when its holder dies, however it dies.

import { createHash } from 'node:crypto';
import { mkdirSync, realpathSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EXIT } from '../../proto/kit/exit.ts';
import { StartError } from './start-error.ts';

/** Makes the directory (0700) where there is none and locks it. Throws StartError when that cannot be, or another process holds it. */
export async function lockDirectory(directory: string): Promise<{ release(): Promise<void> }> {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const message = `the data directory ${directory} cannot be made (${code}); give another with --data-dir`;
    throw new StartError(EXIT.unavailable, message);
  }
  const name = `weft-${createHash('sha256').update(realpathSync(directory)).digest('hex').slice(0, 32)}`;
  // Linux: a name without a file (unix(7), abstract sockets). Elsewhere a file, which a crash leaves behind.
  const path = process.platform === 'linux' ? `\0${name}` : join(tmpdir(), `${name}.sock`);
  let server = await tryListen(path);
  if (server === null && process.platform !== 'linux' && !(await answers(path))) {
    rmSync(path, { force: true });
    server = await tryListen(path);
  }
  if (server === null) {
    throw new StartError(
      EXIT.unavailable,
      `the data directory ${directory} is in use by another control plane; stop that one, or give another --data-dir`,
    );
  }
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
