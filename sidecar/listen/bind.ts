// Binding a listener's address, the same for every kind.

import { createServer, type Socket } from 'node:net';
import type { ListenerConfig } from '../base/messages.ts';
import type { Listener } from './context.ts';

/** Listens; each accepted socket goes to `accept`. Rejects with the bind error (EADDRINUSE, EACCES, EADDRNOTAVAIL). */
export function bindListener(config: ListenerConfig, accept: (socket: Socket) => void): Promise<Listener> {
  const { host, port, reusePort } = config;
  return new Promise((resolve, reject) => {
    // Half-open: a client that has sent its request and closed its side still gets the answer.
    const server = createServer({ allowHalfOpen: true }, accept);
    server.once('error', reject);
    server.listen({ host, port, reusePort }, () => {
      server.removeListener('error', reject);
      // Later errors are of one accept (EMFILE): that connection is lost, the listener is not.
      server.on('error', () => {});
      resolve({ stop: () => void server.close() });
    });
  });
}
