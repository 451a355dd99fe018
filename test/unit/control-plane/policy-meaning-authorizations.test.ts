// Authorizations whose rules can never decide, or decide what was not meant.
import { expect, test } from 'vitest';
import { allow, type Mistake, shown } from '../../support/policies.ts';

const CASES: readonly Mistake[] = [
  [
    'method that is no token',
    allow('  action: ALLOW\n  rules: [{ to: [{ methods: ["get it"] }] }]\n'),
    '10:30 spec.rules[0].to[0].methods[0] | write one method, such as `GET`; for any, leave methods out',
  ],
  [
    'method in lower case',
    allow('  action: DENY\n  rules: [{ to: [{ methods: [delete] }] }]\n'),
    '10:30 spec.rules[0].to[0].methods[0] | write `DELETE`',
  ],
  [
    'port of no target',
    allow('  action: ALLOW\n  rules: [{ to: [{ ports: [9999] }] }]\n'),
    '10:28 spec.rules[0].to[0].ports[0] | write one of 80',
  ],
  [
    'port out of range',
    allow('  action: ALLOW\n  rules: [{ to: [{ ports: [0] }] }]\n'),
    '10:28 spec.rules[0].to[0].ports[0] | write a value for `ports` that is greater than or equal to 1 and less than or equal to 65535',
  ],
  [
    'path that never comes',
    allow('  action: DENY\n  rules: [{ to: [{ paths: [{ exact: /a/../b }] }] }]\n'),
    '10:37 spec.rules[0].to[0].paths[0].exact | write `/b`',
  ],
  [
    'path prefix without a slash',
    allow('  action: DENY\n  rules: [{ to: [{ paths: [{ prefix: admin }] }] }]\n'),
    '10:38 spec.rules[0].to[0].paths[0].prefix | write `/admin`',
  ],
  [
    'path suffix with a query',
    allow('  action: DENY\n  rules: [{ to: [{ paths: [{ suffix: "?debug" }] }] }]\n'),
    '10:38 spec.rules[0].to[0].paths[0].suffix | remove what begins with "?"',
  ],
  [
    'path expression that is no path',
    allow('  action: DENY\n  rules: [{ to: [{ paths: [{ regex: "admin.*" }] }] }]\n'),
    '10:37 spec.rules[0].to[0].paths[0].regex | write `/admin.*`',
  ],
  [
    'port without its Service',
    allow('  action: DENY\n  targetRefs: [{ sectionName: port-80 }]\n'),
    '10:31 spec.targetRefs[0].sectionName | add `name`, the Service of the port',
  ],
  [
    'target twice',
    allow('  action: DENY\n  targetRefs: [{ name: orders }, { name: orders }]\n'),
    '10:34 spec.targetRefs[1] | remove one of the two',
  ],
  [
    'rules of one name, one of them by its place',
    allow('  action: DENY\n  rules: [{ name: rule-1, to: [{ methods: [GET] }] }, { to: [{ methods: [PUT] }] }]\n'),
    '10:19 spec.rules[0].name | give each rule its own name',
  ],
  [
    'words of HTTP on opaque TCP',
    'kind: Service\nmetadata: { name: db }\nspec: { ports: [{ port: 80, protocol: TCP }] }\n---\nkind: Authorization\nmetadata: { name: a }\nspec:\n  action: ALLOW\n  rules: [{ to: [{ methods: [GET], paths: [{ exact: / }] }] }]\n',
    '9:29 spec.rules[0].to[0].methods | remove `methods`',
    '9:43 spec.rules[0].to[0].paths | remove `paths`',
  ],
  [
    'port of another section',
    allow(
      '  action: DENY\n  targetRefs: [{ name: orders, sectionName: port-80 }]\n  rules: [{ to: [{ ports: [81] }] }]\n',
    ),
    '11:28 spec.rules[0].to[0].ports[0] | write one of 80',
  ],
];

test.each(CASES)('%s is shown where it is, with a fix', async (_what, text, ...expected) => {
  expect(await shown(text)).toEqual(expected);
});
