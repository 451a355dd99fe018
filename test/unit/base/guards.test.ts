// Each guard is known to users by its name, and proven by a test that says the name.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { GUARDS } from '../../../sidecar/base/guards.ts';
import { LIMITS } from '../../../sidecar/base/limits.ts';
import { FLOOD_LIMITS } from '../../../sidecar/wire/http2/limits.ts';
import { filesBelow } from '../../support/files-below.ts';

/** First cells of the README's table, and the rest of their rows. */
function rows(): Map<string, string> {
  const readme = readFileSync('README.md', 'utf8');
  const [, section = ''] = readme.split('\n## Limits\n');
  const found = new Map<string, string>();
  for (const [, names = '', rest = ''] of section.split('\n## ')[0]?.matchAll(/^\| (`\w+`(?:, `\w+`)*) \|(.*)\|$/gm) ??
    [])
    for (const name of names.split(', ')) if (name !== '`guard`') found.set(name.slice(1, -1), rest);
  return found;
}

test('the README has a row for each guard, and for no other', () => {
  expect([...rows().keys()].sort()).toEqual([...GUARDS].sort());
});

test.each(Object.entries(FLOOD_LIMITS))('the README says the budget of %s', (name, { burst, perSecond }) => {
  const text = rows().get(name) ?? '';
  expect(text).toContain(`${burst.toLocaleString('en')} `);
  expect(text).toContain(`${perSecond} a second`);
});

test.each<[(typeof GUARDS)[number], string]>([
  ['connections', `${LIMITS.listenerConnectionsMax.toLocaleString('en')} open`],
  ['handshakes', `${LIMITS.handshakesMax.toLocaleString('en')} TLS`],
  ['slowRead', `${LIMITS.readBytesPerSecondMin} bytes a second`],
  ['zeroWindow', `${LIMITS.slowReadMs / 60_000} minutes`],
  ['slowBody', `${LIMITS.bodyBytesPerSecondMin} bytes a second`],
  ['connectionRequests', `${LIMITS.connectionRequestsMax.toLocaleString('en')} requests`],
])('the README says the limit of %s', (name, text) => {
  expect(rows().get(name)).toContain(text);
});

test('each guard is named by a test', () => {
  const others = filesBelow('test', /\.test\.ts$/).filter((file) => !file.endsWith('base/guards.test.ts'));
  const tests = others.map((file) => readFileSync(file, 'utf8')).join('\n');
  expect(GUARDS.filter((name) => !new RegExp(`['"\` ]${name}['"\`]`).test(tests))).toEqual([]);
});
