// The tables themselves: enough of them, readable in one way, each row with its source, and no rule without a row.

import { describe, expect, test } from 'vitest';
import { REJECT } from '../../../sidecar/wire/http1/reject.ts';
import { REQUESTS, RESPONSES, textOf } from './tables.ts';

/** What no bytes alone bring about. */
const BY_TIME = ['headTimeout', 'bodyTimeout'];

describe.each([
  ['requests', REQUESTS, 150],
  ['responses', RESPONSES, 50],
] as const)('the table of %s', (_name, rows, min) => {
  test('has enough rows', () => {
    expect(rows.length).toBeGreaterThanOrEqual(min);
  });

  test('names each row once', () => {
    const names = rows.map(({ name }) => name);
    expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
  });

  test('says for each row where its rule stands', () => {
    expect(rows.filter(({ cite }) => !/^(?:RFC \d{4} §\d+(?:\.\d+)*|CVE-\d{4}-\d+)$/.test(cite))).toEqual([]);
  });

  test('writes a byte as one character', () => {
    const bodies = rows.flatMap(({ accepted = [] }) => [accepted].flat().map(({ body = '' }) => body));
    const texts = [...rows.map(({ bytes }) => bytes), ...bodies].map(textOf);
    expect(texts.filter((text) => /[^\u0000-\u00ff]/.test(text))).toEqual([]);
  });
});

test('every rule has a row', () => {
  const used = new Set([...REQUESTS, ...RESPONSES].map(({ refused }) => refused));
  expect(Object.keys(REJECT).filter((reason) => !used.has(reason))).toEqual(BY_TIME);
});
