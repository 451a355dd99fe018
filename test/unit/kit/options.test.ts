// Options: every mistake at once, the command line over the environment, and what the ready file says.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CONTROL_PLANE_HELP, CONTROL_PLANE_OPTIONS } from '../../../control-plane/options.ts';
import {
  durationOption,
  flag,
  oneOf,
  option,
  parseAddress,
  parseCount,
  parsePort,
  parseText,
  readOptions,
  repeated,
} from '../../../proto/kit/options.ts';
import { writeReadyFile } from '../../../proto/kit/ready-file.ts';
import { SIDECAR_HELP, SIDECAR_OPTIONS } from '../../../sidecar/options.ts';

const DECLARED = {
  grpcPort: option('PORT', 'where discovery is served', 15012, parsePort),
  workers: option('N', 'threads', 1, parseCount(1, 64)),
  policies: option('DIR', 'policy files', '', parseText),
  label: repeated('K=V', 'labels', parseText),
  logLevel: option('LEVEL', 'how much is logged', 'info', (text) => oneOf({ info: 'info', debug: 'debug' }, text)),
  verbose: flag('says more'),
  grace: durationOption('how long an endpoint outlives its stream', 90_000, 1_000),
  plaintextPort: option('PORT', 'without TLS', -1, parsePort, 'off'),
};

const LONG = `${'words '.repeat(12)}and more`;

function read(argv: readonly string[], environment: Record<string, string> = {}) {
  return readOptions('weft test', DECLARED, argv, environment);
}

test('what is not given has its default', () => {
  expect(read([])).toEqual({
    kind: 'values',
    values: {
      grpcPort: 15012,
      workers: 1,
      policies: '',
      label: [],
      logLevel: 'info',
      verbose: false,
      grace: 90_000,
      plaintextPort: -1,
    },
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

test('a mistyped option is told the nearest one', () => {
  expect(read(['--gprc-port', '1'])).toMatchObject({
    mistakes: ['1: not an option; see weft test --help', '--gprc-port: no such option; did you mean --grpc-port?'],
  });
});

test('an address is one, and no name', () => {
  const declared = { host: option('ADDRESS', 'where it listens', '127.0.0.1', parseAddress) };
  expect(readOptions('weft test', declared, ['--host', '::1'], {})).toMatchObject({ values: { host: '::1' } });
  expect(readOptions('weft test', declared, ['--host', 'name'], {})).toMatchObject({
    mistakes: ['--host: name is not an IPv4 or IPv6 address'],
  });
});

test('a duration needs its unit, and may have a least value', () => {
  expect(read(['--grace', '1h30m'])).toMatchObject({ values: { grace: 5_400_000 } });
  expect(read(['--grace', '90'])).toMatchObject({ mistakes: [expect.stringContaining('write a number and a unit')] });
  expect(read(['--grace', '1ms'])).toMatchObject({ mistakes: ['--grace: 1ms is too short; write at least 1s'] });
});

test('help is a page that fits a terminal: each option with its default in words', () => {
  const about = { summary: 'A program that is tested.', notes: ['SIGTERM ends it.'] };
  expect(
    readOptions('weft test', { ...DECLARED, long: option('VALUE', LONG, '', parseText) }, ['-h'], {}, about),
  ).toEqual({
    kind: 'help',
    text: `Usage: weft test [options]

A program that is tested.

  --grpc-port PORT          where discovery is served (default 15012)
  --workers N               threads (default 1)
  --policies DIR            policy files
  --label K=V               labels (may be repeated)
  --log-level LEVEL         how much is logged (default info)
  --verbose                 says more (default off)
  --grace DURATION          how long an endpoint outlives its stream (default 1m30s)
  --plaintext-port PORT     without TLS (default off)
  --long VALUE              ${'words '.repeat(11)}words
                            and more

SIGTERM ends it.

Every option may also be set in the environment: --ready-file as WEFT_READY_FILE. The command line
wins.
`,
  });
});

test.each([
  ['weft sidecar', SIDECAR_OPTIONS, SIDECAR_HELP],
  ['weft control-plane', CONTROL_PLANE_OPTIONS, CONTROL_PLANE_HELP],
])('%s says every default in words, and what its signals do', (program, declared, about) => {
  const parsed = readOptions(program, declared, ['--help'], {}, about);
  const text = parsed.kind === 'help' ? parsed.text : '';
  expect(text).not.toMatch(/-1|\d{4,}000|default (null|undefined|\[)/);
  expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
  expect(text.replace(/\s+/g, ' ')).toMatch(/A second one ends the process at once.* exit 143/);
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
