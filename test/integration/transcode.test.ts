// JSON over HTTP to a real gRPC server through a caller's listener: what clients see, and that gRPC itself passes.
import { once } from 'node:events';
import { createServer, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { create, type DescMessage, type DescService, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import {
  type Client,
  credentials,
  Metadata,
  makeClientConstructor,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { grpcDefinition } from '../../proto/kit/grpc-definition.ts';
import { compileMethods, type MethodIndex } from '../../proto/kit/transcoded-methods.ts';
import { DEFAULT_RULE } from '../../sidecar/config/compile-route.ts';
import { EMPTY_SNAPSHOT } from '../../sidecar/config/snapshot.ts';
import { bindListener } from '../../sidecar/listen/bind.ts';
import { serveClear } from '../../sidecar/listen/connection.ts';
import { acceptorOf } from '../../sidecar/proxy/serve.ts';
import { WireSocket } from '../../sidecar/wire/socket.ts';
import { buildDescriptors } from '../support/descriptors.ts';
import { destinationTo, type ListenerRig, listenerRig, until } from '../support/listener-rig.ts';

const PROTO = `syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
service Stock {
  rpc Get(Item) returns (Item) { option (google.api.http) = { get: "/v1/items/{sku}" }; }
  rpc Watch(Item) returns (stream Item);
}
message Item { string sku = 1; int64 count = 2; }
`;

/** The message as its descriptor, which only exists at run time, decodes it. */
interface Item {
  sku: string;
  count: bigint;
}

let index: MethodIndex;
let item: DescMessage;
let service: DescService;
let server: Server;
let rig: ListenerRig;
let seen: Metadata[];
const clients: Client[] = [];

beforeAll(() => {
  const compiled = compileMethods(buildDescriptors(PROTO));
  if ('errors' in compiled) throw new Error(compiled.errors.join('\n'));
  index = compiled;
  item = index.registry.getMessage('shop.v1.Item') as DescMessage;
  service = index.registry.getService('shop.v1.Stock') as DescService;
});

beforeEach(async () => {
  seen = [];
  server = new Server();
  server.addService(grpcDefinition(service), {
    get(call: ServerUnaryCall<Item, Message>, done: sendUnaryData<Message>) {
      seen.push(call.metadata);
      const { sku } = call.request;
      if (sku === 'none') return done({ code: status.NOT_FOUND, details: 'no such item: €' });
      return done(null, create(item, { sku, count: 42n }));
    },
    watch(call: ServerWritableStream<Item, Message>) {
      for (const count of [1n, 2n, 3n]) call.write(create(item, { sku: call.request.sku, count }));
      call.end();
    },
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  rig = await listenerRig((context, config) => {
    const origin = { direction: 'outbound', service: '', port: 0, peer: null } as const;
    const accept = acceptorOf(context, origin);
    const settings = { listener: 'outbound', scheme: 'http', streamsMax: 100 } as const;
    return bindListener(context, config, (socket) => serveClear(context, new WireSocket(socket), accept, settings));
  }, 'outbound');
  configure(port);
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const connection of rig.connections) connection.destroy();
  await until('every connection is closed', () => rig.connections.size === 0);
  rig.close();
  server.forceShutdown();
});

/** The Service `stock`, whose application listens on `port`. */
function configure(port: number): void {
  const destination = { ...destinationTo(rig, 'shop/stock', port, 'grpc'), port: 80, transcode: index };
  const route = {
    rule: DEFAULT_RULE,
    pathKind: 'any',
    path: '',
    regex: null,
    method: '',
    headers: [],
    query: [],
    grpc: false,
  };
  const root = { label: '', length: 0, exact: null, prefix: null, children: new Map(), shorter: null };
  const host = { service: 'shop/stock', root, regexes: [], any: [route as never] };
  rig.context.snapshot = {
    ...EMPTY_SNAPSHOT,
    // fetch cannot set Host, so the listener's own address is a name of the Service, too.
    table: {
      hosts: new Map([
        ['stock', host],
        [`127.0.0.1:${rig.port}`, host],
      ]),
    },
    services: new Map([
      ['shop/stock', { name: 'shop/stock', ports: new Map([[80, destination]]), http: destination, localPort: 0 }],
    ]),
  };
}

function ask(path: string, body: string | null = null, headers: Record<string, string> = {}): Promise<Response> {
  const method = body === null ? 'GET' : 'POST';
  return fetch(`http://127.0.0.1:${rig.port}${path}`, {
    method,
    body,
    headers: { 'content-type': 'application/json', ...headers },
  });
}

test('a JSON body calls the method by its path, and its answer is JSON', async () => {
  const response = await ask('/shop.v1.Stock/Get', '{"sku":"a-1"}', { 'x-tenant': 'blue' });
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json']);
  expect(await response.json()).toEqual({ sku: 'a-1', count: '42' });
  expect(seen[0]?.get('x-tenant')).toEqual(['blue']);
  expect(String(seen[0]?.get('traceparent')[0])).toMatch(/^00-/);
  await until('the call is recorded', () => rig.records.length === 1);
  expect(rig.records[0]).toMatchObject({ service: 'shop/stock', path: '/shop.v1.Stock/Get', grpcStatus: 0 });
});

test('a binding of google.api.http calls it, too', async () => {
  expect(await (await ask('/v1/items/a%2D2')).json()).toEqual({ sku: 'a-2', count: '42' });
});

test('a gRPC error is its HTTP status, with google.rpc.Status as JSON', async () => {
  const response = await ask('/v1/items/none');
  expect(response.status).toBe(404);
  expect(await response.json()).toEqual({ code: 5, message: 'no such item: €', details: [] });
  await until('the call is recorded', () => rig.records.length === 1);
  expect(rig.records[0]?.grpcStatus).toBe(5);
});

test.each([
  ['a field that is not there', '{"skew":1}', 400, 3],
  ['a value of another type', '{"count":"many"}', 400, 3],
  ['a body that is no JSON', '{', 400, 3],
])('%s never reaches the application, and is recorded', async (_what, body, httpStatus, code) => {
  const response = await ask('/shop.v1.Stock/Get', body);
  expect(response.status).toBe(httpStatus);
  expect(await response.json()).toMatchObject({ code });
  expect(seen).toEqual([]);
  await until('the call is recorded', () => rig.records.length === 1);
  expect(rig.records[0]).toMatchObject({ service: 'shop/stock', status: httpStatus });
  expect(rig.count('active', 'outbound')).toBe(0);
});

test('a path that means no method is 404 in the same form', async () => {
  const response = await ask('/shop.v1.Stock/Nothing', '{}');
  expect([response.status, ((await response.json()) as { code: number }).code]).toEqual([404, 5]);
});

test('an application that is down is 503 in the same form', async () => {
  configure(1);
  const response = await ask('/v1/items/a-1');
  expect([response.status, ((await response.json()) as { code: number }).code]).toEqual([503, 14]);
});

test('gRPC calls to the same port pass untouched, streams included', async () => {
  const Stock = makeClientConstructor(grpcDefinition(service), 'Stock');
  const client = new Stock(`127.0.0.1:${rig.port}`, credentials.createInsecure(), {
    'grpc.default_authority': 'stock',
  });
  clients.push(client);
  const counts: bigint[] = [];
  const stream = client.makeServerStreamRequest(
    '/shop.v1.Stock/Watch',
    (sku: string) => Buffer.from(toBinary(item, create(item, { sku }))),
    (bytes: Buffer) => fromBinary(item, bytes) as unknown as { count: bigint },
    'a-1',
    new Metadata(),
  );
  for await (const message of stream) counts.push((message as { count: bigint }).count);
  expect(counts).toEqual([1n, 2n, 3n]);
});

test('an answer that never ends is refused at the bound, and its server stopped', async () => {
  let closed = 0;
  const endless = createServer();
  endless.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('close', () => closed++).on('error', () => {});
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    const more = (): void => void (stream.destroyed || stream.write(Buffer.alloc(1 << 20), more));
    more();
  });
  endless.listen(0, '127.0.0.1');
  await once(endless, 'listening');
  configure((endless.address() as AddressInfo).port);
  const response = await ask('/v1/items/a');
  expect(response.status).toBe(500);
  expect(await response.json()).toMatchObject({ code: 13, message: expect.stringContaining('larger than') });
  await until('the server is stopped', () => closed === 1);
  expect(rig.count('active', 'outbound')).toBe(0);
  endless.close();
});
