// A limit that nothing reads promises what nobody keeps.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { LIMITS } from '../../../sidecar/base/limits.ts';

const sidecar = join(import.meta.dirname, '../../../sidecar');
const sources = readdirSync(sidecar, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => readFileSync(join(sidecar, file), 'utf8'))
  .join('\n');

test.each(Object.keys(LIMITS))('LIMITS.%s is kept somewhere', (name) => {
  expect(sources).toContain(`LIMITS.${name}`);
});
