// Policies that read well and mean nothing, or not what was meant: what a sidecar would refuse, what no request can
// match, what comes back to itself. One row each: what, the text, and each problem as `line:column path | fix`.
import { rootCertificates } from 'node:tls';
import { expect, test } from 'vitest';
import { buildDescriptors } from '../../support/descriptors.ts';
import { allow, model, orders, provider, read, route, service } from '../../support/policies.ts';

const CASES: readonly (readonly [string, string, ...string[]])[] = [
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
    '11:21 spec.rules[0].retry.on[0] | write one of CONNECT_FAILURE, GATEWAY_ERROR, RESET, UNAVAILABLE',
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
    'port name',
    service('  ports: [{ port: 80, name: HTTP_1 }]\n'),
    '4:29 spec.ports[0].name | use lower-case letters, digits and -, with a letter or digit at both ends',
  ],
  [
    'service account',
    service('  ports: [{ port: 80 }]\n  serviceAccounts: [a/b]\n'),
    '5:21 spec.serviceAccounts[0] | use lower-case letters, digits and -, with a letter or digit at both ends',
  ],
  [
    'two ports in the clear',
    service('  ports: [{ port: 80, tls: OFF }, { port: 81, tls: OFF }]\n'),
    '4:52 spec.ports[1].tls | leave OFF to one of them',
  ],
  [
    'opaque TCP in the clear',
    service('  ports: [{ port: 80, tls: SIMPLE, protocol: TCP }]\n'),
    '4:28 spec.ports[0].tls | write `MUTUAL`',
  ],
  [
    'port of the sidecar',
    service('  ports: [{ port: 80 }]\n  localPort: 15001\n'),
    '5:14 spec.localPort | choose another port',
  ],
  [
    'timeout of 0',
    service('  ports: [{ port: 80 }]\n  connectionPool: { connectTimeout: 0s }\n'),
    '5:37 spec.connectionPool.connectTimeout | write a value for `connectTimeout` that is greater than 0s and less than or equal to 2147483s',
  ],
  [
    'resolved too often',
    service('  ports: [{ port: 80 }]\n  dns: { host: a.example, refresh: 0.1s }\n'),
    '5:36 spec.dns.refresh | write a value for `refresh` that is greater than or equal to 1s and less than or equal to 2147483s',
  ],
  [
    'ejection above its default',
    service('  ports: [{ port: 80 }]\n  outlierDetection: { ejectionBase: 90s }\n'),
    '5:37 spec.outlierDetection.ejectionBase | add a longer ejectionMax',
  ],
  [
    'ejection below its default',
    service('  ports: [{ port: 80 }]\n  outlierDetection: { ejectionMax: 0.5s }\n'),
    '5:36 spec.outlierDetection.ejectionMax | add ejectionBase',
  ],
  [
    'endpoint twice',
    service('  ports: [{ port: 80 }]\n  static: { endpoints: [{ address: 10.0.0.1 }, { address: 10.0.0.1 }] }\n'),
    '5:48 spec.static.endpoints[1] | remove one of the two',
  ],
  [
    'endpoint everywhere',
    service('  ports: [{ port: 80 }]\n  static: { endpoints: [{ address: "::" }] }\n'),
    '5:36 spec.static.endpoints[0].address | write the address of the endpoint',
  ],
  [
    'endpoint that is the sidecar',
    service('  ports: [{ port: 80 }]\n  static: { endpoints: [{ address: 127.0.0.1, port: 15001 }] }\n'),
    '5:25 spec.static.endpoints[0] | write the port of the application',
  ],
  [
    'name that no DNS knows',
    service('  ports: [{ port: 80 }]\n  dns: { host: s.default.mesh }\n'),
    '5:16 spec.dns.host | call it by a Route',
  ],
  [
    'JSON to a port without gRPC',
    service('  ports: [{ port: 80 }]\n  transcoding: { descriptorSet: CgA= }\n'),
    '5:16 spec.transcoding | set `protocol: GRPC` on the port',
    '5:16 spec.transcoding | make it with `buf build -o api.binpb` or `protoc --include_imports -o`',
  ],
  [
    'descriptors without services',
    service('  ports: [{ port: 80, protocol: GRPC }]\n  transcoding: { descriptorSet: "CgNhLnA=" }\n'),
    '5:16 spec.transcoding | make it with `buf build -o api.binpb` or `protoc --include_imports -o`',
  ],
  [
    'Service called localhost',
    'kind: Service\nmetadata: { name: s, namespace: localhost }\nspec: { ports: [{ port: 80 }] }\n',
    '2:33 metadata.namespace | choose another name',
  ],
  [
    'URL with a bad port',
    provider('  baseUrl: https://h:99999/v1\n'),
    '5:12 spec.baseUrl | write a whole URL, such as https://api.example.com/v1',
  ],
  ['URL with a query', provider('  baseUrl: https://h/v1?key=1\n'), '5:12 spec.baseUrl | write `https://h/v1`'],
  [
    'URL of the call itself',
    provider('  baseUrl: https://h/v1/chat/completions\n'),
    '5:12 spec.baseUrl | write `https://h/v1`',
  ],
  [
    'alias of white space',
    model('  aliases: [" "]\n  targets: [{ provider: p, model: x }]\n'),
    '10:13 spec.aliases[0] | write a name',
  ],
  [
    'empty alias',
    model('  aliases: [""]\n  targets: [{ provider: p, model: x }]\n'),
    '10:13 spec.aliases[0] | write something, or remove it',
  ],
  [
    'target twice',
    model('  targets: [{ provider: p, model: x }, { provider: p, model: x }]\n'),
    '10:40 spec.targets[1] | remove one of the two, and add up the weights',
  ],
  [
    'negative price',
    model('  targets: [{ provider: p, model: x, price: { inputMicroUsdPerMillion: -1 } }]\n'),
    '10:72 spec.targets[0].price.inputMicroUsdPerMillion | write a number from 0 to 18446744073709551615',
  ],
  [
    'Model that calls itself',
    provider(
      '  baseUrl: http://localhost:15004/v1\n---\nkind: Model\nmetadata: { name: m }\nspec: { targets: [{ provider: p, model: m }] }\n',
    ),
    '9:19 spec.targets[0] | name a Provider outside of the mesh',
  ],
  [
    'Models that call each other',
    provider(
      '  baseUrl: http://localhost:15004/v1\n---\nkind: Model\nmetadata: { name: m }\nspec: { aliases: [a], targets: [{ provider: p, model: b }] }\n---\nkind: Model\nmetadata: { name: n }\nspec: { aliases: [b], targets: [{ provider: p, model: a }] }\n',
    ),
    '9:33 spec.targets[0] | name a Provider outside of the mesh',
    '13:33 spec.targets[0] | name a Provider outside of the mesh',
  ],
  [
    'Telemetry that says nothing',
    'kind: Telemetry\nmetadata: { name: t }\nspec: {}\n',
    '3:7 spec | add `tracing` or `accessLog`',
  ],
  [
    'share above 100',
    'kind: Telemetry\nmetadata: { name: t }\nspec: { tracing: { samplingPercent: 101 } }\n',
    '3:37 spec.tracing.samplingPercent | write a value for `samplingPercent` that is greater than or equal to 0 and less than or equal to 100',
  ],
  [
    'local port of two Services of a namespace',
    'kind: Service\nmetadata: { name: a }\nspec: { ports: [{ port: 80 }], localPort: 4001 }\n---\nkind: Service\nmetadata: { name: b }\nspec: { ports: [{ port: 80 }], localPort: 4001 }\n',
    '7:43 spec.localPort | choose another port',
  ],
  [
    'local port of two Services that one caller has',
    'kind: Service\nmetadata: { name: a }\nspec: { ports: [{ port: 80 }], localPort: 4001 }\n---\nkind: Service\nmetadata: { name: b, namespace: other }\nspec: { ports: [{ port: 80 }], localPort: 4001 }\n---\nkind: Authorization\nmetadata: { name: x, namespace: other }\nspec: { action: ALLOW, rules: [{ from: [{ serviceAccount: web.default }] }] }\n',
    '7:43 spec.localPort | choose another port',
  ],
  [
    'port of another section',
    allow(
      '  action: DENY\n  targetRefs: [{ name: orders, sectionName: port-80 }]\n  rules: [{ to: [{ ports: [81] }] }]\n',
    ),
    '11:28 spec.rules[0].to[0].ports[0] | write one of 80',
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
  [
    'parameter twice',
    route(
      '  hosts: [orders]\n  rules:\n    - matches: [{ query: [{ name: a, value: { exact: b } }, { name: a, value: { exact: b } }] }]\n',
    ),
    '11:61 spec.rules[0].matches[0].query[1] | remove one of the two',
  ],
];

test.each(CASES)('%s is shown where it is, with a fix', async (_what, text, ...expected) => {
  const { problems } = await read({ 'p.yaml': text });
  expect(problems.map((p) => `${p.line}:${p.column} ${p.fieldPath} | ${p.fix}`)).toEqual(expected);
});

test.each([
  ['no certificate', 'hello', 'holds no PEM certificate'],
  [
    'text that is none',
    `-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
    'certificate 1 of 1 cannot be read',
  ],
  [
    'one that was cut off',
    `${rootCertificates[0]}\n${rootCertificates[1]?.slice(0, 200)}`,
    'certificate 2 of 2 cannot be read',
  ],
  ['two roots', `${rootCertificates[0]}\n${rootCertificates[1]}\n`, undefined],
])('roots of a Provider: %s', async (_what, pem, message) => {
  const { problems } = await read({
    'p.yaml': provider('  baseUrl: https://h/v1\n  caFile: roots.pem\n'),
    'roots.pem': pem,
  });
  expect(problems.map((p) => `${p.line}:${p.column} ${p.message}`)).toEqual(message ? [`6:11 ${message}`] : []);
});

test('two Models that lead to each other are shown with the whole way', async () => {
  const { problems } = await read({
    'p.yaml': provider(
      '  baseUrl: http://127.0.0.1:15004/v1\n---\nkind: Model\nmetadata: { name: m }\nspec: { aliases: [a], targets: [{ provider: p, model: b }] }\n---\nkind: Model\nmetadata: { name: n }\nspec: { aliases: [b], targets: [{ provider: p, model: a }] }\n',
    ),
  });
  expect(problems.map((p) => p.message.replace(/^.*: /, ''))).toEqual(['m → n → m', 'n → m → n']);
});

test.each<[string, string, string, string]>([
  ['a field', 'get: "/v1/{isbn}"', 'shop.Books.Get: shop.Id has no field isbn', 'mend the .proto'],
  ['a template', 'get: "/v1/{id"', 'shop.Books.Get: ', 'mend the .proto'],
  ['a body', 'post: "/v1" body: "book"', "shop.Books.Get: body 'book' is not a field", 'mend the .proto'],
])('descriptors whose http rule names %s that is not there', async (_name, rule, message, fix) => {
  const descriptors = buildDescriptors(`syntax = "proto3";
package shop;
import "google/api/annotations.proto";
service Books { rpc Get(Id) returns (Id) { option (google.api.http) = { ${rule} }; } }
message Id { string id = 1; }
`);
  const text = Buffer.from(descriptors).toString('base64');
  const policy = service(`  ports: [{ port: 80, protocol: GRPC }]\n  transcoding: { descriptorSet: "${text}" }\n`);
  const found = await read({ 'p.yaml': policy });
  expect(found.problems).toMatchObject([
    { fieldPath: 'spec.transcoding', message: expect.stringContaining(message), fix: expect.stringContaining(fix) },
  ]);
});
