// The `weft` command as users run it: exit codes, what goes to which stream, and the demo's own policies.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const LAUNCHER = fileURLToPath(new URL('../../deploy/cli/weft.mjs', import.meta.url));
// Not by the launcher: with WEFT_BUNDLE=1 it takes a bundle, which may be older than the source.
const COMMAND = fileURLToPath(new URL('../../deploy/cli/weft.ts', import.meta.url));
const DEMO = fileURLToPath(new URL('../../deploy/demo/policies', import.meta.url));

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function run(program: string, args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], (error, out, err) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err });
    });
  });
}

const weft = (...args: string[]) => run(COMMAND, args);

test('the launcher passes arguments and the exit code on', async () => {
  expect((await run(LAUNCHER, ['check', join(DEMO, 'none')])).code).toBe(69);
  expect((await run(LAUNCHER, ['--help'])).out).toContain('check [options] <path>');
});

test('the demo policies are clean', async () => {
  const { code, out } = await weft('check', DEMO);
  expect(out).toBe('ok: 5 files: 3 Authorizations, 1 Provider, 1 Model, 2 Routes, 4 Services, 1 Telemetry\n');
  expect(code).toBe(0);
});

test('one file is checked without those beside it', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'weft-check-'));
  try {
    const file = join(directory, 'good.policy');
    await writeFile(file, 'kind: Service\nmetadata: { name: s }\nspec: { ports: [{ port: 80 }] }\n');
    await writeFile(join(directory, 'bad.yaml'), 'kind: Nothing\n');
    expect(await weft('check', file)).toEqual({ code: 0, out: 'ok: 1 file: 1 Service\n', err: '' });
    expect((await weft('render', file, '--service', 's')).code).toBe(0);
    expect((await weft('check', directory)).code).toBe(65);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('whoever stops reading gets no stack, and the exit code stays', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'weft-check-'));
  try {
    await writeFile(join(directory, 'a.yaml'), 'kind: Nothing\n');
    const child = spawn(process.execPath, [COMMAND, 'check', directory], { stdio: ['ignore', 'pipe', 'pipe'] });
    // Before it can have written: as `weft check DIR | true`.
    child.stdout.destroy();
    let err = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
      err += text;
    });
    const [code] = await once(child, 'close');
    expect({ code, err }).toEqual({ code: 65, err: '' });
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('mistakes are printed with place and fix, and end with 65', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'weft-check-'));
  try {
    await writeFile(
      join(directory, 'a.yaml'),
      'kind: Service\nmetadata: { name: s }\nspec: { ports: [{ prot: 80, port: 1 }] }\n',
    );
    const text = await weft('check', directory);
    expect(text.out).toBe(
      'a.yaml:3:19: spec.ports[0].prot: unknown field "prot" (Service/default/s)\n  fix: write `port`\n1 problem in 1 file\n',
    );
    expect(text.code).toBe(65);
    const json = await weft('check', '--json', directory);
    expect(JSON.parse(json.out).problems).toMatchObject([{ file: 'a.yaml', line: 3, column: 19, fix: 'write `port`' }]);
    expect(json.code).toBe(65);
    expect((await weft('render', directory, '--service', 's')).code).toBe(65);
    const file = await weft('check', join(directory, 'a.yaml'));
    expect(file).toEqual({ ...text, err: '' });
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('a snapshot names the identity and holds what the service needs', async () => {
  const { code, out } = await weft('render', DEMO, '--service', 'orders', '--trust-domain', 'test');
  expect(code).toBe(0);
  const snapshot = JSON.parse(out) as {
    spiffeId: string;
    format: number;
    resources: { typeUrl: string; name: string }[];
  };
  expect(snapshot.spiffeId).toBe('spiffe://test/ns/default/sa/orders');
  expect(snapshot.format).toBe(1);
  const services = snapshot.resources.filter((r) => r.typeUrl.endsWith('.Service')).map((r) => r.name);
  expect(services).toEqual(['default/inventory', 'default/orders', 'default/scorer', 'default/web']);
});

test('what cannot be read is said with the reason, and an empty directory is not taken for good policies', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'weft-check-'));
  try {
    expect(await weft('check', directory)).toMatchObject({
      code: 0,
      out: `ok: nothing to check: ${directory} holds no .yaml, .yml or .json file\n`,
    });
    const none = join(directory, 'none');
    expect(await weft('check', none)).toMatchObject({
      code: 69,
      err: `weft: the policy directory ${none} is not there (ENOENT); is the path right?\n`,
    });
    const file = join(directory, 'a.yaml');
    await writeFile(file, 'kind: Service\nmetadata: { name: orders }\nspec: { ports: [{ port: 80 }] }\n');
    const below = join(file, 'b.yaml');
    expect(await weft('check', below)).toMatchObject({
      code: 69,
      err: `weft: ${below} is no directory (ENOTDIR); name the directory that holds it\n`,
    });
    const known = async (...args: string[]) => (await weft('render', directory, '--service', ...args)).err;
    expect(await known('ordres')).toBe('weft: there is no Service default/ordres; did you mean orders?\n');
    expect(await known('x')).toBe('weft: there is no Service default/x; known: orders\n');
    expect(await known('orders', '--namespace', 'shop')).toContain('--namespace names another');
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('mistakes of the command line name the help of the command', async () => {
  expect((await weft('check')).err).toBe("weft: missing required argument 'path'\n(weft check --help says more)\n");
  expect((await weft('--version')).out).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test.each([
  ['an unknown command', ['chekc'], 64],
  ['an unknown option', ['check', '--jsno', DEMO], 64],
  ['a missing option', ['render', DEMO], 64],
  ['an unknown service', ['render', DEMO, '--service', 'order'], 64],
  ['a directory that is not there', ['check', join(DEMO, 'none')], 69],
])('%s ends with its exit code', async (_what, args, code) => {
  expect((await weft(...args)).code).toBe(code);
});
