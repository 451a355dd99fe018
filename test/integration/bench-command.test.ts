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

test.skipIf(process.platform !== 'linux').each([
  ['wire', ['--only', 'h1,h11'], '--only: this suite has no scenario h11; it has h1, h1-post, h2'],
  [
    'wire',
    ['--peers', 'weft,envoi,ngnix'],
    '--peers: this suite has no peer envoi, ngnix; it has envoy, haproxy, nginx, weft',
  ],
  ['mesh', ['--only', 'h1,tls-h1'], 'no scenario tls-h1; it has h1, grpc'],
  ['body', ['--only', 'h1,clear-up'], 'no scenario h1; it has clear-down, clear-up, tls-down, tls-up'],
  ['handshake', ['--only', 'server,clear'], 'no scenario clear; it has server, mutual'],
  ['memory', ['--only', 'idle-clear,idle'], 'no scenario idle; it has idle-clear, idle-mutual'],
  ['latency', ['--only', 'rate-1000,rate-1'], 'no scenario rate-1; it has rate-1000, rate-5000'],
  ['grpc', ['--peers', 'weft,haproxy'], 'no peer haproxy; it has direct, envoy, weft'],
  ['control-plane', ['--peers', 'weft'], 'no peer weft; leave --peers out'],
  ['soak', ['--only', 'h1'], 'no scenario h1; leave --only out'],
])('%s %s is refused: a known name beside it would run less than was asked', async (suite, args, message) => {
  const { code, err } = await bench(suite, ...args);
  expect(code).toBe(64);
  expect(err).toContain(message);
});

test.skipIf(process.platform !== 'linux')('names of nothing are no success without rows', async () => {
  const { code, err } = await bench('wire', '--only', 'workers', '--peers', 'envoy');
  expect(code).toBe(64);
  expect(err).toContain('nothing was run');
});
