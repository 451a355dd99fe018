// JSON calls against descriptors that buf has compiled, the gRPC server played by the test.

import { create, type DescMessage, fromBinary, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { beforeAll, describe, expect, test } from 'vitest';
import { compileTemplate, matchTemplate } from '../../../proto/kit/path-template.ts';
import { compileMethods, type MethodIndex } from '../../../proto/kit/transcoded-methods.ts';
import { TranscoderStream } from '../../../sidecar/transcode/transcoder-stream.ts';
import { ProxyError } from '../../../sidecar/wire/error.ts';
import { type HeaderList, headerValue } from '../../../sidecar/wire/headers.ts';
import { Head } from '../../../sidecar/wire/stream.ts';
import { buildDescriptors } from '../../support/descriptors.ts';
import { MemoryStream, Recorder } from '../../support/memory-stream.ts';

const PROTO = `syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
service Orders {
  rpc Get(Order) returns (Order) { option (google.api.http) = {
    get: "/v1/{name=shops/*/orders/*}" additional_bindings { get: "/v1/orders/{id}:peek" } }; }
  rpc Put(PutRequest) returns (Order) { option (google.api.http) = { put: "/v1/orders/{order.id}" body: "order" }; }
  rpc Walk(Node) returns (Order) { option (google.api.http) = { post: "/v1/walk" body: "next" }; }
  rpc Watch(Order) returns (stream Order);
}
message Order { string name = 1; int64 id = 2; bool paid = 3; repeated Item items = 4; repeated string tags = 5; }
message Node { Node next = 1; repeated Node all = 2; }
message Item { int32 count = 1; string sku_code = 2; }
message PutRequest { Order order = 1; bool dry_run = 2; }
`;

const bytes = (text: string) => new TextEncoder().encode(text);
let descriptors: Uint8Array;
let index: MethodIndex;
let order: DescMessage;

beforeAll(() => {
  descriptors = buildDescriptors(PROTO);
  const compiled = compileMethods(descriptors);
  if ('errors' in compiled) throw new Error(compiled.errors.join('\n'));
  index = compiled;
  order = index.registry.getMessage('shop.v1.Order') as DescMessage;
});

function call(method: string, path: string, body: string | null, headers: HeaderList = [], bodyBytesMax = 200) {
  const client = new MemoryStream();
  const upstream = new Recorder();
  const stream = new TranscoderStream(client, index, bodyBytesMax);
  stream.events = upstream;
  stream.onHead(Head.request(method, 'http', 'shop', path, headers), body === null);
  if (body !== null) stream.onData(bytes(body), true);
  const request = () => {
    const frame = Buffer.concat(upstream.chunks);
    expect(frame.readUInt32BE(1)).toBe(frame.length - 5);
    const schema = index.registry.getMessage(`shop.v1.${upstream.head?.path.endsWith('Put') ? 'PutRequest' : 'Order'}`);
    const { $typeName: _, ...fields } = fromBinary(schema as DescMessage, frame.subarray(5));
    return fields;
  };
  const respond = (fields: Record<string, unknown>, trailers: HeaderList) => {
    const message = toBinary(order, create(order, fields));
    const frame = Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]);
    stream.writeHead(Head.response(200, ['content-type', 'application/grpc']), false);
    stream.writeData(frame.subarray(0, 3), false);
    stream.writeData(frame.subarray(3), false);
    stream.writeEnd(trailers);
  };
  return { client, upstream, stream, request, respond, json: () => JSON.parse(client.sent.text) };
}

describe('the request', () => {
  test('any unary method is POST /package.Service/Method', () => {
    const { upstream, request } = call(
      'POST',
      '/shop.v1.Orders/Get',
      '{"id":"9007199254740993","items":[{"skuCode":"a"}]}',
    );
    const head = upstream.head as Head;
    expect([head.method, head.path]).toEqual(['POST', '/shop.v1.Orders/Get']);
    expect(headerValue(head.headers, 'content-type')).toBe('application/grpc');
    expect(headerValue(head.headers, 'te')).toBe('trailers');
    expect(request()).toMatchObject({ id: 9007199254740993n, items: [{ skuCode: 'a' }] });
  });

  test.each([
    [
      'GET',
      '/v1/shops/a%20b/orders/c%2Fd?paid=true&tags=x&tags=y',
      null,
      { name: 'shops/a b/orders/c%2Fd', paid: true, tags: ['x', 'y'] },
    ],
    ['GET', '/v1/orders/7:peek', null, { id: 7n }],
    ['PUT', '/v1/orders/8?dry_run=true', '{"id":"1","name":"n"}', { dryRun: true, order: { id: 8n, name: 'n' } }],
  ])('%s %s', (method, path, body, fields) => {
    expect(call(method, path, body).request()).toMatchObject(fields);
  });

  test.each([
    ['{"items":[{"count":1},{"count":"x"}]}', 'items[1].count'],
    ['{"nope":1}', 'nope'],
    ['{"paid":"yes"}', 'paid'],
    ['{', ''],
    ['[]', ''],
  ])('%s is refused at its field', (body, field) => {
    const { client, upstream, json } = call('POST', '/shop.v1.Orders/Get', body);
    expect(client.sent.head?.status).toBe(400);
    expect(json()).toMatchObject({ code: 3, details: [{ fieldViolations: [{ field }] }] });
    expect(upstream.head).toBeNull();
  });

  test.each([
    ['GET', '/v1/other', 404],
    ['POST', '/shop.v1.Orders/Watch', 404],
    ['GET', '/v1/orders/7:peek?unknown=1', 400],
    ['GET', '/v1/orders/seven:peek', 400],
  ])('%s %s is %i', (method, path, status) => {
    expect(call(method, path, null).client.sent.head?.status).toBe(status);
  });

  test('CVE class 13: a body above the limit is 413', () => {
    expect(
      call('POST', '/shop.v1.Orders/Get', JSON.stringify({ name: 'x'.repeat(200) })).client.sent.head?.status,
    ).toBe(413);
  });

  test.each([
    ['a body', '', 5_000],
    ['a query', `?${'next.'.repeat(1_500)}next=1`, 0],
  ])(
    'CVE class 13: %s that is nested deeper than 200 levels is 400, before anything is made of it',
    (_what, query, levels) => {
      const body = `${'{"all":['.repeat(levels)}{}${']}'.repeat(levels)}`;
      const { client, upstream, json } = call('POST', `/v1/walk${query}`, body, [], 100_000);
      expect(client.sent.head?.status).toBe(400);
      expect(json()).toMatchObject({ code: 3, message: 'the request is nested deeper than 200 levels' });
      expect(upstream.head).toBeNull();
    },
  );

  test('gRPC passes untouched', () => {
    const { upstream, stream, client } = call('POST', '/shop.v1.Orders/Watch', 'frame', [
      'content-type',
      'application/grpc',
    ]);
    expect(upstream.text).toBe('frame');
    stream.writeHead(Head.response(200, []), false);
    stream.writeEnd(['grpc-status', '0']);
    expect(client.sent.trailers).toEqual(['grpc-status', '0']);
  });
});

describe('the response', () => {
  test('is JSON', () => {
    const { respond, client, json } = call('GET', '/v1/orders/7:peek', null);
    respond({ id: 7n, paid: true }, ['grpc-status', '0']);
    expect(client.sent.head?.status).toBe(200);
    expect(json()).toEqual({ id: '7', paid: true });
  });

  test.each([
    [1, 499],
    [2, 500],
    [3, 400],
    [4, 504],
    [5, 404],
    [6, 409],
    [7, 403],
    [8, 429],
    [9, 400],
    [10, 409],
    [11, 400],
    [12, 501],
    [13, 500],
    [14, 503],
    [15, 500],
    [16, 401],
    [99, 500],
  ])('gRPC status %i is HTTP %i', (code, status) => {
    const { stream, client, json } = call('GET', '/v1/orders/7:peek', null);
    stream.writeHead(Head.response(200, ['grpc-status', String(code), 'grpc-message', 'caf%C3%A9']), true);
    expect(client.sent.head?.status).toBe(status);
    expect(json()).toEqual({ code, message: 'café', details: [] });
  });

  test('carries the details of a status', () => {
    const known = toBinary(
      AnySchema,
      create(AnySchema, {
        typeUrl: 'type.googleapis.com/shop.v1.Order',
        value: toBinary(order, create(order, { name: 'n' })),
      }),
    );
    const unknown = toBinary(AnySchema, create(AnySchema, { typeUrl: 'x/other.Type', value: bytes('v') }));
    const rpc = new BinaryWriter()
      .tag(1, 0)
      .int32(5)
      .tag(2, 2)
      .string('m')
      .tag(3, 2)
      .bytes(known)
      .tag(3, 2)
      .bytes(unknown)
      .finish();
    const { respond, json } = call('GET', '/v1/orders/7:peek', null);
    respond({}, [
      'grpc-status',
      '5',
      'grpc-status-details-bin',
      Buffer.from(rpc).toString('base64').replace(/=+$/, ''),
    ]);
    expect(json().details).toEqual([
      { '@type': 'type.googleapis.com/shop.v1.Order', name: 'n' },
      { '@type': 'x/other.Type', value: 'dg==' },
    ]);
  });

  test('without a gRPC status, or cut, is an error in JSON', () => {
    const html = call('GET', '/v1/orders/7:peek', null);
    html.stream.writeHead(Head.response(502, ['content-type', 'text/html']), false);
    html.stream.writeData(bytes('<html>'), true);
    expect([html.client.sent.head?.status, html.json().code]).toEqual([503, 14]);
    const cut = call('GET', '/v1/orders/7:peek', null);
    cut.stream.writeHead(Head.response(200, []), false);
    cut.stream.reset(new ProxyError('connectionClosed', 'upstream', 'gone'));
    expect([cut.client.sent.head?.status, cut.json().code]).toEqual([503, 14]);
    const short = call('GET', '/v1/orders/7:peek', null);
    short.stream.writeHead(Head.response(200, []), false);
    short.stream.writeData(new Uint8Array([0, 0, 0, 0, 9, 1]), false);
    short.stream.writeEnd(['grpc-status', '0']);
    expect([short.client.sent.head?.status, short.json().code]).toEqual([500, 13]);
  });

  test('a client that leaves cancels upstream', () => {
    const { stream, upstream } = call('GET', '/v1/orders/7:peek', null);
    const gone = new ProxyError('cancelled', 'downstream', 'gone');
    stream.onReset(gone);
    expect(upstream.error).toBe(gone);
  });
});

test('every mistake in the annotations is found', () => {
  const wrong = PROTO.replace('{name=shops/*/orders/*}', '{nope}')
    .replace('body: "order"', 'body: "gone"')
    .replace('/v1/orders/{id}:peek', 'v1');
  const compiled = compileMethods(buildDescriptors(wrong));
  expect('errors' in compiled && compiled.errors).toHaveLength(3);
  expect(compileMethods(bytes('garbage'))).toHaveProperty('errors');
});

test.each([
  ['/a/{x}', '/a/b%2Fc', ['b/c']],
  ['/a/{x=**}', '/a/b/c', ['b/c']],
  ['/a/*/c', '/a/b/c', []],
  ['/a/{x}', '/a/b/c', null],
  ['/a/{x}', '/a/%zz', null],
  ['/a.b', '/axb', null],
])('template %s on %s', (template, path, values) => {
  const compiled = compileTemplate(template);
  if (typeof compiled === 'string') throw new Error(compiled);
  expect(matchTemplate(compiled, path)).toEqual(values);
});

test.each(['a', '/**/b', '/{x', '/{1}', '/a//b'])('template %s is refused', (template) => {
  expect(compileTemplate(template)).toBeTypeOf('string');
});
