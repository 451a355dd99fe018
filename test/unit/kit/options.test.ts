// Options: every mistake at once, the command line over the environment, and what the ready file says.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  flag,
  oneOf,
  option,
  parseCount,
  parsePort,
  parseText,
  readOptions,
  repeated,
} from '../../../proto/kit/options.ts';
import { writeReadyFile } from '../../../proto/kit/ready-file.ts';

const DECLARED = {
  grpcPort: option('PORT', 'where discovery is served', 15012, parsePort),
  workers: option('N', 'threads', 1, parseCount(1, 64)),
  policies: option('DIR', 'policy files', '', parseText),
  label: repeated('K=V', 'labels', parseText),
  logLevel: option('LEVEL', 'how much is logged', 'info', (text) => oneOf({ info: 'info', debug: 'debug' }, text)),
  verbose: flag('says more'),
};

function read(argv: readonly string[], environment: Record<string, string> = {}) {
  return readOptions('weft test', DECLARED, argv, environment);
}

test('what is not given has its default', () => {
  expect(read([])).toEqual({
    kind: 'values',
    values: { grpcPort: 15012, workers: 1, policies: '', label: [], logLevel: 'info', verbose: false },
  });
});

test('the command line wins over the environment, and repeats collect', () => {
  const parsed = read(['--grpc-port', '0', '--label=a=1', '--label', 'b=2', '--verbose'], {
    WEFT_GRPC_PORT: '9',
    WEFT_WORKERS: '2',
    WEFT_LABEL: 'c=3,d=4',
  });
  expect(parsed).toMatchObject({ values: { grpcPort: 0, workers: 2, label: ['a=1', 'b=2'], verbose: true } });
  expect(read([], { WEFT_LABEL: 'c=3,d=4' })).toMatchObject({ values: { label: ['c=3', 'd=4'] } });
});

test('every mistake is said at once', () => {
  const parsed = read(
    ['--grpc-port', '70000', '--workers', 'x', '--colour', 'red', 'stray', '--policies', 'a', '--policies', 'b'],
    {
      WEFT_LOG_LEVEL: 'loud',
    },
  );
  expect(parsed).toEqual({
    kind: 'mistakes',
    mistakes: [
      'red: not an option; see weft test --help',
      'stray: not an option; see weft test --help',
      '--colour: no such option; see weft test --help',
      '--grpc-port: 70000 is not a port; write 0 to 65535',
      '--workers: x is not a whole number from 1 to 64',
      '--policies: given 2 times; give it once',
      'WEFT_LOG_LEVEL: loud is none of info, debug',
    ],
  });
});

test('an option without its value is a mistake, not a default', () => {
  expect(read(['--policies'])).toMatchObject({ kind: 'mistakes' });
});

test('help names each option with its default', () => {
  const parsed = read(['-h']);
  expect(parsed).toMatchObject({ kind: 'help' });
  expect(parsed).toHaveProperty('text', expect.stringMatching(/--grpc-port PORT +where discovery is served \[15012\]/));
});

test('the ready file holds the process and its ports', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-ready-'));
  try {
    writeReadyFile(join(folder, 'ready'), { grpc: 1, api: 2 });
    expect(JSON.parse(readFileSync(join(folder, 'ready'), 'utf8'))).toEqual({
      pid: process.pid,
      ports: { grpc: 1, api: 2 },
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
