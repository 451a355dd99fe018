// A burst of events in a policy directory is read a few times, not once an event.
import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { PolicySource, type PolicyState } from '../../../control-plane/source/watch.ts';

const { reads } = vi.hoisted(() => ({ reads: { count: 0 } }));

vi.mock('../../../control-plane/source/files.ts', async (original) => {
  const real = await original<typeof import('../../../control-plane/source/files.ts')>();
  const readPolicies: typeof real.readPolicies = (directory) => {
    reads.count++;
    return real.readPolicies(directory);
  };
  return { ...real, readPolicies };
});

const WRITES = 200;

test('two hundred saves in a row are a handful of reads, and the last one is in force', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-debounce-'));
  const states: PolicyState[] = [];
  const observer = { onChange: (state: PolicyState) => void states.push(state), onTrouble() {} };
  const save = (port: number): Promise<void> =>
    writeFile(
      join(directory, 'a.yaml'),
      `kind: Service\nmetadata: { name: a }\nspec: { ports: [{ port: ${port} }] }\n`,
    );
  await save(1);
  const source = await PolicySource.open(directory, observer);
  reads.count = 0;
  for (let i = 1; i <= WRITES; i++) await save(i);
  await vi.waitFor(
    () => {
      const last = states.at(-1)?.resources[0]?.message.spec;
      expect(last && 'ports' in last ? last.ports[0]?.port : 0).toBe(WRITES);
    },
    { timeout: 20_000, interval: 20 },
  );
  expect(reads.count).toBeLessThan(WRITES / 20);
  source.close();
  rmSync(directory, { recursive: true });
});
