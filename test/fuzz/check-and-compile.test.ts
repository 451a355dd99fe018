// What `weft check` accepts, a sidecar's compile accepts, too: policies with odd text in every field go through the
// control plane as files do, and what is rendered of the accepted ones goes into the sidecar as bytes.
import { toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { check } from '../../control-plane/model/check.ts';
import { needs } from '../../control-plane/model/needs.ts';
import type { Kind, Resource } from '../../control-plane/model/resource.ts';
import { decodeDocument } from '../../control-plane/source/decode.ts';
import { parseDocuments } from '../../control-plane/source/yaml.ts';
import { buildRouteTable } from '../../sidecar/config/compile-table.ts';
import { Resources } from '../../sidecar/config/resources.ts';
import { fuzz, fuzzTimeoutMs } from '../support/fuzz.ts';

type Any<T = unknown> = fc.Arbitrary<T>;

const odd = fc.oneof(
  fc.constantFrom(
    ...['', ' ', 'x y', ':path', ':authority', 'Host', 'connection', 'te', 'content-length', 'a\r\nb', 'a\0', 'é', '€'],
    ...['/', '/a', '/a/', '/a?b', '/a//b', '/..', '/a/./b', '/%2f', '/%e3', '/%E3', '/%zz', '*', 'a', '.json', '?a=b'],
    ...['get', 'GET', 'get it', 'https://a/', 'a:0', 'a:80', 'a:99999', '[::1]', '[::1', '10.0.0.1', '::', 'a/b'],
    ...['__proto__', 'constructor', 'orders', 'orders.default.mesh', 'spiffe://t/ns/default/sa/a', 'spiffe://t'],
    ...['(', '(?i)a', 'a|^$', '/.*', '[^/]', '\\d+', '\ud800', '💥'.repeat(600), 'a'.repeat(64), 'a'.repeat(300)],
  ),
  fc.string({ unit: 'binary', maxLength: 8 }),
);
/** A good value, or once in ten times an odd one: with more of them hardly any policy would be accepted. */
const mostly = (...good: string[]): Any<string> =>
  fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...good) }, { weight: 1, arbitrary: odd });
/** A field that is set once in three times. */
const some = (item: Any): Any =>
  fc.oneof({ weight: 2, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: item });
const list = (item: Any): Any<unknown[]> => fc.array(item, { minLength: 1, maxLength: 2 });
const few = (item: Any): Any =>
  fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: list(item) });
/** One of the fields. */
const oneOf = (fields: Record<string, Any>): Any<object> =>
  fc.oneof(...Object.entries(fields).map(([name, value]) => value.map((one) => ({ [name]: one }))));
const map = (key: Any<string>, value: Any<string>): Any =>
  fc.dictionary(key, value, { minKeys: 1, maxKeys: 2, noNullPrototype: true });

const number = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(1, 2, 5, 90) },
  { weight: 1, arbitrary: fc.constantFrom(0, 15_001, 65_535, 65_536, 1_000_000, 4_294_967_295, -1) },
);
const port = fc.oneof({ weight: 9, arbitrary: fc.constantFrom(80, 81) }, { weight: 1, arbitrary: number });
const duration = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom('1s', '1.5s', '2s', '0.5s') },
  { weight: 1, arbitrary: fc.constantFrom('0s', '0.000000001s', '2147483s', '2147484s', '315576000000s') },
);
const host = fc.oneof(fc.constantFrom('orders', 'grpc.default'), mostly('grpc.default.mesh', 'orders.default'));
const labels = some(map(mostly('version', 'zone'), mostly('v1', 'v2')));
const path = mostly('/', '/a', '/a/', '/b');
const regex = mostly('/a.*', '/[a-z]+', '(?i)/a', '/(a|b)');
const header = mostly('x-a', 'x-b', 'accept', 'X-C');
const headerValue = oneOf({
  exact: mostly('a', 'b c'),
  prefix: mostly('a '),
  suffix: mostly(' b'),
  regex,
  present: fc.constant(true),
});
const pathValue = oneOf({
  exact: path,
  prefix: path,
  suffix: mostly('/b', '.json'),
  regex,
  present: fc.constant(true),
});

const conditions = {
  headers: few(fc.record({ name: header, value: headerValue })),
  query: few(fc.record({ name: mostly('q', 'r'), value: headerValue })),
};
const match = fc.oneof(
  fc.record({
    path: some(oneOf({ exact: path, prefix: path, regex })),
    method: some(mostly('GET', 'POST')),
    ...conditions,
  }),
  fc.record({ grpc: fc.record({ service: mostly('', 'shop.v1.Orders'), method: mostly('', 'Get') }), ...conditions }),
);
const pathRewrite = some(oneOf({ full: path, prefix: path }));
const fields = fc.oneof(fc.constant({}), map(header, mostly('1', 'a b')));
const edit = fc.record({ set: fields, add: fields, remove: few(header) });
const filter = oneOf({
  requestHeaders: edit,
  responseHeaders: edit,
  redirect: fc.record({
    scheme: some(mostly('http', 'https')),
    host: mostly('a.example', 'orders', 'a:81'),
    port: some(number),
    path: pathRewrite,
    status: some(fc.constantFrom(301, 308)),
  }),
  rewrite: fc.record({ host: mostly('a.example', 'a:81'), path: pathRewrite }),
});
const rule = fc.record({
  name: some(mostly('one', 'two', 'rule-1')),
  matches: few(match),
  filters: few(filter),
  backends: few(fc.record({ service: host, port, weight: some(number), labels })),
  timeouts: some(fc.record({ request: some(duration), perTry: some(duration), idle: some(duration) })),
  retry: some(
    fc.record({
      attempts: some(number),
      on: few(mostly('RESET', 'GATEWAY_ERROR')),
      backoffBase: some(duration),
      backoffMax: some(duration),
    }),
  ),
});
const targetRefs = few(fc.record({ name: mostly('orders', 'grpc', 'db'), sectionName: some(mostly('http')) }));
const caller = oneOf({
  serviceAccount: mostly('web', 'web.other'),
  namespace: mostly('default', 'other'),
  spiffeId: mostly('spiffe://t/ns/default/sa/web'),
});
const operation = fc.record({ methods: few(mostly('GET', 'CONNECT')), paths: few(pathValue), ports: few(port) });
const servicePort = fc.record({
  name: some(mostly('http', 'admin')),
  port,
  protocol: some(mostly('HTTP1', 'HTTP2', 'GRPC', 'TCP', 'DETECT')),
  tls: some(mostly('MUTUAL', 'SIMPLE', 'OFF')),
  idleTimeout: some(duration),
  proxyProtocol: some(fc.record({ accept: some(fc.boolean()), send: some(mostly('V1', 'V2')) })),
});
const endpoints = oneOf({
  workloads: fc.constant({}),
  static: fc.record({ endpoints: list(fc.record({ address: mostly('10.0.0.1', '::1'), port: some(port), labels })) }),
  dns: fc.record({ host: mostly('a.example', 'localhost'), port: some(port), refresh: some(duration) }),
});
const price = fc.record({ inputMicroUsdPerMillion: number, cachedInputMicroUsdPerMillion: some(number) });

const SPECS: Readonly<Record<Kind, Any<object>>> = {
  Service: fc
    .record({
      ports: list(servicePort),
      serviceAccounts: some(list(mostly('web', 'a-b'))),
      source: some(endpoints) as Any<object | undefined>,
      localPort: some(number),
      connectionPool: some(
        fc.record({ requestsMax: number, connectTimeout: some(duration), idleTimeout: some(duration) }),
      ),
      outlierDetection: some(fc.record({ ejectionBase: some(duration), ejectionMax: some(duration) })),
    })
    .map(({ source, ...spec }) => ({ ...spec, ...source })),
  Route: fc.record({ hosts: list(host), rules: list(rule) }),
  Authorization: fc.record({
    targetRefs,
    action: mostly('ALLOW', 'DENY'),
    rules: few(fc.record({ name: some(mostly('one', 'two')), from: few(caller), to: few(operation) })),
  }),
  Provider: fc.record({
    format: mostly('OPENAI_CHAT'),
    baseUrl: fc.oneof(
      mostly('https://a.example/v1', 'http://localhost:8080'),
      odd.map((text) => `https://${text}`),
      odd.map((text) => `https://a.example/${text}`),
    ),
    apiKey: some(oneOf({ file: mostly('key'), env: mostly('KEY') })),
  }),
  Model: fc.record({
    aliases: few(mostly('small', 'large')),
    targets: list(
      fc.record({ provider: mostly('known'), model: mostly('m', 'n'), weight: some(number), price: some(price) }),
    ),
  }),
  Telemetry: fc.record({
    targetRefs,
    tracing: some(fc.record({ samplingPercent: number })),
    accessLog: some(fc.record({ samplingPercent: number })),
  }),
};

const KINDS = Object.keys(SPECS) as Kind[];
const document = fc.constantFrom(...KINDS).chain((kind) =>
  fc.record({
    kind: fc.constant(kind),
    metadata: fc.record({ name: mostly('p', 'q', 'web'), namespace: mostly('default', 'default', 'default', 'other') }),
    spec: SPECS[kind],
  }),
);

interface Decoded {
  readonly resource: Resource;
  readonly broken: boolean;
}

function decode(documents: readonly object[]): Decoded[] {
  const parsed = parseDocuments('p.json', JSON.stringify(documents)).documents.map(decodeDocument);
  return parsed.flatMap(({ resource, problems }) =>
    resource === null ? [] : [{ resource, broken: problems.length > 0 }],
  );
}

const service = (name: string, protocol: string) => ({
  kind: 'Service',
  metadata: { name },
  spec: {
    ports: [
      { name: 'http', port: 80, protocol },
      { port: 81, protocol },
    ],
  },
});
/** What the others speak of. */
const KNOWN = decode([
  service('orders', 'HTTP1'),
  service('grpc', 'GRPC'),
  service('db', 'TCP'),
  { kind: 'Provider', metadata: { name: 'known' }, spec: { format: 'OPENAI_CHAT', baseUrl: 'https://a.example/v1' } },
]);

/** The resources that the control plane takes. */
function accepted(documents: readonly object[]): Resource[] {
  const all = [...KNOWN, ...decode(documents)];
  const broken = new Set(all.filter((one) => one.broken).map(({ resource }) => resource));
  return check(
    all.map(({ resource }) => resource),
    broken,
  ).resources;
}

/** Puts what one identity gets into a sidecar. */
function compileAll(resources: readonly Resource[], serviceAccount: string, namespace: string): void {
  const sidecar = new Resources();
  const changes = { services: new Set<string>(), endpoints: new Set<string>(), telemetry: false, revocations: false };
  for (const { schema, name, message } of needs(resources, { trustDomain: 't', namespace, serviceAccount })) {
    const typeUrl = `type.googleapis.com/${schema.typeName}`;
    expect(sidecar.upsert({ typeUrl, name, version: '1', bytes: toBinary(schema, message) }, changes)).toBeNull();
  }
  const services = [...sidecar.services.values()].map((one) => one.message);
  expect(buildRouteTable(services, [...sidecar.routes.values()], namespace).errors).toEqual([]);
}

test('what the check accepts, the compile accepts', { timeout: fuzzTimeoutMs() }, () => {
  const property = fc.property(fc.array(document, { minLength: 1, maxLength: 6 }), (documents) => {
    const resources = accepted(documents);
    compileAll(resources, 'orders', 'default');
    compileAll(resources, 'web', 'other');
    compileAll(resources, 'db', 'default');
  });
  fuzz('check and compile', property);
});

// A generator whose every policy is refused would prove nothing.
test.each(KINDS)('of each kind one policy in ten is accepted: %s', (kind) => {
  const made = fc.sample(document, { numRuns: 600, seed: 1 }).filter((one) => one.kind === kind);
  const taken = made.filter((one) => accepted([one]).length > KNOWN.length);
  expect(taken.length * 10).toBeGreaterThan(made.length);
});
