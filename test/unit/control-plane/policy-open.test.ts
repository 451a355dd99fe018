// A policy directory opened on what was in force before: a file that is half written at that moment loses nothing.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { readPolicies } from '../../../control-plane/source/files.ts';
import { PolicySource } from '../../../control-plane/source/watch.ts';

vi.mock(import('../../../control-plane/source/files.ts'), { spy: true });

test('a file that lost a resource is looked at twice before its resource is gone', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-open-'));
  try {
    writeFileSync(join(directory, 'a.yaml'), 'kind: Service\nmetadata: { name: a }\nspec: { ports: [{ port: 80 }] }\n');
    const { resources: before } = await readPolicies(directory);
    vi.mocked(readPolicies).mockResolvedValueOnce({ resources: [], problems: [], files: ['a.yaml'] });
    const source = await PolicySource.open(directory, { onChange() {}, onTrouble() {} }, before);
    source.close();
    expect(source.state.resources.map(({ name }) => name)).toEqual(['a']);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
