// A directory with mistakes: what the mesh takes of it, row by row.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Resource } from '../../../control-plane/model/resource.ts';
import { readPolicies } from '../../../control-plane/source/files.ts';
import { type Taken, takeGood } from '../../../control-plane/source/last-good.ts';

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'weft-last-good-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

type Files = Record<string, string | null>;

async function take(before: readonly Resource[], files: Files): Promise<Taken> {
  for (const [file, text] of Object.entries(files)) {
    if (text === null) rmSync(join(directory, file));
    else writeFileSync(join(directory, file), text);
  }
  return takeGood(before, await readPolicies(directory));
}

const service = (name: string, port: number | string, localPort = 0) =>
  `kind: Service\nmetadata: { name: ${name} }\nspec: { ports: [{ port: ${port} }], localPort: ${localPort} }\n`;
const route = (name: string, backend: string) =>
  `kind: Route\nmetadata: { name: ${name} }\nspec: { hosts: [${name}], rules: [{ backends: [{ service: ${backend} }] }] }\n`;

/** `Service a 80` or `Route a b`: enough to tell one state from another. */
function shown({ resources }: Taken): string[] {
  return resources
    .map((resource) => {
      const detail =
        resource.kind === 'Service'
          ? resource.message.spec?.ports[0]?.port
          : resource.kind === 'Route'
            ? resource.message.spec?.rules[0]?.backends[0]?.service
            : '';
      return `${resource.kind} ${resource.name} ${detail}`;
    })
    .sort();
}

const GOOD: Files = {
  'a.yaml': service('a', 80),
  'b.yaml': `${service('b', 80)}---\n${route('b', 'b')}`,
};

test.each<[string, Files, string[], number]>([
  ['nothing wrong', { 'a.yaml': service('a', 81) }, ['Route b b', 'Service a 81', 'Service b 80'], 0],
  ['a wrong field', { 'a.yaml': service('a', 'x') }, ['Route b b', 'Service a 80', 'Service b 80'], 1],
  [
    'a wrong resource beside a right one in its file',
    { 'b.yaml': `${service('b', 'x')}---\n${route('b', 'a')}` },
    ['Route b a', 'Service a 80', 'Service b 80'],
    1,
  ],
  [
    'a file that does not parse, while another changes',
    { 'b.yaml': 'kind: {Service\n  ]', 'a.yaml': service('a', 81) },
    ['Route b b', 'Service a 81', 'Service b 80'],
    1,
  ],
  [
    'a document without kind keeps what its file held',
    { 'b.yaml': `${service('b', 82)}---\nmetadata: { name: b }\n` },
    ['Route b b', 'Service a 80', 'Service b 82'],
    1,
  ],
  [
    'a name that is none keeps what its file held',
    { 'a.yaml': service('Service_A', 80) },
    ['Route b b', 'Service a 80', 'Service b 80'],
    1,
  ],
  [
    'an unknown field beside the name does so, too, since it may be the namespace',
    { 'a.yaml': service('c, namespcae: shop', 80) },
    ['Route b b', 'Service a 80', 'Service b 80'],
    1,
  ],
  [
    'a name that another file has keeps both',
    { 'a.yaml': service('b', 81) },
    ['Route b b', 'Service a 80', 'Service b 80'],
    2,
  ],
  [
    'a wrong label leaves no doubt about the name',
    { 'a.yaml': service('c, labels: { tier: 1 }', 80) },
    ['Route b b', 'Service b 80'],
    1,
  ],
  [
    'a misspelt kind',
    { 'a.yaml': service('a', 81).replace('Service', 'Servce') },
    ['Route b b', 'Service a 80', 'Service b 80'],
    1,
  ],
  [
    'a reference to nothing',
    { 'b.yaml': `${service('b', 82)}---\n${route('b', 'nope')}` },
    ['Route b b', 'Service a 80', 'Service b 82'],
    1,
  ],
  ['a deleted file', { 'a.yaml': null }, ['Route b b', 'Service b 80'], 0],
  ['a deleted resource', { 'b.yaml': service('b', 80) }, ['Service a 80', 'Service b 80'], 0],
  [
    'a Service deleted under its Route, which keeps its last state',
    { 'b.yaml': route('b', 'b') },
    ['Route b b', 'Service a 80'],
    2,
  ],
  [
    'a moved resource',
    { 'a.yaml': null, 'c.yaml': service('a', 83) },
    ['Route b b', 'Service a 83', 'Service b 80'],
    0,
  ],
  [
    'a new wrong one, which has no last state',
    { 'c.yaml': service('c', 'x') },
    ['Route b b', 'Service a 80', 'Service b 80'],
    1,
  ],
  [
    'a name given twice: both wrong, the last state stays',
    { 'c.yaml': service('a', 90) },
    ['Route b b', 'Service a 80', 'Service b 80'],
    2,
  ],
])('%s', async (_what, edit, expected, problems) => {
  const before = await take([], GOOD);
  expect(shown(before)).toEqual(['Route b b', 'Service a 80', 'Service b 80']);
  const after = await take(before.resources, edit);
  expect(shown(after)).toEqual(expected);
  expect(after.problems.map(({ message }) => message)).toHaveLength(problems);
});

test('a right resource that contradicts the last state of a wrong one waits for it, and is reported', async () => {
  const before = await take([], { 'a.yaml': service('a', 80, 4001) });
  const during = await take(before.resources, { 'a.yaml': service('a', 'x', 4002), 'b.yaml': service('b', 80, 4001) });
  expect(shown(during)).toEqual(['Service a 80']);
  expect(during.problems.map(({ resource }) => resource)).toEqual(['Service/default/a', 'Service/default/b']);
  const after = await take(during.resources, { 'a.yaml': service('a', 81, 4002) });
  expect(shown(after)).toEqual(['Service a 81', 'Service b 80']);
  expect(after.problems).toEqual([]);
});

test.each<[string, Files, [string, boolean][]]>([
  ['a wrong field', { 'a.yaml': service('a', 'x') }, [['Service/default/a', true]]],
  ['a new wrong one', { 'c.yaml': service('c', 'x') }, [['Service/default/c', false]]],
  ['a file that does not parse', { 'b.yaml': 'kind: {Service' }, [['', true]]],
  ['a name that is none', { 'a.yaml': service('A', 80) }, [['Service/default/A', true]]],
  ['a new one with a name that is none', { 'c.yaml': service('C', 80) }, [['Service/default/C', false]]],
  ['a new file that does not parse', { 'c.yaml': 'kind: {Service' }, [['', false]]],
  [
    'a wrong one beside what is kept of another file',
    { 'a.yaml': service('a', 'x'), 'c.yaml': `${service('c', 80)}---\nmetadata: { name: d }\n` },
    [
      ['Service/default/a', true],
      ['', false],
    ],
  ],
])('of %s is said whether its last good state stays', async (_what, edit, expected) => {
  const before = await take([], GOOD);
  const { problems } = await take(before.resources, edit);
  expect(problems.map(({ resource, lastGoodStays }) => [resource, lastGoodStays])).toEqual(expected);
});

test('a directory with more than is read keeps what was in it, which is said', async () => {
  const before = await take([], GOOD);
  const problem = { file: '.', line: 0, column: 0, fieldPath: '', message: 'too many', fix: 'fewer', resource: '' };
  const first = takeGood([], { resources: [], problems: [problem], files: [] });
  const later = takeGood(before.resources, { resources: [], problems: [problem], files: [] });
  expect([first, later].map(({ problems }) => problems[0]?.lastGoodStays)).toEqual([false, true]);
  expect(shown(later)).toEqual(shown(before));
});
