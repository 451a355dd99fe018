// The closing line is read by people and by CI, so what it counts is pinned here.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';

const root = join(import.meta.dirname, '../../..');
// Inside the tree, because the test files below import vitest; the folder is one that git ignores.
mkdirSync(join(root, '.cache'), { recursive: true });
const folder = mkdtempSync(join(root, '.cache/reporter-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs one test file under the reporter; returns the last line and the exit code. */
function run(body: string): { line: string | undefined; code: number | null } {
  const file = join(folder, 'case.test.mjs');
  writeFileSync(file, `import { test, expect, describe } from 'vitest';\n${body}\n`);
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const reporter = join(root, 'test/support/reporter.ts');
  const args = [vitest, 'run', '--root', folder, '--reporter', reporter];
  const result = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8', timeout: 10_000 });
  return { line: result.stdout.trimEnd().split('\n').at(-1), code: result.status };
}

describe('the closing line', () => {
  test.each([
    ['all pass', `test('a', () => {}); test('b', () => {});`, '2 passed, 0 failed', 0],
    ['one fails', `test('a', () => {}); test('b', () => expect(1).toBe(2));`, '1 passed, 1 failed', 1],
    ['some are skipped', `test('a', () => {}); test.skip('b', () => {});`, '1 passed, 0 failed, 1 skipped', 0],
    ['a file does not load', `throw new Error('no');`, '0 passed, 1 failed', 1],
    ['an error outside any test', `test('a', () => { Promise.reject(new Error('lost')); });`, '1 passed, 1 failed', 1],
  ])('%s', (_, body, line, code) => {
    expect(run(body)).toEqual({ line, code });
  });
});
