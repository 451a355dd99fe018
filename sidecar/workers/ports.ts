// The addresses of the data path. Main binds each one exclusively before anything serves, so that a port in use is an
// error at start and two sidecars on one host can never answer for each other; it holds them until a worker listens.

import { accessSync, constants, lstatSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { dirname } from 'node:path';
import { bindFailure } from '../../proto/kit/bind-error.ts';
import { EXIT } from '../../proto/kit/exit.ts';
import { StartError } from '../base/start-error.ts';

/** An address to prove and hold. */
export interface Wanted {
  /** As in the ready file: `outbound`, `inbound`, `local:NAME`, ... */
  readonly name: string;
  readonly host: string;
  /** 0: any. */
  readonly port: number;
  /** With 0: what it was in the last run, taken again when free, since peers know it; 0: none. */
  readonly lastPort: number;
}

/** Addresses bound by this thread; nothing is accepted on them. */
export interface HeldPorts {
  readonly ports: Readonly<Record<string, number>>;
  /** Lets go of all, at the moment before a worker listens. */
  release(): Promise<void>;
}

/**
 * Binds every address. Throws StartError (69) that names the first in use, or not of this machine, and its option.
 */
export async function holdPorts(wanted: readonly Wanted[]): Promise<HeldPorts> {
  const servers: Server[] = [];
  const ports: Record<string, number> = {};
  const release = async (): Promise<void> => {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  };
  // Fixed ports first, so that the system does not hand one of them to another.
  for (const one of [...wanted].sort((a, b) => Number(b.port > 0) - Number(a.port > 0))) {
    try {
      const server = await bindExclusive(one);
      servers.push(server);
      ports[one.name] = (server.address() as { port: number }).port;
    } catch (error) {
      await release();
      throw portError(one.name, one.host, one.port, error as NodeJS.ErrnoException);
    }
  }
  return { ports, release };
}

/** The options of addresses other than that of the applications. */
const HOST_OPTIONS: Readonly<Record<string, string>> = {
  inbound: '--inbound-host',
  admin: '--admin-host',
  metrics: '--metrics-host',
  readiness: '--metrics-host',
};

/** What to tell the operator of a bind that failed. */
export function portError(name: string, host: string, port: number, error: NodeJS.ErrnoException): StartError {
  const option = name.startsWith('local:') ? `--local ${name.slice(6)}=PORT` : `--${name}-port`;
  return new StartError(
    EXIT.unavailable,
    bindFailure({ name, host, port, option, hostOption: HOST_OPTIONS[name] ?? '--host' }, error),
  );
}

async function bindExclusive(one: Wanted): Promise<Server> {
  if (one.port === 0 && one.lastPort !== 0) {
    try {
      return await bind(one.host, one.lastPort);
    } catch {
      // Taken in the meantime: any other will do, and the control plane is told.
    }
  }
  return bind(one.host, one.port);
}

function bind(host: string, port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', reject);
    server.listen({ host, port, exclusive: true, reusePort: false }, () => {
      server.removeListener('error', reject);
      resolve(server);
    });
  });
}

/**
 * Proves that a unix socket may be made at `path`: nothing is there, or what a program that is gone has left (as nginx and
 * Envoy are wont to leave them). Throws StartError (69) with what is in the way.
 */
export async function checkSocketPath(name: string, path: string): Promise<void> {
  const fail = (what: string): never => {
    throw new StartError(
      EXIT.unavailable,
      `local:${name} socket ${path} ${what}, or choose another with --local ${name}=unix:PATH`,
    );
  };
  try {
    accessSync(dirname(path), constants.W_OK | constants.X_OK);
  } catch (error) {
    fail(
      `cannot be made (${(error as NodeJS.ErrnoException).code}: ${dirname(path)}); make the folder and let this user write there`,
    );
  }
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) fail('is a file that is no socket; remove it');
  if (await answers(path)) fail('is in use by another process; stop that one');
}

/** Whether somebody listens there; who may not ask is told that, and not what is stale. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'ECONNREFUSED' && code !== 'ENOENT'));
  });
}

/** Null when nobody listens there and this machine has the address; else why not, as the end of a sentence. */
export async function whyTaken(host: string, port: number): Promise<string | null> {
  try {
    const server = await bind(host, port);
    await new Promise((resolve) => server.close(resolve));
    return null;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'EADDRINUSE' ? 'is in use' : `cannot be bound (${code ?? message})`;
  }
}
