// Listening, with an answer an operator can act on when the address is not to be had.

import type { AddressInfo, Server } from 'node:net';
import { EXIT } from '../../proto/kit/exit.ts';
import { StartError } from './start-error.ts';

/** Binds `server` exclusively; resolves with the port. Throws StartError (69) when the address is in use or not ours. */
export function listen(server: Server, host: string, port: number, option: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: Error) => reject(bindError(option, host, port, error.message)));
    server.listen({ host, port, exclusive: true }, () => resolve((server.address() as AddressInfo).port));
  });
}

/** The sentence for an address that could not be bound. */
export function bindError(option: string, host: string, port: number, why: string): StartError {
  const message = `cannot listen on ${authority(host, port)}: ${why}; free it, or choose another with ${option}`;
  return new StartError(EXIT.unavailable, message);
}

/** `host:port`, with the brackets of an IPv6 address. */
export function authority(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
