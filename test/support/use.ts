// What a test file uses, declared once at its top: opened anew before each test and closed after it. What is declared
// later is closed first, as with `using`: `const rig = useWorkerRig(); const apps = useApps();` closes the applications
// and then sees the worker let go of every connection.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import type { WorkerIdentity } from '../../sidecar/base/messages.ts';
import { Apps } from './apps.ts';
import { type TestAuthority, testAuthority } from './identities.ts';
import { SidecarProcesses } from './sidecar-process.ts';
import { until, type WorkerRig, workerRig } from './worker-rig.ts';

/** Applications on loopback, and whatever else is to be ended with them. */
export const useApps = (): Apps =>
  use(
    () => new Apps(),
    (apps) => apps.close(),
  );

/** Sidecars as users run them, in a folder that is removed with them. */
export const useSidecars = (): SidecarProcesses =>
  use(
    () => new SidecarProcesses(),
    (processes) => processes.close(),
  );

/** An authority of its own for each test. */
export const useAuthority = (): TestAuthority => use(testAuthority, (authority) => authority.close());

/** A worker in its thread, which in the end has thrown nothing and has no connection left. */
export const useWorkerRig = (): WorkerRig =>
  use(
    () => workerRig(),
    async (rig) => {
      try {
        expect(rig.contained).toEqual([]);
        await until('every connection is gone', async () => (await rig.dump()).connections === 0);
      } finally {
        await rig.close();
      }
    },
  );

/** Key, certificate and roots as files in `folder`, and the options that name them. */
export function identityOptions(folder: string, account: string, issued: WorkerIdentity): string[] {
  const file = (name: string, content: string): string => {
    const path = join(folder, `${account}-${name}.pem`);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  return [
    ...['--identity-key', file('key', issued.privateKeyPem)],
    ...['--identity-cert', file('cert', issued.chainPem)],
    ...['--trust-bundle', file('roots', issued.rootsPem.join(''))],
  ];
}

/** Stands for what `open` gave to the test that runs; outside of a test it is an error to touch it. */
function use<T extends object>(open: () => T | Promise<T>, close: (opened: T) => void | Promise<void>): T {
  let opened: T | null = null;
  beforeEach(async () => {
    opened = await open();
  });
  afterEach(async () => {
    const last = opened;
    opened = null;
    // There is none when `open` failed, which is the failure to be told of.
    if (last !== null) await close(last);
  });
  return new Proxy({} as T, {
    get(_, key) {
      if (opened === null) throw new Error(`${String(key)} was asked for outside of a test`);
      const value: unknown = Reflect.get(opened, key);
      return typeof value === 'function' ? value.bind(opened) : value;
    },
  });
}
