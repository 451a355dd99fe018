// Brackets are counted where they nest, and nowhere else.

import { expect, test } from 'vitest';
import { isShallowJson } from '../../../sidecar/base/json-depth.ts';
import { LIMITS } from '../../../sidecar/base/limits.ts';

const nested = (levels: number, open = '[', close = ']'): string => open.repeat(levels) + close.repeat(levels);

test.each<[string, string, boolean]>([
  ['200 lists', nested(200), true],
  ['201 lists', nested(201), false],
  ['200 objects', nested(200, '{"a":', '}').replace(':}', ':1}'), true],
  ['201 objects', nested(201, '{"a":', '}').replace(':}', ':1}'), false],
  ['lists and objects together', nested(101, '[{"a":', '}]'), false],
  ['a thousand beside each other', `[${Array(1000).fill('[{}]').join()}]`, true],
  ['brackets within a string', JSON.stringify('[{'.repeat(1000)), true],
  ['a string that ends behind an escaped quote', `["\\"${'['.repeat(300)}"]`, true],
  ['a string that ends behind an escaped backslash', `["\\\\",${nested(200)}]`, false],
  ['a string without an end', `"${'['.repeat(300)}`, true],
  ['nothing', '', true],
])('%s: %s', (_what, json, shallow) => {
  expect(LIMITS.jsonDepthMax).toBe(200);
  expect(isShallowJson(Buffer.from(json))).toBe(shallow);
});
