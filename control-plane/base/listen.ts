// Listening, with an answer an operator can act on when the address is not to be had.

import type { AddressInfo, Server } from 'node:net';
import { bindFailure } from '../../proto/kit/bind-error.ts';
import { EXIT } from '../../proto/kit/exit.ts';
import { StartError } from './start-error.ts';

/** Binds `server` exclusively; resolves with the port. Throws StartError (69) when the address is in use or not ours. */
export function listen(server: Server, host: string, port: number, option: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: Error) => reject(bindError(option, host, port, error)));
    server.listen({ host, port, exclusive: true }, () => resolve((server.address() as AddressInfo).port));
  });
}

/** Why the address could not be bound, with the option that chooses another. */
export function bindError(option: string, host: string, port: number, error: Error): StartError {
  const name = option.replace(/^--|-port$/g, '');
  const hostOption = name === 'api' ? '--api-host' : '--host';
  return new StartError(EXIT.unavailable, bindFailure({ name, host, port, option, hostOption }, error));
}
