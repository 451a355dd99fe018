// `npm start` under a supervisor: npm passes SIGTERM on to the shell that it starts, and to nobody below it, so that the
// demo must take the shell's place. Else the whole mesh would outlive its `npm start`.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';

test('the demo is the process that npm signals', async () => {
  const { scripts } = JSON.parse(await readFile(new URL('../../../package.json', import.meta.url), 'utf8'));
  const directory = await mkdtemp(join(tmpdir(), 'weft-start-'));
  try {
    // Instead of Node: says which process it is, and what it was to run.
    await writeFile(join(directory, 'node'), '#!/bin/sh\necho "$$ $@"\n', { mode: 0o755 });
    const env = { ...process.env, PATH: `${directory}:${process.env.PATH}` };
    const shell = spawn('sh', ['-c', `${scripts.start} --tour`], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    const [printed] = await Promise.all([text(shell.stdout), once(shell, 'close')]);
    const lines = printed.trim().split('\n');
    expect(lines).toHaveLength(2);
    expect(lines[1]).toBe(`${shell.pid} dist/deploy/demo/main.js --tour`);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('what runs before anything is installed is the one script without dependencies', async () => {
  const { scripts } = JSON.parse(await readFile(new URL('../../../package.json', import.meta.url), 'utf8'));
  const pre = ['start', 'test', 'check', 'bench'].map((name) => scripts[`pre${name}`]);
  expect(new Set(pre)).toEqual(new Set(['node deploy/setup/prepare.mjs']));
  const source = await readFile(new URL('../../../deploy/setup/prepare.mjs', import.meta.url), 'utf8');
  const imported = [...source.matchAll(/(?:from |import\(|import )'([^']+)'/g)].map(([, from]) => from);
  expect(imported.length).toBeGreaterThan(0);
  expect(imported.filter((from) => !from?.startsWith('node:'))).toEqual([]);
});
