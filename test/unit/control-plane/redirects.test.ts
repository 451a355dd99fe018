// Redirects that lead back: found over any number of Routes, and only where it is certain that a client goes round.
import { expect, test } from 'vitest';
import { check } from '../../../control-plane/model/check.ts';
import { decodeDocument } from '../../../control-plane/source/decode.ts';
import { parseDocuments } from '../../../control-plane/source/yaml.ts';

const service = (name: string, namespace: string) =>
  `kind: Service\nmetadata: { name: ${name}, namespace: ${namespace} }\nspec: { ports: [{ port: 80 }, { port: 8080 }] }\n---\n`;
const SERVICES = service('a', 'default') + service('b', 'default') + service('c', 'default') + service('a', 'web');

/** One Route of one host; each rule as `match -> redirect`, in flow style. */
function route(name: string, host: string, ...rules: (readonly [match: string, redirect: string | null])[]): string {
  const [namespace = '', short = ''] = name.includes('/') ? name.split('/') : ['default', name];
  const written = rules.map(([match, redirect]) => {
    const filters = redirect === null ? '' : `, filters: [{ redirect: ${redirect} }]`;
    return `    - { ${match === '' ? '' : `matches: [${match}]`}${filters} }`.replace('{ ,', '{');
  });
  return `kind: Route\nmetadata: { name: ${short}, namespace: ${namespace} }\nspec:\n  hosts: [${host}]\n  rules:\n${written.join('\n')}\n---\n`;
}

function problems(...routes: string[]): string[] {
  const decoded = parseDocuments('p.yaml', SERVICES + routes.join('')).documents.map(decodeDocument);
  expect(decoded.flatMap((d) => d.problems)).toEqual([]);
  const { problems: found } = check(
    decoded.flatMap((d) => d.resource ?? []),
    new Set(),
  );
  return found.map((p) => `${p.resource} ${p.fieldPath}: ${p.message.replace(/ \(with .*\)$/, '')}`).sort();
}

const exact = (path: string) => `{ path: { exact: ${path} } }`;
const prefix = (path: string) => `{ path: { prefix: ${path} } }`;
const to = (host: string, path = '') => `{ host: ${host}${path === '' ? '' : `, path: { full: ${path} }`} }`;
const full = (path: string) => `{ path: { full: ${path} } }`;
const FIRST = 'spec.rules[0].filters[0].redirect';
const SECOND = 'spec.rules[1].filters[0].redirect';

const CYCLES: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  [
    'one rule to its own path',
    [route('r', 'a', [exact('/x'), full('/x')])],
    [`Route/default/r ${FIRST}: redirects a request to itself, for ever (a/x → a/x)`],
  ],
  [
    'one rule to a path below its prefix, ever deeper',
    [route('r', 'a', [prefix('/x'), '{ path: { prefix: /x/y } }'])],
    [`Route/default/r ${FIRST}: redirects more than 20 times: a/x → a/x/y → a/x/y/y → a/x/y/y/y → …`],
  ],
  [
    'one rule that changes nothing, whatever it asks for',
    [route('r', 'a', ['{ headers: [{ name: x, value: { present: true } }] }', to('a.default.mesh')])],
    [`Route/default/r ${FIRST}: redirects a request to itself, for ever`],
  ],
  [
    'one expression that matches its own target',
    [route('r', 'a', ['{ path: { regex: "/x/.*" } }', full('/x/y')])],
    [`Route/default/r ${FIRST}: redirects a request to itself, for ever (a/x/y → a/x/y)`],
  ],
  [
    'to another port of the same Service, which has the same rules',
    [route('r', 'a', ['', '{ port: 8080 }'])],
    [`Route/default/r ${FIRST}: redirects a request to itself, for ever`],
  ],
  [
    'two rules of one Route',
    [route('r', 'a', [exact('/x'), full('/y')], [exact('/y'), full('/x')])],
    [
      `Route/default/r ${FIRST}: redirects in a circle: a/x → a/y → a/x`,
      `Route/default/r ${SECOND}: redirects in a circle: a/y → a/x → a/y`,
    ],
  ],
  [
    'two Routes',
    [route('r', 'a', ['', to('b', '/y')]), route('s', 'b', [prefix('/y'), to('a', '/x')])],
    [
      `Route/default/r ${FIRST}: redirects in a circle: a/x → b/y → a/x`,
      `Route/default/s ${FIRST}: redirects in a circle: b/y → a/x → b/y`,
    ],
  ],
  [
    'three Routes, by replaced prefixes',
    [
      route('r', 'a', [prefix('/x'), '{ host: b.default, path: { prefix: /y } }']),
      route('s', 'b', [prefix('/y'), '{ host: c, path: { prefix: /z/ } }']),
      route('t', 'c', [prefix('/z'), '{ scheme: http, host: "a:80", path: { prefix: /x } }']),
    ],
    [
      `Route/default/r ${FIRST}: redirects in a circle: a/x → b/y → c/z → a/x`,
      `Route/default/s ${FIRST}: redirects in a circle: b/y → c/z → a/x → b/y`,
      `Route/default/t ${FIRST}: redirects in a circle: c/z → a/x → b/y → c/z`,
    ],
  ],
  [
    'only below the prefix, where an exact rule takes the prefix itself',
    [
      route('r', 'a', [prefix('/x'), '{ path: { prefix: /y } }'], [exact('/x'), null]),
      route('s', 'a', [prefix('/y'), '{ path: { prefix: /x } }']),
    ],
    [
      `Route/default/r ${FIRST}: redirects in a circle: a/x/any → a/y/any → a/x/any`,
      `Route/default/s ${FIRST}: redirects in a circle: a/y/any → a/x/any → a/y/any`,
    ],
  ],
  [
    'a POST that stays one',
    [route('r', 'a', ['{ method: POST }', '{ status: 307, path: { full: /x } }'])],
    [`Route/default/r ${FIRST}: redirects a request to itself, for ever (a/x → a/x)`],
  ],
  [
    'a tail that leads into a cycle is no part of it',
    [route('r', 'a', [exact('/t'), full('/x')], [exact('/x'), full('/x')])],
    [`Route/default/r ${SECOND}: redirects a request to itself, for ever (a/x → a/x)`],
  ],
  [
    "for callers whose own Route replaces that of the Service's namespace",
    [route('web/r', 'b.default', ['', to('c.default')]), route('s', 'c', ['', to('b.default')])],
    [
      `Route/web/r ${FIRST}: redirects in a circle: b.default/ → c.default/ → b.default/`,
      `Route/default/s ${FIRST}: redirects in a circle: c/ → b/ → c/`,
    ],
  ],
];

test.each(CYCLES)('%s', (_what, routes, expected) => {
  expect(problems(...routes)).toEqual([...expected].sort());
});

const HARMLESS: readonly (readonly [string, ...string[]])[] = [
  [
    'a rule of the same path that asks for a method and comes first',
    route('r', 'a', [exact('/x'), full('/x')], ['{ path: { exact: /x }, method: GET }', null]),
  ],
  ['another path', route('r', 'a', [exact('/x'), full('/y')])],
  ['a sibling that only begins alike', route('r', 'a', [prefix('/x'), full('/xy')])],
  ['another host without Routes', route('r', 'a', ['', to('b')])],
  ['a host outside the mesh', route('r', 'a', ['', to('a.example.com')])],
  ['an upgrade to https', route('r', 'a', ['', '{ scheme: https }'])],
  ['a port that the Service does not have', route('r', 'a', ['', '{ port: 9090 }'])],
  ['a prefix that gets shorter', route('r', 'a', [prefix('/x'), '{ path: { prefix: / } }'])],
  ['a more specific rule that ends it', route('r', 'a', ['', full('/x')], [exact('/x'), null])],
  ['a longer prefix that ends it', route('r', 'a', [prefix('/x'), full('/x/y/z')], [prefix('/x/y'), null])],
  [
    'a header that the second request may lack',
    route('r', 'a', ['{ headers: [{ name: x, value: { present: true } }] }', full('/x')]),
  ],
  [
    'a header that the second request may have',
    route('r', 'a', ['', full('/x')], ['{ headers: [{ name: cookie, value: { present: true } }] }', null]),
    route('s', 'a', ['{ path: { exact: /x }, headers: [{ name: cookie, value: { present: true } }] }', null]),
  ],
  [
    'a query that the second request does not have',
    route('r', 'a', ['{ query: [{ name: q, value: { present: true } }] }', full('/x')]),
  ],
  ['a POST that becomes a GET', route('r', 'a', ['{ method: POST }', '{ status: 303, path: { full: /x } }'])],
  ["a bare name that is the caller's own Service", route('web/r', 'a.default', ['', to('a')])],
];

test.each(HARMLESS)('no cycle: %s', (_what, ...routes) => {
  expect(problems(...routes)).toEqual([]);
});

test('what a Route with mistakes of its own would answer is not known', () => {
  const broken = route('s', 'a', [exact('/z'), full('/a//b')]);
  const half = route('r', 'a', [exact('/x'), full('/y')]) + route('t', 'a', [exact('/y'), full('/x')]);
  expect(problems(half)).toHaveLength(2);
  expect(problems(half, broken).filter((p) => p.includes('circle'))).toEqual([]);
});
