// What a Route does with a request and cannot: filters, timeouts, retries and backends that contradict each other.
import { expect, test } from 'vitest';
import { type Mistake, orders, route, shown } from '../../support/policies.ts';

const CASES: readonly Mistake[] = [
  [
    'header set that is no name',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ requestHeaders: { set: { "x y": a } } }]\n'),
    '11:51 spec.rules[0].filters[0].requestHeaders.set["x y"] | write 1 to 256 letters, digits and -, such as `x-version`',
  ],
  [
    'pseudo header added',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ requestHeaders: { add: { ":authority": a } } }]\n'),
    '11:58 spec.rules[0].filters[0].requestHeaders.add[":authority"] | use a rewrite filter with `host`',
  ],
  [
    'host set',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ requestHeaders: { set: { Host: a } } }]\n'),
    '11:50 spec.rules[0].filters[0].requestHeaders.set.Host | use a rewrite filter with `host`',
  ],
  [
    'framing removed',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ responseHeaders: { remove: [content-length] } }]\n'),
    '11:47 spec.rules[0].filters[0].responseHeaders.remove[0] | remove it',
  ],
  [
    'value that smuggles',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ requestHeaders: { set: { x: "a\\r\\nb: c" } } }]\n'),
    '11:47 spec.rules[0].filters[0].requestHeaders.set.x | remove it',
  ],
  [
    'value with NUL',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ requestHeaders: { set: { x: "a\\0" } } }]\n'),
    '11:47 spec.rules[0].filters[0].requestHeaders.set.x | remove it',
  ],
  [
    'one header twice',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ requestHeaders: { set: { a: "1", A: "2" } } }]\n'),
    '11:55 spec.rules[0].filters[0].requestHeaders.set.A | keep one of the two',
  ],
  [
    'removed and set',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ requestHeaders: { set: { a: "1" }, remove: [A] } }]\n'),
    '11:63 spec.rules[0].filters[0].requestHeaders.remove[0] | leave it out here: `set` replaces what was there',
  ],
  [
    'empty edit',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ requestHeaders: {} }]\n'),
    '11:35 spec.rules[0].filters[0].requestHeaders | add `set`, `add` or `remove`',
  ],
  [
    'two edits',
    route(
      '  hosts: [orders]\n  rules:\n    - filters: [{ requestHeaders: { remove: [a] } }, { requestHeaders: { remove: [b] } }]\n',
    ),
    '11:72 spec.rules[0].filters[1].requestHeaders | put both into one: each filter at most once in a rule',
  ],
  [
    'rewrite beside redirect',
    route(
      '  hosts: [orders]\n  rules:\n    - filters: [{ redirect: { host: a.example } }, { rewrite: { host: b } }]\n',
    ),
    '11:63 spec.rules[0].filters[1].rewrite | remove rewrite, or redirect',
  ],
  [
    'backend beside redirect',
    route(
      '  hosts: [orders]\n  rules:\n    - { filters: [{ redirect: { host: a.example } }], backends: [{ service: orders }] }\n',
    ),
    '11:65 spec.rules[0].backends | remove backends, or redirect',
  ],
  [
    'redirect to another scheme',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ redirect: { scheme: "HTTPS://" } }]\n'),
    '11:39 spec.rules[0].filters[0].redirect.scheme | write `https`',
  ],
  [
    'redirect with two ports',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ redirect: { host: "a.example:81", port: 82 } }]\n'),
    '11:59 spec.rules[0].filters[0].redirect.port | keep one of the two',
  ],
  [
    'rewrite to a URL',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ rewrite: { host: "http://a" } }]\n'),
    '11:36 spec.rules[0].filters[0].rewrite.host | write a name or an address, with a port if need be, and neither scheme nor path',
  ],
  [
    'rewrite without a slash',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ rewrite: { path: { full: a } } }]\n'),
    '11:44 spec.rules[0].filters[0].rewrite.path.full | start it with `/`',
  ],
  [
    'rewrite to a query',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ rewrite: { path: { full: "/a?b" } } }]\n'),
    '11:44 spec.rules[0].filters[0].rewrite.path.full | start it with /, without query, `//`, `.` or `..` segments, and escape other characters as %XX',
  ],
  [
    'rewrite to doubled slashes',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ rewrite: { path: { full: /a//b } } }]\n'),
    '11:44 spec.rules[0].filters[0].rewrite.path.full | write `/a/b`',
  ],
  [
    'timeout beyond timers',
    route('  hosts: [orders]\n  rules:\n    - timeouts: { idle: 9999999s }\n'),
    '11:25 spec.rules[0].timeouts.idle | write a value for `idle` that is less than or equal to 2147483s',
  ],
  [
    'perTry above the default',
    route('  hosts: [orders]\n  rules:\n    - timeouts: { perTry: 20s }\n'),
    '11:27 spec.rules[0].timeouts.perTry | add a longer request, or shorten perTry',
  ],
  [
    'backoff below the default',
    route('  hosts: [orders]\n  rules:\n    - retry: { backoffMax: 0.001s }\n'),
    '11:28 spec.rules[0].retry.backoffMax | add a shorter backoffBase',
  ],
  [
    'retry on nothing',
    route('  hosts: [orders]\n  rules:\n    - retry: { on: [UNSPECIFIED] }\n'),
    '11:21 spec.rules[0].retry.on[0] | write one of CONNECT_FAILURE, GATEWAY_ERROR, RESET, UNAVAILABLE, RATE_LIMITED',
  ],
  [
    'backend twice',
    route(
      '  hosts: [orders]\n  rules:\n    - backends: [{ service: orders }, { service: orders.default, weight: 2 }]\n',
    ),
    '11:39 spec.rules[0].backends[1] | remove one of the two, and add up the weights',
  ],
  [
    'rules of one name',
    `${orders}kind: Route\nmetadata: { name: r }\nspec:\n  hosts: [orders]\n  rules:\n    - { name: a, matches: [{ method: GET }] }\n    - { name: a }\n`,
    '12:15 spec.rules[1].name | give each rule its own name',
  ],
  [
    'Route of opaque TCP',
    'kind: Service\nmetadata: { name: db }\nspec: { ports: [{ port: 80, protocol: TCP }] }\n---\nkind: Route\nmetadata: { name: r }\nspec:\n  hosts: [db]\n  rules: [{}]\n',
    '8:11 spec.hosts[0] | remove it, or correct the protocol of its port',
  ],
  [
    'backend port of opaque TCP',
    `${orders}kind: Service\nmetadata: { name: db }\nspec: { ports: [{ port: 80 }, { port: 81, protocol: TCP }] }\n---\nkind: Route\nmetadata: { name: r }\nspec: { hosts: [orders], rules: [{ backends: [{ service: db, port: 81 }] }] }\n`,
    '12:68 spec.rules[0].backends[0].port | write one of 80',
  ],
  [
    'backend port whose protocol only its receiver detects',
    `${orders}kind: Service\nmetadata: { name: db }\nspec: { ports: [{ port: 80 }, { port: 81, protocol: DETECT }] }\n---\nkind: Route\nmetadata: { name: r }\nspec: { hosts: [orders], rules: [{ backends: [{ service: db, port: 81 }] }] }\n`,
    '12:68 spec.rules[0].backends[0].port | write one of 80',
  ],
  [
    'header removed twice',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ requestHeaders: { remove: [a, A] } }]\n'),
    '11:49 spec.rules[0].filters[0].requestHeaders.remove[1] | remove one of the two',
  ],
  [
    'removed and added',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ requestHeaders: { add: { a: "1" }, remove: [a] } }]\n'),
    '11:63 spec.rules[0].filters[0].requestHeaders.remove[0] | use `set` instead of both',
  ],
  [
    'empty rewrite',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ rewrite: {} }]\n'),
    '11:28 spec.rules[0].filters[0].rewrite | add `host` or `path`, or remove it',
  ],
  [
    'header edit beside redirect',
    route(
      '  hosts: [orders]\n  rules:\n    - filters: [{ redirect: { host: a.example } }, { responseHeaders: { remove: [a] } }]\n',
    ),
    '11:71 spec.rules[0].filters[1].responseHeaders | remove responseHeaders, or redirect',
  ],
  [
    'retry that never happens',
    route('  hosts: [orders]\n  rules:\n    - retry: { attempts: 0, on: [RESET] }\n'),
    '11:33 spec.rules[0].retry.on | raise attempts, or remove on',
  ],
];

test.each(CASES)('%s is shown where it is, with a fix', async (_what, text, ...expected) => {
  expect(await shown(text)).toEqual(expected);
});
