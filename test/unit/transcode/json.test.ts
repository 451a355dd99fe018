// The JSON of a request message as callers write it: every digit of an integer counts, and a body that is made to be
// slow to judge is refused without being judged whole.
import { type DescMessage, fromBinary, toJson } from '@bufbuild/protobuf';
import { beforeAll, describe, expect, test } from 'vitest';
import { compileMethods, type MethodIndex, matchMethod } from '../../../proto/kit/transcoded-methods.ts';
import { encodeRequest, type JsonFault } from '../../../sidecar/transcode/json.ts';
import { buildDescriptors } from '../../support/descriptors.ts';

const PROTO = `syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/wrappers.proto";
service Trees { rpc Put(Tree) returns (Tree) { option (google.api.http) = { put: "/v1/trees/{name}" body: "inner" }; } }
message Tree {
  Tree inner = 1; repeated Tree children = 2; map<string, Tree> named = 3; string name = 4;
  int64 id = 5; fixed64 hash = 6; double size = 7; repeated uint64 ids = 8; map<string, int64> counts = 9;
  google.protobuf.Struct more = 10; google.protobuf.Int64Value wrapped = 11; int32 small = 12;
}
`;

let index: MethodIndex;

beforeAll(() => {
  const compiled = compileMethods(buildDescriptors(PROTO));
  if ('errors' in compiled) throw new Error(compiled.errors.join('\n'));
  index = compiled;
});

function encode(body: string, method = 'POST', path = '/shop.v1.Trees/Put'): unknown {
  const match = matchMethod(index, method, path);
  if (match === null) throw new Error(`nothing is bound to ${method} ${path}`);
  const encoded = encodeRequest(match, '', new TextEncoder().encode(body), index.registry);
  if (!(encoded instanceof Uint8Array)) return encoded;
  return toJson(
    index.registry.getMessage('shop.v1.Tree') as DescMessage,
    fromBinary(match.binding.method.input, encoded),
  );
}

describe('integers that no double holds', () => {
  const ODD = '9007199254740993';

  test.each([
    [`{"id":${ODD}}`, { id: ODD }],
    [`{"id":-${ODD}}`, { id: `-${ODD}` }],
    [`{"hash":18446744073709551615}`, { hash: '18446744073709551615' }],
    [`{"ids":[1,${ODD}]}`, { ids: ['1', ODD] }],
    [`{"counts":{"a":${ODD}}}`, { counts: { a: ODD } }],
    [`{"wrapped":${ODD}}`, { wrapped: ODD }],
    [`{"inner":{"children":[{"id":${ODD}}]}}`, { inner: { children: [{ id: ODD }] } }],
    [`{"named":{"x":{"id":${ODD}}}}`, { named: { x: { id: ODD } } }],
    // Where they are doubles, they are the nearest.
    [`{"size":${ODD}}`, { size: 9007199254740992 }],
    [`{"more":{"a":[${ODD}]}}`, { more: { a: [9007199254740992] } }],
  ])('%s', (body, message) => {
    expect(encode(body)).toEqual(message);
  });

  test('in a body that is one field of the message', () => {
    expect(encode(`{"id":${ODD}}`, 'PUT', '/v1/trees/oak')).toEqual({ name: 'oak', inner: { id: ODD } });
  });

  test.each([
    [`{"name":${ODD}}`, 'name'],
    [`{"small":${ODD}}`, 'small'],
    ['{"id":9223372036854775808}', 'id'],
    [`{"__proto__":{"id":${ODD}}}`, '__proto__'],
  ])('%s is refused at its field', (body, field) => {
    expect(encode(body)).toMatchObject({ field });
  });
});

describe('a body that is made to be slow', () => {
  const nested = (depth: number, open: string, close: string): JsonFault =>
    encode(`${open.repeat(depth)}{"id":"x"}${close.repeat(depth)}`) as JsonFault;

  test('names the wrong field of 100 messages in each other, and no more than that', () => {
    expect(nested(99, '{"inner":', '}').field).toBe(`${'inner.'.repeat(99)}id`.slice(-512).padStart(515, '.'));
    expect(nested(100, '{"inner":', '}').message).toBe('more than 100 messages in each other');
  });

  test.each([
    ['messages', '{"inner":', '}'],
    ['lists', '{"children":[', ']}'],
    ['brackets behind a long number', '{"size":1234567890123456789,"inner":', '}'],
  ])('%s in each other, a hundred thousand deep', (_what, open, close) => {
    const message = 'the request is nested deeper than 200 levels';
    expect(nested(100_000, open, close)).toEqual({ field: '', message });
  });

  test('is not searched to its end', () => {
    const body = (good: number) => `{"children":[${'{},'.repeat(good)}{"id":"x"}]}`;
    expect(encode(body(9_000))).toMatchObject({ field: 'children[9000].id' });
    expect(encode(body(11_000))).toMatchObject({ field: '', message: expect.stringContaining('shop.v1.Tree.id') });
  });
});
