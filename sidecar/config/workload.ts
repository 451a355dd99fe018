// What a sidecar remembers of itself between runs, beside identity and config: the name of its workload, and the
// ports that the system chose, since peers know them.

import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { EXIT } from '../../proto/kit/exit.ts';
import { readPrivateFile, writePrivateFile } from '../../proto/kit/private-file.ts';
import { StartError } from '../base/start-error.ts';

/** The workload's id: the option, else the stored one, else a new one that is stored. Throws StartError. */
export function workloadId(option: string, stateDir: string): string {
  if (option !== '') return option;
  const made = randomBytes(8).toString('hex');
  if (stateDir === '') return made;
  const path = join(stateDir, 'workload-id');
  try {
    // No secret, so whoever else may read it does no harm.
    const stored = existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
    if (/^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$/.test(stored)) return stored;
    writePrivateFile(path, `${made}\n`);
    return made;
  } catch (error) {
    const { message } = error as Error;
    throw new StartError(EXIT.unavailable, `${path} cannot be used: ${message}; remove it, or give --workload-id`);
  }
}

/** The ports of the last run; empty when there are none. A file that does not parse is as none. */
export function readPorts(stateDir: string): Readonly<Record<string, number>> {
  if (stateDir === '') return {};
  try {
    const value: unknown = JSON.parse(readPrivateFile(join(stateDir, 'ports.json')) ?? '{}');
    if (typeof value !== 'object' || value === null) return {};
    const good = Object.entries(value).filter(([, port]) => Number.isInteger(port) && port > 0 && port < 65536);
    return Object.fromEntries(good) as Record<string, number>;
  } catch {
    return {};
  }
}

/** Throws what the disk says. */
export function writePorts(stateDir: string, ports: Readonly<Record<string, number>>): void {
  if (stateDir !== '') writePrivateFile(join(stateDir, 'ports.json'), `${JSON.stringify(ports)}\n`);
}

/** What others dial: the option, else the inbound address if it is one, else this machine's first address, else loopback. */
export function advertisedAddress(option: string, inboundHost: string): string {
  if (option !== '') return option;
  if (inboundHost !== '0.0.0.0' && inboundHost !== '::') return inboundHost;
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const usable = all.filter((one) => !one.internal && !one.address.startsWith('fe80'));
  return (usable.find((one) => one.family === 'IPv4') ?? usable[0])?.address ?? '127.0.0.1';
}
