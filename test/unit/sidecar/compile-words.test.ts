// A sidecar refuses the same words as `weft check`: its policies may come from a file, or from an older control plane.
import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import {
  AuthorizationSchema,
  ProviderSchema,
  RouteSchema,
  ServiceSchema,
} from '../../../proto/gen/weft/mesh/v1/resources_pb.js';
import { ProviderFormat } from '../../../proto/gen/weft/policy/v1/ai_pb.js';
import { AuthorizationAction } from '../../../proto/gen/weft/policy/v1/authorization_pb.js';
import type { CompileError } from '../../../sidecar/config/compile-match.ts';
import { linearRegex } from '../../../sidecar/config/compile-match.ts';
import { compileRoute } from '../../../sidecar/config/compile-route.ts';
import { compileProvider, compileService } from '../../../sidecar/config/compile-service.ts';
import { compileAuthorization } from '../../../sidecar/filters/authorization/compile.ts';

type Rule = NonNullable<Parameters<typeof create<typeof RouteSchema>>[1]> extends { rules?: (infer R)[] } ? R : never;

const exact = (value: string) => ({ match: { case: 'exact' as const, value } });
const named = (name: string, value = exact('v')) => ({ name, value });

const RULES: readonly (readonly [string, Rule, string])[] = [
  ['header name', { matches: [{ headers: [named('x y')] }] }, 'rules[0].matches[0].headers[0].name'],
  ['host as a header', { matches: [{ headers: [named('host')] }] }, 'rules[0].matches[0].headers[0].name'],
  [
    'header value',
    { matches: [{ headers: [named('x', exact('a\n'))] }] },
    'rules[0].matches[0].headers[0].value.exact',
  ],
  ['parameter', { matches: [{ query: [named('?a')] }] }, 'rules[0].matches[0].query[0].name'],
  ['gRPC service', { matches: [{ grpc: { service: 'a/b' } }] }, 'rules[0].matches[0].grpc.service'],
  ['path', { matches: [{ path: exact('/a//b') }] }, 'rules[0].matches[0].path.exact'],
  [
    'pseudo header',
    { filters: [{ filter: { case: 'requestHeaders', value: { add: { ':path': '/' } } } }] },
    'rules[0].filters[0].request_headers.add[":path"]',
  ],
  [
    'smuggled header',
    { filters: [{ filter: { case: 'responseHeaders', value: { set: { x: 'a\r\nb: c' } } } }] },
    'rules[0].filters[0].response_headers.set["x"]',
  ],
  [
    'rewrite to a bad escape',
    { filters: [{ filter: { case: 'rewrite', value: { path: { rewrite: { case: 'full', value: '/%zz' } } } } }] },
    'rules[0].filters[0].rewrite.path.full',
  ],
  [
    'redirect to port 0',
    { filters: [{ filter: { case: 'redirect', value: { host: 'a:0' } } }] },
    'rules[0].filters[0].redirect.host',
  ],
];

test.each(RULES)('a Route with a bad %s', (_what, rule, path) => {
  const { route, errors } = compileRoute(create(RouteSchema, { name: 'n/r', rules: [rule] }), linearRegex);
  expect(route).toBeNull();
  expect(errors.map((error) => error.path)).toEqual([path]);
});

test.each([
  ['method', { methods: ['get it'] }, 'methods[0]'],
  ['method in lower case', { methods: ['delete'] }, 'methods[0]'],
  ['path', { paths: [exact('/a/../b')] }, 'paths[0].exact'],
  ['beginning of paths', { paths: [{ match: { case: 'prefix', value: 'admin' } }] }, 'paths[0].prefix'],
  ['end of paths', { paths: [{ match: { case: 'suffix', value: '?x' } }] }, 'paths[0].suffix'],
] as const)('a DENY by a bad %s denies everything', (_what, operation, path) => {
  const message = create(AuthorizationSchema, {
    name: 'n/a',
    action: AuthorizationAction.DENY,
    rules: [{ to: [structuredClone(operation) as never] }],
  });
  const { policy, errors } = compileAuthorization(message, linearRegex);
  expect(errors.map((error) => error.path)).toEqual([`rules[0].to[0].${path}`]);
  expect(policy.rules.map((rule) => rule.always)).toEqual([true]);
});

test('roots that are none are refused with the Service or Provider that brings them', () => {
  const errors: CompileError[] = [];
  const bad = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
  expect(
    compileService(create(ServiceSchema, { name: 'shop/a', ports: [{ port: 1 }], caPem: bad }), errors),
  ).toBeNull();
  const spec = { format: ProviderFormat.OPENAI_CHAT, baseUrl: 'https://h/v1' };
  compileProvider(create(ProviderSchema, { name: 'shop/p', spec, caPem: 'x' }), errors);
  expect(errors).toEqual([
    { path: 'ca_pem', message: 'the roots of ca_file: certificate 1 of 1 cannot be read' },
    { path: 'ca_pem', message: 'the roots of ca_file: holds no PEM certificate' },
  ]);
});
