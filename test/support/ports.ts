// Ports that must be known before somebody listens on them, or on which nobody ever does.

import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Below what Linux (32768) and macOS (49152) give to `listen(0)` and to outgoing connections: a port from there that was
 * closed again may be another test's a moment later.
 */
const FIRST = 20_000;
const COUNT = 10_000;

/** Where others, in processes of their own, hardly are; each port is given once. */
let next = Math.floor(Math.random() * COUNT);

/** A loopback port that nobody has, and that nobody gets who does not ask here. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < COUNT; tries++) {
    const port = FIRST + (next++ % COUNT);
    const server = createServer().listen(port, '127.0.0.1');
    try {
      await once(server, 'listening');
    } catch {
      continue;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
  throw new Error(`no port from ${FIRST} to ${FIRST + COUNT - 1} is free`);
}
