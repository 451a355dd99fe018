// Services that a sidecar would refuse: ports, endpoints, outlier detection, descriptors.
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readPolicies } from '../../../control-plane/source/files.ts';
import { buildDescriptors } from '../../support/descriptors.ts';
import { type Mistake, read, service, shown } from '../../support/policies.ts';

const CASES: readonly Mistake[] = [
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
    'idle time of opaque connections on HTTP',
    service('  ports: [{ port: 80, idleTimeout: 60s }, { port: 81, protocol: TCP, idleTimeout: 60s }]\n'),
    '4:36 spec.ports[0].idleTimeout | write `timeouts.idle` in a Route instead',
  ],
  [
    'DETECT where there is no sidecar',
    service('  ports: [{ port: 80, protocol: DETECT }]\n  static: { endpoints: [{ address: 10.0.0.1 }] }\n'),
    '4:33 spec.ports[0].protocol | write what they speak, or `TCP`',
  ],
  [
    'two Services that TLS to one name might mean',
    'kind: Service\nmetadata: { name: a }\nspec: { ports: [{ port: 443, protocol: TCP }], dns: { host: a.example } }\n---\nkind: Service\nmetadata: { name: b }\nspec: { ports: [{ port: 443, protocol: TCP }], dns: { host: A.example } }\n',
    '7:61 spec.dns.host | make both one Service with several ports',
  ],
  [
    'PROXY protocol that says nothing',
    service('  ports: [{ port: 80, proxyProtocol: {} }]\n'),
    '4:38 spec.ports[0].proxyProtocol | add `accept` or `send`',
  ],
  [
    'PROXY protocol where TLS says who calls',
    service('  ports: [{ port: 80, proxyProtocol: { accept: true } }]\n'),
    '4:48 spec.ports[0].proxyProtocol.accept | write `tls: OFF`, or remove `accept`',
  ],
  [
    'PROXY protocol of endpoints without a sidecar',
    service(
      '  ports: [{ port: 80, tls: OFF, proxyProtocol: { accept: true } }]\n  static: { endpoints: [{ address: 10.0.0.1 }] }\n',
    ),
    '4:58 spec.ports[0].proxyProtocol.accept | remove it',
  ],
  [
    'PROXY protocol to HTTP',
    service('  ports: [{ port: 80, proxyProtocol: { send: V1 } }]\n'),
    '4:46 spec.ports[0].proxyProtocol.send | write `protocol: TCP`, or read `x-forwarded-for`',
  ],
  [
    'PROXY protocol before TLS',
    service(
      '  ports: [{ port: 80, protocol: TCP, tls: SIMPLE, proxyProtocol: { send: V2 } }]\n  static: { endpoints: [{ address: 10.0.0.1 }] }\n',
    ),
    '4:74 spec.ports[0].proxyProtocol.send | write `tls: OFF`',
  ],
  [
    'DETECT in the clear',
    service('  ports: [{ port: 80, tls: SIMPLE, protocol: DETECT }]\n'),
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
    'roots for sidecars',
    service('  ports: [{ port: 80, tls: SIMPLE }]\n  caFile: a.pem\n'),
    '5:11 spec.caFile | correct the name; it is relative to the policy file',
    '5:11 spec.caFile | remove it, or write where the servers are: `static` or `dns`',
  ],
  [
    'roots for a port that is not SIMPLE',
    service('  ports: [{ port: 80, tls: OFF }]\n  dns: { host: a.example }\n  caFile: ../a.pem\n'),
    '6:11 spec.caFile | move the file beside the policy',
    '6:11 spec.caFile | remove it, or write `tls: SIMPLE`',
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
    'local port of two Services of a namespace',
    'kind: Service\nmetadata: { name: a }\nspec: { ports: [{ port: 80 }], localPort: 4001 }\n---\nkind: Service\nmetadata: { name: b }\nspec: { ports: [{ port: 80 }], localPort: 4001 }\n',
    '7:43 spec.localPort | choose another port',
  ],
  [
    'local port of two Services that one caller has',
    'kind: Service\nmetadata: { name: a }\nspec: { ports: [{ port: 80 }], localPort: 4001 }\n---\nkind: Service\nmetadata: { name: b, namespace: other }\nspec: { ports: [{ port: 80 }], localPort: 4001 }\n---\nkind: Authorization\nmetadata: { name: x, namespace: other }\nspec: { action: ALLOW, rules: [{ from: [{ serviceAccount: web.default }] }] }\n',
    '7:43 spec.localPort | choose another port',
  ],
];

test.each(CASES)('%s is shown where it is, with a fix', async (_what, text, ...expected) => {
  expect(await shown(text)).toEqual(expected);
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

test('a named file is judged by what its link leads to', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'weft-attached-'));
  try {
    const policy = (file: string) =>
      service(`  ports: [{ port: 80, protocol: GRPC }]\n  transcoding: { descriptorSetFile: ${file} }\n`);
    await writeFile(
      join(directory, 'p.yaml'),
      `${policy('device')}---\n${policy('large').replace('name: s', 'name: t')}`,
    );
    // Another device would be read without end.
    await symlink('/dev/null', join(directory, 'device'));
    await writeFile(join(directory, '.large'), new Uint8Array(4 * 1024 * 1024 + 1));
    await symlink('.large', join(directory, 'large'));
    const { problems } = await readPolicies(directory);
    const attached = problems.filter(({ fieldPath }) => fieldPath.endsWith('File'));
    expect(attached.map(({ message }) => message)).toEqual(['device is no file', 'the file is larger than 4 MiB']);
  } finally {
    await rm(directory, { recursive: true });
  }
});
