// Matches of a Route that no request can meet, or that meet what was not meant.
import { expect, test } from 'vitest';
import { type Mistake, route, shown } from '../../support/policies.ts';

const CASES: readonly Mistake[] = [
  [
    'header name in a match',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ headers: [{ name: "x y", value: { present: true } }] }]\n'),
    '11:37 spec.rules[0].matches[0].headers[0].name | write 1 to 256 letters, digits and -, such as `x-version`',
  ],
  [
    'pseudo header in a match',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ headers: [{ name: ":path", value: { present: true } }] }]\n'),
    '11:37 spec.rules[0].matches[0].headers[0].name | match `path`',
  ],
  [
    'host as a header',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ headers: [{ name: Host, value: { present: true } }] }]\n'),
    '11:37 spec.rules[0].matches[0].headers[0].name | name the host under `hosts`',
  ],
  [
    'header of the connection',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ headers: [{ name: Upgrade, value: { present: true } }] }]\n'),
    '11:37 spec.rules[0].matches[0].headers[0].name | remove it',
  ],
  [
    'header value with a line feed',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ headers: [{ name: x, value: { exact: "a\\nb" } }] }]\n'),
    '11:56 spec.rules[0].matches[0].headers[0].value.exact | remove it',
  ],
  [
    'header value with space before',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ headers: [{ name: x, value: { prefix: " a" } }] }]\n'),
    '11:57 spec.rules[0].matches[0].headers[0].value.prefix | remove the white space',
  ],
  [
    'header value beyond Latin-1',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ headers: [{ name: x, value: { suffix: "€" } }] }]\n'),
    '11:57 spec.rules[0].matches[0].headers[0].value.suffix | escape it, for example as %XX',
  ],
  [
    'one header, two values',
    route(
      '  hosts: [orders]\n  rules:\n    - matches: [{ headers: [{ name: x, value: { exact: a } }, { name: X, value: { exact: b } }] }]\n',
    ),
    '11:63 spec.rules[0].matches[0].headers[1] | write a match for each value; any of them is enough',
  ],
  [
    'query with a question mark',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ query: [{ name: "?a", value: { present: true } }] }]\n'),
    '11:35 spec.rules[0].matches[0].query[0].name | write it without "?"',
  ],
  [
    'query with its value',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ query: [{ name: "a=b", value: { present: true } }] }]\n'),
    '11:35 spec.rules[0].matches[0].query[0].name | write what follows "=" under `value`',
  ],
  [
    'query that is escaped',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ query: [{ name: "a%20b", value: { present: true } }] }]\n'),
    '11:35 spec.rules[0].matches[0].query[0].name | write the character instead of %XX',
  ],
  [
    'path with a query',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ path: { exact: "/a?x=1" } }]\n'),
    '11:34 spec.rules[0].matches[0].path.exact | remove what begins with "?"',
  ],
  [
    'path that is not normalized',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ path: { prefix: /a/../b } }]\n'),
    '11:35 spec.rules[0].matches[0].path.prefix | write `/b`',
  ],
  [
    'path expression that is no path',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ path: { regex: "orders/.*" } }]\n'),
    '11:34 spec.rules[0].matches[0].path.regex | write `/orders/.*`',
  ],
  [
    'method in lower case',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ method: get }]\n'),
    '11:27 spec.rules[0].matches[0].method | write it in capitals, such as `GET`',
  ],
  [
    'gRPC service as a path',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ grpc: { service: shop.v1/Orders } }]\n'),
    '11:36 spec.rules[0].matches[0].grpc.service | write package and service, such as `shop.v1.Orders`',
  ],
  [
    'gRPC method with its service',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ grpc: { method: shop.v1.Orders.Get } }]\n'),
    '11:35 spec.rules[0].matches[0].grpc.method | write `Get`',
  ],
  [
    'prefixes that tie but for a slash',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ path: { prefix: /a } }, { path: { prefix: /a/ } }]\n'),
    '11:43 spec.rules[0].matches[1] | make one of the two more specific, or remove it',
  ],
  [
    'parameter twice',
    route(
      '  hosts: [orders]\n  rules:\n    - matches: [{ query: [{ name: a, value: { exact: b } }, { name: a, value: { exact: b } }] }]\n',
    ),
    '11:61 spec.rules[0].matches[0].query[1] | remove one of the two',
  ],
];

test.each(CASES)('%s is shown where it is, with a fix', async (_what, text, ...expected) => {
  expect(await shown(text)).toEqual(expected);
});
