// What comes close to a mistake in a policy and is none: the check refuses only what is certain.
import { expect, test } from 'vitest';
import { allow, orders, provider, read, route, service } from '../../support/policies.ts';

const tcp = 'ports: [{ port: 80, protocol: TCP }, { port: 81 }]';
const local = (namespace: string) =>
  `kind: Service\nmetadata: { name: s, namespace: ${namespace} }\nspec: { ports: [{ port: 80 }], localPort: 4001 }\n---\n`;

/** What comes close to a mistake and is none. */
const GOOD: readonly (readonly [string, string])[] = [
  ['a method of its own', allow('  action: ALLOW\n  rules: [{ to: [{ methods: [purge, M-SEARCH] }] }]\n')],
  [
    'parts of paths',
    allow(
      '  action: DENY\n  rules: [{ to: [{ paths: [{ prefix: /a/. }, { suffix: .json }, { prefix: "/%E3%8" }] }] }]\n',
    ),
  ],
  [
    'an expression with both anchors',
    allow('  action: DENY\n  rules: [{ to: [{ paths: [{ regex: "^/a|/b$" }] }] }]\n'),
  ],
  [
    'words of HTTP where one port speaks it',
    `kind: Service\nmetadata: { name: s }\nspec: { ${tcp} }\n---\nkind: Authorization\nmetadata: { name: a }\nspec: { action: ALLOW, rules: [{ to: [{ methods: [GET] }] }] }\n`,
  ],
  [
    'CONNECT to opaque TCP',
    `kind: Service\nmetadata: { name: s }\nspec: { ${tcp} }\n---\nkind: Authorization\nmetadata: { name: a }\nspec: { action: ALLOW, rules: [{ to: [{ methods: [CONNECT], ports: [80] }] }] }\n`,
  ],
  ['one port in the clear', service('  ports: [{ port: 80, tls: OFF }, { port: 81, tls: SIMPLE }]\n')],
  [
    'ports in the clear outside of the mesh',
    service('  ports: [{ port: 80, tls: OFF }, { port: 81, tls: OFF, protocol: TCP }]\n  dns: { host: a.example }\n'),
  ],
  ['a local port of two Services that nobody has both', local('one') + local('two')],
  [
    'a header by beginning and end',
    route(
      '  hosts: [orders]\n  rules: [{ matches: [{ headers: [{ name: x, value: { prefix: "a " } }, { name: x, value: { suffix: " é" } }] }] }]\n',
    ),
  ],
  [
    'te, which gRPC sends',
    route('  hosts: [orders]\n  rules: [{ matches: [{ headers: [{ name: TE, value: { exact: trailers } }] }] }]\n'),
  ],
  [
    'one header set and another added',
    route(
      '  hosts: [orders]\n  rules: [{ filters: [{ requestHeaders: { set: { a: "1" }, add: { a: "2" }, remove: [b] } }] }]\n',
    ),
  ],
  [
    'a redirect with its status',
    route(
      '  hosts: [orders]\n  rules: [{ filters: [{ redirect: { scheme: https, host: a.example, port: 8443, status: 308 } }] }]\n',
    ),
  ],
  [
    'a Provider on loopback that is not the sidecar',
    provider(
      '  baseUrl: http://localhost:15005/v1/\n---\nkind: Model\nmetadata: { name: m }\nspec: { targets: [{ provider: p, model: m }] }\n',
    ),
  ],
  [
    'a target that gets nothing',
    provider(
      '  baseUrl: http://localhost:15004/v1\n---\nkind: Model\nmetadata: { name: m }\nspec: { targets: [{ provider: p, model: m, weight: 0 }, { provider: p, model: x }] }\n',
    ),
  ],
  ['no timeout', route('  hosts: [orders]\n  rules: [{ timeouts: { request: 0s, perTry: 60s, idle: 0s } }]\n')],
  [
    'a target that waits for its Services',
    'kind: Authorization\nmetadata: { name: a }\nspec: { action: ALLOW, rules: [{ to: [{ ports: [80] }] }] }\n',
  ],
];

test.each(GOOD)('%s is no mistake', async (_what, text) => {
  expect((await read({ 'p.yaml': text })).problems).toEqual([]);
});

test('what a broken Service may yet get is no mistake of those that name it', async () => {
  const text = `${service('  ports: [{ port: x }]\n')}---\n${orders}kind: Route\nmetadata: { name: r }\nspec: { hosts: [orders], rules: [{ backends: [{ service: s, port: 81 }] }] }\n---\nkind: Authorization\nmetadata: { name: a }\nspec: { action: ALLOW, targetRefs: [{ name: s, sectionName: http }], rules: [{ to: [{ ports: [81] }] }] }\n---\nkind: Authorization\nmetadata: { name: b }\nspec: { action: ALLOW, rules: [{ to: [{ ports: [81] }] }] }\n`;
  expect((await read({ 'p.yaml': text })).problems.map((p) => p.resource)).toEqual(['Service/default/s']);
});
