// `npm run bench` that cannot give a figure says so at once: a run takes up to half an hour.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const MAIN = fileURLToPath(new URL('../../bench/main.ts', import.meta.url));

function bench(...args: string[]): Promise<{ code: unknown; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], (error, out, err) => resolve({ code: error?.code ?? 0, out, err }));
  });
}

test.skipIf(process.platform !== 'linux')('a file that cannot be written is named before anything runs', async () => {
  const { code, out, err } = await bench('wire', '--only', 'none', '--json', '/dev/null/rows.json');
  expect({ code, out }).toEqual({ code: 64, out: '' });
  expect(err).toContain('bench: --json: ENOTDIR');
});

test.skipIf(process.platform !== 'linux')('names of nothing are no success without rows', async () => {
  const { code, err } = await bench('wire', '--only', 'h11');
  expect(code).toBe(64);
  expect(err).toContain('wire has no scenario that --only names');
});
