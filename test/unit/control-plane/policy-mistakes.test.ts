// Every kind of mistake in a policy file, as a table: where it is shown, in which field, and what fix is offered.
// What is well-formed and means nothing, or something else, is in policy-meaning-*.test.ts.
import { expect, test } from 'vitest';
import { allow, type Mistake, model, orders, provider, read, route, service, shown } from '../../support/policies.ts';

const CASES: readonly Mistake[] = [
  ['unknown kind', 'kind: Srv\n', '1:7 kind | write one of Service, Route, Authorization, Provider, Model, Telemetry'],
  [
    'misspelt kind: the rest is read as the kind that was meant',
    'kind: Servce\nmetadata: { name: s }\nspec: { prts: [{ port: 80 }] }\n',
    '1:7 kind | write `Service`',
    '3:9 spec.prts | write `ports`',
  ],
  [
    'misspelt kind: what refers to it is right',
    'kind: service\nmetadata: { name: s }\nspec: { ports: [{ port: 80 }] }\n---\nkind: Route\nmetadata: { name: r }\nspec: { hosts: [s], rules: [{}] }\n',
    '1:7 kind | write `Service`',
  ],
  [
    'a map for the kind',
    'kind: {}\n',
    '1:7 kind | write one of Service, Route, Authorization, Provider, Model, Telemetry',
  ],
  ['no kind', 'metadata: {}\n', '1:1 kind | write one of Service, Route, Authorization, Provider, Model, Telemetry'],
  ['wrong version', `apiVersion: weft/v2\n${orders}`, '1:13 apiVersion | write `apiVersion: weft/v1`'],
  ['not a map', '- a\n', '1:1  | start it with `kind: Service`'],
  ['unknown field', service('  ports: [{ port: 80 }]\n  localprt: 1\n'), '5:3 spec.localprt | write `localPort`'],
  ['unknown nested field', service('  ports:\n    - prot: 80\n'), '5:7 spec.ports[0].prot | write `port`'],
  ['text for a number', service('  ports: [{ port: "http" }]\n'), '4:19 spec.ports[0].port | write a number'],
  ['number for text', service('  ports: [{ port: 80, name: 80 }]\n'), '4:29 spec.ports[0].name | quote it: "80"'],
  ['map for a list', service('  ports: { port: 80 }\n'), '4:10 spec.ports | start each item with `- `'],
  [
    'port too large',
    service('  ports: [{ port: 65536 }]\n'),
    '4:19 spec.ports[0].port | write a value for `port` that is greater than or equal to 1 and less than or equal to 65535',
  ],
  ['negative number', service('  ports: [{ port: -1 }]\n'), '4:19 spec.ports[0].port | write a number from 1 to 65535'],
  [
    'negative number where 0 means something',
    service('  ports: [{ port: 80 }]\n  localPort: -1\n'),
    '5:14 spec.localPort | write a number from 0 to 65535',
  ],
  [
    'negative number without a rule',
    service('  ports: [{ port: 80 }]\n  outlierDetection: { consecutiveFailures: -1 }\n'),
    '5:44 spec.outlierDetection.consecutiveFailures | write a number from 0 to 4294967295',
  ],
  [
    'a label that is no text: whether two backends are the same is not known',
    route(
      '  hosts: [orders]\n  rules:\n    - backends:\n        - { service: orders }\n        - { service: orders, labels: { v: 2 } }\n',
    ),
    '13:43 spec.rules[0].backends[1].labels.v | quote it: "2"',
  ],
  [
    'a URL without its beginning',
    provider('  baseUrl: api.example.com\n'),
    '5:12 spec.baseUrl | write a whole URL, such as https://api.example.com/v1',
  ],
  [
    'a variable that is none',
    provider('  baseUrl: https://h/v1\n  apiKey: { env: 9A }\n'),
    '6:18 spec.apiKey.env | write the name of a variable: letters, digits and _, with no digit first',
  ],
  [
    'a TLS version for sidecars',
    service('  ports: [{ port: 80, minTlsVersion: V1_3 }]\n'),
    '4:38 spec.ports[0].minTlsVersion | remove it, or write `tls: SIMPLE`',
  ],
  [
    'a TLS version that is none',
    service(
      '  ports: [{ port: 80, tls: SIMPLE, minTlsVersion: "1.2" }]\n  static: { endpoints: [{ address: 10.0.0.1 }] }\n',
    ),
    '4:51 spec.ports[0].minTlsVersion | write one of V1_2, V1_3',
  ],
  ['bad enum', service('  ports: [{ port: 80, protocol: GRCP }]\n'), '4:33 spec.ports[0].protocol | write `GRPC`'],
  ['lower-case enum', service('  ports: [{ port: 80, tls: mutual }]\n'), '4:28 spec.ports[0].tls | write `MUTUAL`'],
  [
    'duration in ms',
    service('  ports: [{ port: 80 }]\n  connectionPool:\n    connectTimeout: 250ms\n'),
    '6:21 spec.connectionPool.connectTimeout | write `0.25s`',
  ],
  [
    'duration as number',
    service('  ports: [{ port: 80 }]\n  connectionPool: { connectTimeout: 5 }\n'),
    '5:37 spec.connectionPool.connectTimeout | write `5s`',
  ],
  [
    'map for a duration',
    service('  ports: [{ port: 80 }]\n  connectionPool: { connectTimeout: {} }\n'),
    '5:37 spec.connectionPool.connectTimeout | write seconds with an s, such as `1.5s`',
  ],
  [
    'two of a oneof',
    service('  ports: [{ port: 80 }]\n  workloads: {}\n  dns: { host: a.example }\n'),
    '6:3 spec.dns | keep one of workloads, static, dns',
  ],
  [
    'bad address',
    service('  ports: [{ port: 80 }]\n  static: { endpoints: [{ address: nope }] }\n'),
    '5:36 spec.static.endpoints[0].address | write an IPv4 or IPv6 address; a name belongs under `dns`',
  ],
  [
    'missing list',
    'kind: Service\nmetadata: { name: s }\nspec: {}\n',
    '3:7 spec.ports | list at least one under `ports`',
  ],
  ['missing spec', 'kind: Service\nmetadata: { name: s }\n', '1:1 spec | add `spec`'],
  [
    'bad name',
    'kind: Service\nmetadata: { name: Big_One }\nspec: { ports: [{ port: 1 }] }\n',
    '2:19 metadata.name | use lower-case letters, digits and -, with a letter or digit at both ends',
  ],
  [
    'duplicate key',
    service('  ports: [{ port: 80 }]\n  ports: [{ port: 81 }]\n'),
    '5:3 spec.ports | keep one of the two',
  ],
  [
    'merge key',
    service('  ports: [{ port: 80, <<: { tls: OFF } }]\n'),
    '4:23 spec.ports[0]["<<"] | write the fields out',
  ],
  ['syntax', 'kind: [Service\n', '2:1  | correct the syntax: is the indentation right?'],
  [
    'port name clash',
    service('  ports: [{ port: 80, name: a }, { port: 81, name: a }]\n'),
    '4:52 spec.ports[1].name | give each port its own name',
  ],
  [
    'port number clash',
    service('  ports: [{ port: 80, name: a }, { port: 80, name: b }]\n'),
    '4:42 spec.ports[1].port | give each port its own number',
  ],
  ['unknown host', route('  hosts: [ordres]\n  rules: [{}]\n'), '9:11 spec.hosts[0] | write `orders`'],
  [
    'unknown backend',
    route('  hosts: [orders]\n  rules:\n    - backends: [{ service: order }]\n'),
    '11:29 spec.rules[0].backends[0].service | write `orders`',
  ],
  [
    'unknown backend port',
    route('  hosts: [orders]\n  rules:\n    - backends: [{ service: orders, port: 81 }]\n'),
    '11:43 spec.rules[0].backends[0].port | write one of 80',
  ],
  [
    'weights of 0',
    route('  hosts: [orders]\n  rules:\n    - backends: [{ service: orders, weight: 0 }]\n'),
    '11:17 spec.rules[0].backends | give one backend a weight above 0',
  ],
  [
    'tie',
    route(
      '  hosts: [orders]\n  rules:\n    - matches: [{ path: { exact: /a } }]\n    - matches: [{ path: { exact: /a } }]\n',
    ),
    '12:17 spec.rules[1].matches[0] | make one of the two more specific, or remove it',
  ],
  [
    'redirect to itself',
    route('  hosts: [orders]\n  rules:\n    - filters: [{ redirect: { host: orders.default.mesh } }]\n'),
    '11:29 spec.rules[0].filters[0].redirect | redirect to another host, or to a path that the rule does not match',
  ],
  [
    'grpc beside method',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ grpc: {}, method: GET }]\n'),
    '11:17 spec.rules[0].matches[0] | remove path and method, or grpc',
  ],
  [
    'unsafe regex',
    route('  hosts: [orders]\n  rules:\n    - matches: [{ path: { regex: "/(?=a)" } }]\n'),
    '11:34 spec.rules[0].matches[0].path.regex | use a second match, or an inverted one',
  ],
  [
    'perTry above request',
    route('  hosts: [orders]\n  rules:\n    - timeouts: { request: 1s, perTry: 2s }\n'),
    '11:40 spec.rules[0].timeouts.perTry | make perTry at most request',
  ],
  ['no action', allow('  rules: []\n'), '8:1 spec.action | add `action`: one of ALLOW, DENY'],
  [
    'unknown target',
    allow('  action: ALLOW\n  targetRefs: [{ name: oders }]\n'),
    '10:24 spec.targetRefs[0].name | write `orders`',
  ],
  [
    'target of a wrong kind',
    allow('  action: ALLOW\n  targetRefs: [{ kind: Route, name: r }]\n'),
    '10:24 spec.targetRefs[0].kind | write `Service`, or leave it out',
  ],
  [
    'empty caller',
    allow('  action: ALLOW\n  rules: [{ from: [{}] }]\n'),
    '10:20 spec.rules[0].from[0] | write one of serviceAccount, namespace, spiffeId',
  ],
  [
    'bad SPIFFE id',
    allow('  action: ALLOW\n  rules: [{ from: [{ spiffeId: "spiffe://x" }] }]\n'),
    '10:32 spec.rules[0].from[0].spiffeId | write `spiffe://<trust-domain>/ns/<namespace>/sa/<account>`',
  ],
  ['plain http', provider('  baseUrl: http://api.example/v1\n'), '5:12 spec.baseUrl | write `https://api.example/v1`'],
  [
    'unknown provider',
    model('  targets: [{ provider: q, model: x }]\n'),
    '10:25 spec.targets[0].provider | add a Provider named q',
  ],
  [
    'several at once',
    service('  prots: []\n  localPort: x\n  loadBalancing: { policy: RANDOM }\n'),
    '4:3 spec.prots | write `ports`',
    '5:14 spec.localPort | write a number',
    '6:28 spec.loadBalancing.policy | write one of LEAST_REQUEST, ROUND_ROBIN',
  ],
];

test.each(CASES)('%s is shown where it is, with a fix', async (_what, text, ...expected) => {
  expect(await shown(text)).toEqual(expected);
});

test('a name defined twice is shown at both places, and neither is taken', async () => {
  const { problems, resources } = await read({ 'a.yaml': orders, 'b.yaml': orders });
  expect(problems.map((p) => `${p.file}:${p.line} ${p.message}`)).toEqual([
    'a.yaml:2 Service/default/orders is defined again at b.yaml:2',
    'b.yaml:2 Service/default/orders is already defined at a.yaml:2',
  ]);
  expect(resources).toEqual([]);
});

test('a bad resource is left out, a good one beside it stays, and a reference to the bad one is no second mistake', async () => {
  const text = `${service('  ports: [{ port: x }]\n')}---\n${orders}kind: Route\nmetadata: { name: r }\nspec: { hosts: [s], rules: [{}] }\n`;
  const { problems, resources } = await read({ 'a.yaml': text });
  expect(problems.map((p) => p.resource)).toEqual(['Service/default/s']);
  expect(resources.map((r) => r.name)).toEqual(['orders', 'r']);
});

test('JSON is held to its own grammar, with positions', async () => {
  const good = '{"kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "tls": "MUTAL"}]}}';
  const { problems } = await read({ 'good.json': good, 'bad.json': '{\n  "kind": Service\n}' });
  expect(problems.map((p) => `${p.file}:${p.line}:${p.column} ${p.fieldPath}`)).toEqual([
    'bad.json:2:11 ',
    'good.json:1:87 spec.ports[0].tls',
  ]);
});

test.each([
  [
    'a comma at the end of a list',
    '{"spec": {"ports": [{"port": 80},]}}\n',
    "1:34 Unexpected token ']'",
    'remove the comma before it',
  ],
  [
    'a comma at the end of a map',
    '{\n "kind": "Route",\n}',
    '3:1 Expected double-quoted property name',
    'remove the comma before it',
  ],
  ['two commas', '[[], {},\n  , {}]', "2:3 Unexpected token ','", 'correct the syntax, or name it .yaml'],
  ['no value', '{"a": [1, "]", {}], "kind":}', "1:28 Unexpected token '}'", 'correct the syntax, or name it .yaml'],
  ['a bare word', '{"kind":\n Route}', "2:2 Unexpected token 'R'", 'correct the syntax, or name it .yaml'],
  [
    'two documents',
    '{}\n{}',
    '2:1 Unexpected non-whitespace character after JSON',
    'correct the syntax, or name it .yaml',
  ],
  ['no end', '[{}, ', '1:6 Unexpected end of JSON input', 'correct the syntax, or name it .yaml'],
  ['nothing', '', '1:1 Unexpected end of JSON input', 'correct the syntax, or name it .yaml'],
])('in JSON %s is shown where it stands, in one line', async (_what, text, expected, fix) => {
  const { problems } = await read({ 'p.json': text });
  expect(problems.map((p) => `${p.line}:${p.column} ${p.message.replace('not JSON: ', '')}`)).toEqual([expected]);
  expect(problems[0]?.fix).toBe(fix);
});

test('aliases that multiply are stopped', async () => {
  let text = 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n';
  for (let i = 1; i < 9; i++)
    text += `a${i}: &a${i} [${Array(10)
      .fill(`*a${i - 1}`)
      .join(', ')}]\n`;
  const { problems } = await read({ 'bomb.yaml': text });
  expect(problems.some((p) => p.message.startsWith('more than 200000 values'))).toBe(true);
});

test('an alias inside its own anchor is told once', async () => {
  const { problems } = await read({ 'loop.yaml': 'kind: &a [*a, *a]\n' });
  expect(problems.filter((p) => p.message.startsWith('nested deeper')).length).toBe(1);
  expect(problems.length).toBeLessThan(5);
});
