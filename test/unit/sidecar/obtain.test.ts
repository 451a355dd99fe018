// What a start does with a state directory that does not take what it is given, and which workload id it goes by.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { workloadId } from '../../../sidecar/config/workload.ts';
import { obtainIdentity, prepareStateDir } from '../../../sidecar/identity/obtain.ts';
import * as stored from '../../../sidecar/identity/stored.ts';
import type { SidecarOptions } from '../../../sidecar/options.ts';

const SPIFFE_ID = 'spiffe://mesh.local/ns/shop/sa/web';

vi.mock('../../../sidecar/identity/sign.ts', () => ({
  join: async () => ({ spiffeId: SPIFFE_ID }),
  newKey: async () => ({}),
  SignError: class extends Error {},
}));

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-obtain-'));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

test.each([
  ['made', null],
  ['there already, and open to others', 0o755],
])('a state directory that is %s gives others no right on it', (_what, mode) => {
  const stateDir = join(folder, 'state', 'web');
  if (mode !== null) mkdirSync(stateDir, { recursive: true, mode });
  prepareStateDir(stateDir);
  expect(statSync(stateDir).mode & 0o777).toBe(0o700);
});

test('an identity that the disk refuses is used all the same, since a token was spent for it', async () => {
  vi.spyOn(stored, 'writeStoredIdentity').mockImplementation(() => {
    throw new Error('no space left on device');
  });
  const joinTokenFile = join(folder, 'token');
  writeFileSync(joinTokenFile, 'token');
  const controlPlane = { host: '127.0.0.1', port: 1 };
  const options = { identityKey: '', stateDir: folder, controlPlane, joinTokenFile, snapshot: '' };
  const warnings: string[] = [];
  const observer = { info: () => {}, warn: (message: string) => void warnings.push(message) };
  const signal = new AbortController().signal;
  const identity = await obtainIdentity(options as unknown as SidecarOptions, observer, signal);
  expect(identity?.spiffeId).toBe(SPIFFE_ID);
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toContain('no space left on device; without it a restart needs a new join token');
});

test('a workload id is made once and kept, private or not', () => {
  const made = workloadId('', folder);
  expect(made).toMatch(/^[0-9a-f]{16}$/);
  expect(workloadId('', folder)).toBe(made);
  const path = join(folder, 'workload-id');
  expect(statSync(path).mode & 0o777).toBe(0o600);
  rmSync(path);
  writeFileSync(path, 'web-1\n', { mode: 0o644 });
  expect(workloadId('', folder)).toBe('web-1');
});

test.each(['../../etc', '', 'a b', 'x'.repeat(129), '-a'])('%j is no workload id and is replaced', (text) => {
  const path = join(folder, 'workload-id');
  writeFileSync(path, text);
  expect(workloadId('', folder)).toMatch(/^[0-9a-f]{16}$/);
  expect(readFileSync(path, 'utf8')).toMatch(/^[0-9a-f]{16}\n$/);
});

test('an id by option is used and not stored; without a state directory there is nothing to store', () => {
  expect(workloadId('given', folder)).toBe('given');
  expect(() => statSync(join(folder, 'workload-id'))).toThrow('ENOENT');
  expect(workloadId('', '')).not.toBe(workloadId('', ''));
});
