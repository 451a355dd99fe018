// What one sidecar gets: names made complete, callers made SPIFFE ids, and nothing that is not its business.
import { describe, expect, test } from 'vitest';
import { check } from '../../../control-plane/model/check.ts';
import { needs } from '../../../control-plane/model/needs.ts';
import type { Resource } from '../../../control-plane/model/resource.ts';
import { decodeDocument } from '../../../control-plane/source/decode.ts';
import { parseDocuments } from '../../../control-plane/source/yaml.ts';
import type { ServiceHosts } from '../../../proto/gen/weft/mesh/v1/resources_pb.js';
import { nearest } from '../../../proto/kit/nearest.ts';

/** `Type name` of everything the sidecar of `account` gets, and the messages by that key. */
function sidecar(text: string, account: string, namespace = 'default'): Map<string, unknown> {
  const { resources, problems } = check(decoded(text), new Set());
  expect(problems).toEqual([]);
  return rendered(resources, account, namespace);
}

function decoded(text: string): Resource[] {
  const documents = parseDocuments('p.yaml', text).documents.map(decodeDocument);
  expect(documents.flatMap((d) => d.problems)).toEqual([]);
  return documents.flatMap((d) => d.resource ?? []);
}

function rendered(resources: Resource[], account: string, namespace = 'default'): Map<string, unknown> {
  const got = needs(resources, { trustDomain: 'test', namespace, serviceAccount: account });
  return new Map(got.map(({ schema, name, message }) => [`${schema.name} ${name}`, message]));
}

const service = (name: string, namespace = 'default', more = '') => `
kind: Service
metadata: { name: ${name}, namespace: ${namespace} }
spec: { ports: [{ port: 80, name: http }, { port: 81, name: admin }]${more} }
---`;
const authorize = (name: string, action: string, rules: string, target = 'b', section = '') => `
kind: Authorization
metadata: { name: ${name} }
spec: { action: ${action}, targetRefs: [{ name: ${target}, sectionName: "${section}" }], rules: ${rules} }
---`;

describe('a caller sees', () => {
  const sees = (rules: string, account = 'a', namespace = 'default') =>
    sidecar(`${service('b')}${rules}`, account, namespace).has('Service default/b');

  test('the Services of its own namespace when there is no Authorization, and no others', () => {
    expect(sees('')).toBe(true);
    expect(sees('', 'a', 'other')).toBe(false);
  });

  test('what an ALLOW names it for, by account, namespace or id', () => {
    expect(sees(authorize('x', 'ALLOW', '[{ from: [{ serviceAccount: a }] }]'))).toBe(true);
    expect(sees(authorize('x', 'ALLOW', '[{ from: [{ serviceAccount: c }] }]'))).toBe(false);
    expect(sees(authorize('x', 'ALLOW', '[{ from: [{ serviceAccount: a.other }] }]'), 'a', 'other')).toBe(true);
    expect(sees(authorize('x', 'ALLOW', '[{ from: [{ namespace: other }] }]'), 'z', 'other')).toBe(true);
    expect(sees(authorize('x', 'ALLOW', '[{ from: [{ spiffeId: "spiffe://test/ns/default/sa/a" }] }]'))).toBe(true);
    expect(sees(authorize('x', 'ALLOW', '[{ from: [{ spiffeId: "spiffe://else/ns/default/sa/a" }] }]'))).toBe(false);
    expect(sees(authorize('x', 'ALLOW', '[]'))).toBe(false);
  });

  test('nothing that a DENY takes whole, but what a DENY takes in part', () => {
    expect(sees(authorize('x', 'DENY', '[]'))).toBe(false);
    expect(sees(authorize('x', 'DENY', '[{ from: [{ serviceAccount: a }] }]'))).toBe(false);
    expect(sees(authorize('x', 'DENY', '[{ to: [{ methods: [DELETE] }] }]'))).toBe(true);
    expect(sees(authorize('x', 'DENY', '[]', 'b', 'admin'))).toBe(true);
  });
});

test('Authorizations go to the receiver only, with complete ids', () => {
  const text = `${service('a')}${service('b')}${authorize('x', 'ALLOW', '[{ from: [{ serviceAccount: a }] }]')}`;
  expect([...sidecar(text, 'a').keys()]).toEqual(['Service default/a', 'Service default/b', 'ServiceHosts default/a']);
  expect(sidecar(text, 'b').get('Authorization default/x')).toMatchObject({
    services: ['default/b'],
    rules: [{ from: [{ caller: { case: 'spiffeId', value: 'spiffe://test/ns/default/sa/a' } }] }],
  });
});

test('a DENY of one port denies that port, and never everything', () => {
  // Not checked: `weft check` refuses the second, and what is refused must still not be rendered as more than it says.
  const on = (rules: string) => rendered(decoded(`${service('b')}${authorize('x', 'DENY', rules, 'b', 'admin')}`), 'b');
  expect(on('[]').get('Authorization default/x:81')).toMatchObject({ rules: [{ to: [{ ports: [81] }] }] });
  expect([...on('[{ to: [{ ports: [80] }] }]').keys()]).toEqual(['Service default/b', 'ServiceHosts default/b']);
});

test('a port of no Service in particular never becomes all ports of those that lack it', () => {
  const other = service('c').replaceAll('admin', 'metrics');
  const text = `${service('b')}${other}${authorize('x', 'DENY', '[]', '""', 'admin')}`;
  expect(rendered(decoded(text), 'b').has('Authorization default/x:81')).toBe(true);
  expect([...rendered(decoded(text), 'c').keys()].filter((key) => key.startsWith('Authorization'))).toEqual([]);
});

test('a Route of the caller replaces that of the Service, for this caller only', () => {
  const route = (namespace: string) =>
    `\nkind: Route\nmetadata: { name: r, namespace: ${namespace} }\nspec: { hosts: [b.default], rules: [{ backends: [{ service: b.default, port: 80 }] }] }\n---`;
  const open = authorize('x', 'ALLOW', '[{}]');
  const text = `${service('b')}${open}${route('default')}${route('other')}`;
  const routes = (namespace: string) =>
    [...sidecar(text, 'z', namespace).keys()].filter((key) => key.startsWith('Route'));
  expect(routes('other')).toEqual(['Route other/r']);
  expect(routes('default')).toEqual(['Route default/r']);
  expect(routes('third')).toEqual(['Route default/r']);
  expect(sidecar(text, 'z').get('Route default/r')).toMatchObject({
    services: ['default/b'],
    rules: [{ backends: [{ service: 'default/b' }] }],
  });
});

test('the receiver alone is told its hosts: its names, and what Routes of any namespace write that send to it', () => {
  const policy = `${service('b')}${service('c')}${service('d', 'other')}
kind: Route
metadata: { name: one }
spec:
  hosts: [c]
  rules:
    - { filters: [{ rewrite: { host: old.example } }], backends: [{ service: b, port: 80 }] }
---
kind: Route
metadata: { name: two, namespace: other }
spec:
  hosts: [d]
  rules:
    - { matches: [{ path: { prefix: /b } }], filters: [{ rewrite: { host: a.example } }], backends: [{ service: b.default, port: 81 }] }
    - { filters: [{ rewrite: { host: d.example } }] }
---`;
  const hosts = (account: string, namespace?: string) => {
    const got = sidecar(policy, account, namespace);
    return [...got]
      .filter(([key]) => key.startsWith('ServiceHosts'))
      .map(([key, it]) => [key, (it as ServiceHosts).hosts]);
  };
  expect(hosts('b')).toEqual([
    ['ServiceHosts default/b', ['b', 'b.default', 'b.default.mesh', 'a.example', 'old.example']],
  ]);
  expect(hosts('c')).toEqual([['ServiceHosts default/c', ['c', 'c.default', 'c.default.mesh']]]);
  expect(hosts('d', 'other')).toEqual([['ServiceHosts other/d', ['d', 'd.other', 'd.other.mesh', 'd.example']]]);
  expect(hosts('web')).toEqual([]);
});

test('static endpoints are resources of their own, with the ports to dial', () => {
  const got = sidecar(
    service('s', 'default', ', static: { endpoints: [{ address: "::1", port: 9 }, { address: 10.0.0.1 }] }'),
    'a',
  );
  expect(got.get('Endpoint default/s/static-0')).toMatchObject({
    address: '::1',
    ports: { 80: 9, 81: 9 },
    service: 'default/s',
  });
  expect(got.get('Endpoint default/s/static-1')).toMatchObject({ ports: { 80: 80, 81: 81 } });
});

test.each([
  ['localprt', 'localPort'],
  ['MUTAUL', 'MUTUAL'],
  ['local_port', 'localPort'],
  ['zzz', undefined],
])('the nearest to %s is %s', (word, expected) => {
  expect(nearest(word, ['ports', 'localPort', 'MUTUAL', 'a'])).toBe(expected);
});

test('a Telemetry goes to the Services that it holds for, and to callers without one when it holds for the namespace', () => {
  const policies = `${service('a')}${service('b')}
kind: Telemetry
metadata: { name: all }
spec: { accessLog: { samplingPercent: 1 } }
---
kind: Telemetry
metadata: { name: of-a }
spec: { targetRefs: [{ name: a }], accessLog: { samplingPercent: 2 } }
---`;
  const got = (account: string, namespace?: string) =>
    [...sidecar(policies, account, namespace).entries()].flatMap(([key, message]) => {
      const { services, callersWithoutService } = message as { services: string[]; callersWithoutService: boolean };
      return key.startsWith('Telemetry') ? [[key, services, callersWithoutService]] : [];
    });
  expect(got('a')).toEqual([['Telemetry default/of-a', ['default/a'], false]]);
  expect(got('b')).toEqual([['Telemetry default/all', ['default/b'], false]]);
  expect(got('client')).toEqual([['Telemetry default/all', [], true]]);
  expect(got('client', 'other')).toEqual([]);
});
