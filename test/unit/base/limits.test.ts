// A limit that nothing reads promises what nobody keeps, and one that stands elsewhere is not found by who looks here.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { LIMITS } from '../../../sidecar/base/limits.ts';

const sidecar = join(import.meta.dirname, '../../../sidecar');
const files = readdirSync(sidecar, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
/** Without comments: what they mention is not kept by that. */
const code = (file: string): string => readFileSync(join(sidecar, file), 'utf8').replace(/^\s*(?:\/\/|\/?\*).*$/gm, '');
const sources = files.map(code).join('\n');

test.each(Object.keys(LIMITS))('LIMITS.%s is kept somewhere', (name) => {
  expect(sources).toMatch(new RegExp(`LIMITS\\.${name}\\b`));
});

test('the data path has no bound of its own beside LIMITS and those of a protocol', () => {
  const dataPath = files.filter((file) => /^(?:ai|filters|listen|proxy|telemetry|transcode|upstream)\//.test(file));
  expect(dataPath.length).toBeGreaterThan(50);
  const own = dataPath.flatMap(
    (file) =>
      code(file)
        .match(/\bconst [A-Z0-9_]+_MAX\b/g)
        ?.map((name) => `${file}: ${name}`) ?? [],
  );
  expect(own).toEqual([]);
});
