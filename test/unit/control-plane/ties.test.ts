// Which rules tie: none is more specific, and one request can match both.
import { expect, test } from 'vitest';
import { orders, read } from '../../support/policies.ts';

const routeOf = (name: string, ...rules: string[]) =>
  `kind: Route\nmetadata: { name: ${name} }\nspec:\n  hosts: [orders]\n  rules:\n${rules.map((one) => `    - ${one}\n`).join('')}---\n`;
const matching = (match: string, rest = '') => `{ matches: [{ ${match} }]${rest} }`;
const header = (name: string, value = 'exact: "1"') => `headers: [{ name: ${name}, value: { ${value} } }]`;
const query = (name: string, value = 'exact: "1"') => `query: [{ name: ${name}, value: { ${value} } }]`;

/** Each as `resource field | message | fix`. */
async function ties(...routes: string[]): Promise<string[]> {
  const { problems } = await read({ 'a.yaml': `${orders}${routes.join('')}` });
  return problems
    .filter(({ message }) => message.startsWith('ties'))
    .map(({ resource, fieldPath, message, fix }) => `${resource} ${fieldPath} | ${message} | ${fix}`);
}

test.each([
  ['two headers', header('h'), header('g')],
  ['two query parameters', query('a'), query('b')],
  ['one header, prefix and suffix', header('h', 'prefix: a'), header('h', 'suffix: b')],
  ['one header, a prefix of the other', header('h', 'prefix: a'), header('h', 'prefix: ab')],
  ['one header, present and exact', header('h', 'present: true'), header('h')],
  ['one header, exact and regex', header('h', 'exact: ab'), header('h', 'regex: a.')],
  ['two regexes of a header', header('h', 'regex: a.*'), header('h', 'regex: .*b')],
  ['methods and a header each', `method: GET, ${header('h')}`, `method: GET, ${header('g')}`],
  [
    'the same prefix, written differently',
    `path: { prefix: /a/ }, ${header('h')}`,
    `path: { prefix: /a }, ${header('g')}`,
  ],
  ['gRPC and its path', 'grpc: { service: a.B, method: C }', 'method: POST, path: { exact: /a.B/C }'],
  ['gRPC of any service', `grpc: { method: C }, ${header('h')}`, `grpc: { method: C }, ${header('g')}`],
])('rules of two Routes tie: %s', async (_what, one, other) => {
  expect(await ties(routeOf('r', matching(one)), routeOf('s', matching(other)))).toEqual([
    'Route/default/s spec.rules[0].matches[0] | ties with spec.rules[0] of Route/default/r (a.yaml:11) on host default/orders: one request can match both, and neither is more specific | make one of the two more specific, or put both into one Route, where the first rule wins',
  ]);
  // Within one Route the order decides.
  expect(await ties(routeOf('r', matching(one), matching(other)))).toEqual([]);
});

test.each([
  ['values of one header', header('h'), header('H', 'exact: "2"')],
  ['values of one parameter', query('a'), query('a', 'exact: "2"')],
  ['exact and another prefix', header('h', 'exact: ab'), header('h', 'prefix: b')],
  ['exact and regex', header('h', 'exact: ab'), header('h', 'regex: b.*')],
  ['two prefixes', header('h', 'prefix: ab'), header('h', 'prefix: ac')],
  ['two suffixes', header('h', 'suffix: ab'), header('h', 'suffix: cb')],
  ['methods', `method: GET, ${header('h')}`, `method: POST, ${header('g')}`],
  ['gRPC and another method', 'grpc: { service: a.B, method: C }', 'method: GET, path: { exact: /a.B/C }'],
  ['a header more', header('h'), `headers: [{ name: a, value: { exact: b } }, { name: c, value: { exact: d } }]`],
  ['a header and a parameter', header('h'), query('a')],
  ['paths', `path: { exact: /a }, ${header('h')}`, `path: { prefix: /a }, ${header('g')}`],
  ['two regexes of a path', 'path: { regex: /a.* }', 'path: { regex: /.*b }'],
])('rules of two Routes do not tie: %s', async (_what, one, other) => {
  expect(await ties(routeOf('r', matching(one)), routeOf('s', matching(other)))).toEqual([]);
});

const TIE = [
  'Route/default/r spec.rules[1].matches[0] | ties with spec.rules[0] of Route/default/r (a.yaml:11) on host default/orders | make one of the two more specific, or remove it',
];

test.each([
  ['a duration', 'timeouts: { request: 5 }'],
  ['an unknown field of a filter', 'filters: [{ requestHeaders: { st: { a: b } } }]'],
  ['a backend that is not there', 'backends: [{ service: nobody }]'],
])('a tie shows beside another mistake: %s', async (_what, mistake) => {
  const path = 'path: { exact: /a }';
  expect(await ties(routeOf('r', matching(path, `, ${mistake}`), matching(path)))).toEqual(TIE);
});

test.each([
  ['a misspelt list of matches', '{ matchs: [{ method: GET }] }'],
  ['a misspelt match', matching('pth: { exact: /a }')],
])('what a rule matches is not known: %s', async (_what, rule) => {
  expect(await ties(routeOf('r', rule, '{}'))).toEqual([]);
});

test('of two Routes that tie, the one that has another mistake is blamed, and the other lives', async () => {
  const broken = routeOf('r', '{ timeouts: { request: 5 } }');
  const { problems, resources } = await read({ 'a.yaml': `${orders}${broken}${routeOf('s', '{}')}` });
  expect(problems.map(({ resource }) => resource)).toEqual(['Route/default/r', 'Route/default/r']);
  expect(resources.map(({ name }) => name)).toEqual(['orders', 's']);
});

test('a circle shows beside another mistake, unless that may decide where a redirect leads', async () => {
  const circle = (rest: string) =>
    routeOf(
      'r',
      `{ filters: [{ redirect: { path: { full: /a } } }${rest.startsWith('{') ? `, ${rest}` : ''}]${rest.startsWith(',') ? rest : ''} }`,
    );
  const found = async (rest: string) =>
    (await read({ 'a.yaml': `${orders}${circle(rest)}` })).problems.filter(({ message }) =>
      message.includes('for ever'),
    );
  expect(await found(', timeouts: { request: 5 }')).toHaveLength(1);
  expect(await found('{ requestHeaders: { st: {} } }')).toEqual([]);
});
