// What keeps a state directory whole over crashes and private: the order of write, fsync and rename, and the modes.
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { readPrivateFile, writePrivateFile } from '../../../proto/kit/private-file.ts';

const { calls } = vi.hoisted(() => ({ calls: [] as string[] }));

vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>();
  const noted = <K extends keyof typeof real>(name: K): (typeof real)[K] => {
    const run = real[name] as (...args: unknown[]) => unknown;
    const noting = (...args: unknown[]): unknown => {
      calls.push(name);
      return run(...args);
    };
    return noting as (typeof real)[K];
  };
  return {
    ...real,
    openSync: noted('openSync'),
    writeFileSync: noted('writeFileSync'),
    fsyncSync: noted('fsyncSync'),
    renameSync: noted('renameSync'),
  };
});

let folder = '';
let path = '';
beforeEach(() => {
  folder = join(fs.mkdtempSync(join(tmpdir(), 'weft-private-')), 'state');
  path = join(folder, 'identity.pem');
  calls.length = 0;
});
afterEach(() => fs.rmSync(join(folder, '..'), { recursive: true, force: true }));

test('the content is on the disk before the name is, and the name before the call returns', () => {
  writePrivateFile(path, 'secret');
  expect(calls).toEqual(['openSync', 'writeFileSync', 'fsyncSync', 'renameSync', 'openSync', 'fsyncSync']);
});

test('folder and file are for their owner only, whatever the old file was', () => {
  writePrivateFile(path, 'old');
  expect(fs.statSync(folder).mode & 0o777).toBe(0o700);
  fs.chmodSync(path, 0o644);
  writePrivateFile(path, 'new');
  expect(fs.statSync(path).mode & 0o777).toBe(0o600);
  expect(readPrivateFile(path)).toBe('new');
});

test('who has the old file open reads the old one to its end', () => {
  writePrivateFile(path, 'the old one');
  const reader = fs.openSync(path, 'r');
  writePrivateFile(path, 'new');
  expect(fs.readFileSync(reader, 'utf8')).toBe('the old one');
  fs.closeSync(reader);
});

test('a write that fails leaves the old file, and no other', () => {
  writePrivateFile(path, 'old');
  expect(() => writePrivateFile(path, undefined as unknown as string)).toThrow();
  expect(fs.readdirSync(folder)).toEqual(['identity.pem']);
  expect(readPrivateFile(path)).toBe('old');
});

test.each(['640', '604', '620', '601'])('a file of mode %s is not read, and the way out is told', (mode) => {
  writePrivateFile(path, 'secret');
  fs.chmodSync(path, mode);
  expect(() => readPrivateFile(path)).toThrow(`mode 0${mode}`);
  expect(() => readPrivateFile(path)).toThrow(`chmod 600 ${path}`);
});

test('no file is null', () => {
  expect(readPrivateFile(path)).toBeNull();
});

test('a folder in its place is named', () => {
  fs.mkdirSync(path, { recursive: true });
  expect(() => readPrivateFile(path)).toThrow(`${path} is not a file`);
});
