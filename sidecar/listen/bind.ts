// Binding a listener's address, the same for every kind.

import { createServer, type Socket } from 'node:net';
import { LIMITS } from '../base/limits.ts';
import type { ListenerConfig } from '../base/messages.ts';
import { RUNG } from '../base/overload.ts';
import type { Listener, WorkerContext } from './context.ts';
import { inodeOf, settleSocket, stopSocket, temporaryName } from './unix-socket.ts';

/** No waiting for more to send (every codec gathers a turn's writes), and peers that vanished are noticed. */
const SOCKET_OPTIONS = { noDelay: true, keepAlive: true, keepAliveInitialDelay: LIMITS.keepAliveIdleMs } as const;

/**
 * Listens; each accepted socket goes to `accept`. Above `LIMITS.listenerConnectionsMax` open ones a new one is closed at
 * once and counted, and so is any in overload. Rejects with the bind error (EADDRINUSE, EACCES, EADDRNOTAVAIL).
 */
export function bindListener(
  context: Pick<WorkerContext, 'guard' | 'overload'>,
  config: ListenerConfig,
  accept: (socket: Socket) => void,
): Promise<Listener> {
  const { host, port, path, reusePort, kind } = config;
  return new Promise((resolve, reject) => {
    // Half-open: a client that has sent its request and closed its side still gets the answer.
    const server = createServer({ allowHalfOpen: true, ...SOCKET_OPTIONS }, (socket) => {
      if (context.overload.rung < RUNG.refuseConnections) return accept(socket);
      context.guard(kind, 'overload');
      socket.destroy();
    });
    server.maxConnections = LIMITS.listenerConnectionsMax;
    server.on('drop', () => context.guard(kind, 'connections'));
    server.once('error', reject);
    const bound = path === undefined ? '' : temporaryName(path);
    const where = path === undefined ? { host, port, reusePort } : { path: bound };
    server.listen({ ...where, backlog: LIMITS.listenBacklog }, () => {
      server.removeListener('error', reject);
      // Later errors are of one accept (EMFILE): that connection is lost, the listener is not.
      server.on('error', () => {});
      if (path === undefined) return resolve({ stop: () => void server.close() });
      try {
        settleSocket(bound, path);
        const inode = inodeOf(path);
        resolve({ stop: () => stopSocket(server, path, inode) });
      } catch (error) {
        server.close();
        reject(error);
      }
    });
  });
}
