// A caller's outbound listener and a receiver's inbound listener with mutual TLS in between: what survives two hops.
import { once } from 'node:events';
import { createServer, type Server as HttpServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Server as TcpServer } from 'node:net';
import { create, type DescMessage, type DescService, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import {
  type Client,
  credentials,
  makeClientConstructor,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { grpcDefinition } from '../../proto/kit/grpc-definition.ts';
import { verifySpiffe } from '../../proto/kit/san.ts';
import { compileMethods } from '../../proto/kit/transcoded-methods.ts';
import type { ListenerConfig } from '../../sidecar/base/messages.ts';
import { DEFAULT_RULE } from '../../sidecar/config/compile-route.ts';
import { EMPTY_SNAPSHOT, type PortProtocol, type Snapshot } from '../../sidecar/config/snapshot.ts';
import { openInbound } from '../../sidecar/listen/inbound.ts';
import { openLocal } from '../../sidecar/listen/outbound.ts';
import { hostOf } from '../../sidecar/proxy/decide.ts';
import { connectorTo } from '../../sidecar/upstream/connect.ts';
import { Pool } from '../../sidecar/upstream/pool.ts';
import { buildDescriptors } from '../support/descriptors.ts';
import { type TestAuthority, testAuthority } from '../support/identities.ts';
import { destinationTo, type ListenerRig, listenerRig, until } from '../support/listener-rig.ts';
import { freePort } from '../support/ports.ts';

const SERVICE = 'shop/orders';
let authority: TestAuthority;
let outbound: ListenerRig;
let inbound: ListenerRig;
const cleanups: (() => void)[] = [];

beforeAll(async () => {
  authority = await testAuthority();
  return () => authority.close();
});

beforeEach(async () => {
  const local = (config: ListenerConfig): ListenerConfig => ({ ...config, service: SERVICE, servicePort: 80 });
  outbound = await listenerRig((context, config) => openLocal(context, local(config)), 'local');
  inbound = await listenerRig(openInbound, 'inbound');
  outbound.setIdentity(await authority.issue('web'));
  inbound.setIdentity(await authority.issue('orders'));
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) cleanup();
  for (const rig of [outbound, inbound]) {
    for (const connection of rig.connections) connection.destroy();
    await until('every connection is closed', () => rig.connections.size === 0);
    rig.close();
    expect(rig.count('active', rig === inbound ? 'inbound' : 'outbound')).toBe(0);
  }
});

/** The application on `appPort` behind the inbound listener, as `receiver`, and the way there from the local port of `orders`. */
function mesh(appPort: number, protocol: PortProtocol, receiver = SERVICE, ownRule = DEFAULT_RULE): void {
  const backend = { service: receiver, port: 80, cumulativeWeight: 1, labels: [] };
  const root = { label: '', length: 0, exact: null, prefix: null, children: new Map(), shorter: null };
  const any = [
    {
      rule: receiver === SERVICE ? ownRule : { ...DEFAULT_RULE, backends: [backend] },
      pathKind: 'any' as const,
      path: '',
      regex: null,
      method: '',
      headers: [],
      query: [],
      grpc: false,
    },
  ];
  const host = { service: SERVICE, root, regexes: [], any };
  const hosts = new Map([['orders.shop', host]]);
  if (receiver !== SERVICE) hosts.set(hostOf(receiver), { ...host, service: receiver });
  const table: Snapshot['table'] = { hosts };
  const app = { ...destinationTo(inbound, receiver, appPort, protocol), port: 80 };
  const own = { port: 80, protocol, tls: 'mutual' as const, destination: app };
  const authorization = { trustDomain: 'mesh.local', namespace: 'shop', deny: [], allow: [], hasAllow: false };
  inbound.context.snapshot = {
    ...EMPTY_SNAPSHOT,
    table,
    ownServices: new Map([[receiver, { name: receiver, ports: new Map([[80, own]]), authorization }]]),
  };
  const far = { ...destinationTo(outbound, receiver, inbound.port, protocol, 'outbound', 'mutual'), port: 80 };
  const secureContext = outbound.context.identity?.secureContext;
  if (secureContext === undefined) throw new Error('no identity');
  const connector = connectorTo({
    host: '127.0.0.1',
    port: inbound.port,
    protocol: 'http2',
    tls: {
      context: secureContext,
      serverName: `80.${hostOf(receiver)}`,
      alpn: 'h2',
      peers: null,
      sessions: null,
      verify: (certificate) => verifySpiffe(certificate, new Set(['spiffe://mesh.local/ns/shop/sa/orders'])),
    },
    connectTimeoutMs: 5000,
  });
  const limits = { connectionsMax: 4, pendingRequestsMax: 1024, requestsPerConnection: 100, idleTimeoutMs: 0 };
  far.cluster.setEndpoint(`${receiver}/app`, [], new Pool(connector, limits, outbound.context), true);
  outbound.context.snapshot = {
    ...EMPTY_SNAPSHOT,
    table,
    services: new Map([
      [receiver, { name: receiver, ports: new Map([[80, far]]), http: protocol === 'tcp' ? null : far, localPort: 0 }],
    ]),
  };
  cleanups.push(() => {
    far.cluster.removeEndpoint(`${receiver}/app`);
    app.cluster.removeEndpoint(`${receiver}/app`);
  });
}

async function listening<T extends HttpServer | TcpServer>(server: T): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

describe('gRPC', () => {
  const PROTO = `syntax = "proto3";
package shop.v1;
service Sums {
  rpc One(Number) returns (Number);
  rpc Down(Number) returns (stream Number);
  rpc Sum(stream Number) returns (Number);
  rpc Running(stream Number) returns (stream Number);
}
message Number { int32 value = 1; }
`;
  /** The message as its descriptor, which only exists at run time, decodes it. */
  type Value = { value: number };
  let number: DescMessage;
  let service: DescService;
  let client: Client;

  const encode = (value: number): Buffer => Buffer.from(toBinary(number, create(number, { value })));
  const decode = (bytes: Buffer): number => (fromBinary(number, bytes) as unknown as { value: number }).value;

  beforeEach(async () => {
    const index = compileMethods(buildDescriptors(PROTO));
    if ('errors' in index) throw new Error(index.errors.join('\n'));
    number = index.registry.getMessage('shop.v1.Number') as DescMessage;
    service = index.registry.getService('shop.v1.Sums') as DescService;
    const server = new Server();
    const make = (value: number) => create(number, { value });
    server.addService(grpcDefinition(service), {
      one(call: ServerUnaryCall<Value, Message>, done: sendUnaryData<Message>) {
        if (call.request.value < 0) return done({ code: status.OUT_OF_RANGE, details: 'below zero: ½' });
        return done(null, make(call.request.value + 1));
      },
      down(call: ServerWritableStream<Value, Message>) {
        for (let value = call.request.value; value > 0; value--) call.write(make(value));
        call.end();
      },
      sum(call: ServerReadableStream<Value, Message>, done: sendUnaryData<Message>) {
        let sum = 0;
        call.on('data', ({ value }: { value: number }) => {
          sum += value;
        });
        call.on('end', () => done(null, make(sum)));
      },
      running(call: ServerDuplexStream<Value, Message>) {
        let sum = 0;
        call.on('data', ({ value }: { value: number }) => {
          sum += value;
          call.write(make(sum));
        });
        call.on('end', () => call.end());
      },
    });
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    );
    mesh(port, 'grpc');
    const Sums = makeClientConstructor(grpcDefinition(service), 'Sums');
    client = new Sums(`127.0.0.1:${outbound.port}`, credentials.createInsecure());
    cleanups.push(() => {
      client.close();
      server.forceShutdown();
    });
  });

  test('unary', async () => {
    const answer = await new Promise((resolve, reject) =>
      client.makeUnaryRequest('/shop.v1.Sums/One', encode, decode, 41, (error, value) =>
        error === null ? resolve(value) : reject(error),
      ),
    );
    expect(answer).toBe(42);
    await until('both hops record it', () => outbound.records.length === 1 && inbound.records.length === 1);
    const [caller, receiver] = [outbound.records[0], inbound.records[0]];
    expect(receiver).toMatchObject({ grpcStatus: 0, peer: 'spiffe://mesh.local/ns/shop/sa/web' });
    expect([receiver?.traceId, receiver?.parentSpanId]).toEqual([caller?.traceId, caller?.spanId]);
  });

  test('an error keeps its status and its words', async () => {
    const error = await new Promise((resolve) =>
      client.makeUnaryRequest('/shop.v1.Sums/One', encode, decode, -1, (failure) => resolve(failure)),
    );
    expect(error).toMatchObject({ code: status.OUT_OF_RANGE, details: 'below zero: ½' });
  });

  test('server-streaming', async () => {
    const got: number[] = [];
    for await (const value of client.makeServerStreamRequest('/shop.v1.Sums/Down', encode, decode, 1000))
      got.push(value);
    expect([got.length, got[0], got.at(-1)]).toEqual([1000, 1000, 1]);
  });

  test('client-streaming', async () => {
    const sum = await new Promise((resolve, reject) => {
      const call = client.makeClientStreamRequest('/shop.v1.Sums/Sum', encode, decode, (error, value) =>
        error === null ? resolve(value) : reject(error),
      );
      for (let value = 1; value <= 1000; value++) call.write(value);
      call.end();
    });
    expect(sum).toBe(500_500);
  });

  test('bidirectional, each answer before the next question', async () => {
    const call = client.makeBidiStreamRequest('/shop.v1.Sums/Running', encode, decode);
    const got: number[] = [];
    call.write(1);
    for await (const value of call) {
      got.push(value as number);
      if (got.length < 100) call.write(1);
      else call.end();
    }
    expect([got.length, got.at(-1)]).toEqual([100, 100]);
  });

  test('a caller that cancels ends the call at the application', async () => {
    const call = client.makeBidiStreamRequest('/shop.v1.Sums/Running', encode, decode);
    call.on('error', () => {});
    call.write(1);
    await once(call, 'data');
    call.cancel();
    await until('both hops have ended it', () => outbound.records.length === 1 && inbound.records.length === 1);
    expect(inbound.records[0]?.flag).toMatch(/^D[CR]$/);
  });
});

test('a backend of another Service than the host is called by its own name', async () => {
  const hosts: (string | undefined)[] = [];
  const app = createServer((request, response) => {
    hosts.push(request.headers.host);
    response.end('v2');
  });
  mesh(await listening(app), 'http1', 'shop/orders-v2');
  cleanups.push(() => {
    app.closeAllConnections();
    app.close();
  });
  const response = await fetch(`http://127.0.0.1:${outbound.port}/`);
  expect([response.status, await response.text(), hosts]).toEqual([200, 'v2', ['orders-v2.shop']]);
});

/** A POST with a small body, to the end of its answer. */
async function post(): Promise<IncomingMessage> {
  const request = httpRequest({ port: outbound.port, host: '127.0.0.1', method: 'POST', agent: false }).end('x');
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  await once(response.resume(), 'end');
  return response;
}

test('what the receiver could not hand to its application is tried again, even a POST', async () => {
  mesh(await freePort(), 'http1');
  const response = await post();
  expect([response.statusCode, response.headers['x-weft-error']]).toEqual([503, 'UF']);
  expect(outbound.count('retries', SERVICE)).toBe(DEFAULT_RULE.retry.attempts);
});

test('an application that breaks off is tried again where a policy says RESET, though its sidecar answers', async () => {
  let calls = 0;
  const app = createServer((request, response) => {
    if (++calls < 3) request.socket.destroy();
    else response.end('at last');
  });
  cleanups.push(() => void app.close().closeAllConnections());
  const rule = (onReset: boolean) => ({ ...DEFAULT_RULE, retry: { ...DEFAULT_RULE.retry, attempts: 3, onReset } });
  const get = async () => {
    const request = httpRequest({ port: outbound.port, host: '127.0.0.1', agent: false }).end();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    await once(response.resume(), 'end');
    return [response.statusCode, calls];
  };
  const port = await listening(app);
  mesh(port, 'http1', SERVICE, rule(false));
  expect(await get()).toEqual([503, 1]);
  calls = 0;
  mesh(port, 'http1', SERVICE, rule(true));
  expect(await get()).toEqual([200, 3]);
});

test('CVE class 9: an application that speaks in the name of its sidecar is believed nothing', async () => {
  let calls = 0;
  const app = createServer((_request, response) => {
    calls++;
    response.writeHead(503, { 'x-weft-error': 'UF' }).end();
  });
  cleanups.push(() => void app.close().closeAllConnections());
  mesh(await listening(app), 'http1');
  const response = await post();
  expect([response.statusCode, response.headers['x-weft-error'], calls]).toEqual([503, undefined, 1]);
});

test('a body of 64 MiB passes both ways in bounded memory', { timeout: 60_000 }, async () => {
  const app = createServer((request, response) => {
    response.writeHead(200);
    request.pipe(response);
  });
  mesh(await listening(app), 'http1');
  cleanups.push(() => {
    app.closeAllConnections();
    app.close();
  });
  const total = 64 * 1024 * 1024;
  const chunk = Buffer.alloc(256 * 1024, 'w');
  let sent = 0;
  let got = 0;
  let peakBytes = 0;
  const before = process.memoryUsage().arrayBuffers;
  await new Promise<void>((resolve, reject) => {
    const request = httpRequest(
      { port: outbound.port, host: '127.0.0.1', method: 'POST', path: '/echo' },
      (response) => {
        response.on('data', (data: Buffer) => {
          got += data.length;
          peakBytes = Math.max(peakBytes, sent - got);
        });
        response.on('end', resolve);
        response.on('error', reject);
      },
    );
    request.on('error', reject);
    const push = (): void => {
      while (sent < total) {
        sent += chunk.length;
        if (!request.write(chunk)) return void request.once('drain', push);
      }
      request.end();
    };
    push();
  });
  expect(got).toBe(total);
  // What is under way at once: the windows and high-water marks of four connections, and the kernel's buffers.
  expect(peakBytes).toBeLessThan(24 * 1024 * 1024);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024);
});

test('a receiver that does not read stops the sender', async () => {
  const app = createServer((request) => void request.pause());
  mesh(await listening(app), 'http1');
  cleanups.push(() => {
    app.closeAllConnections();
    app.close();
  });
  const request = httpRequest({ port: outbound.port, host: '127.0.0.1', method: 'POST', path: '/' });
  request.on('error', () => {});
  cleanups.push(() => request.destroy());
  const chunk = Buffer.alloc(64 * 1024);
  let sent = 0;
  let full = false;
  const push = (): void => {
    full = false;
    for (let turn = 0; turn < 16; turn++) {
      sent += chunk.length;
      if (!request.write(chunk)) {
        full = true;
        return void request.once('drain', push);
      }
    }
    setImmediate(push);
  };
  push();
  let last = -1;
  let same = 0;
  await until('nothing moves any more', () => {
    same = full && sent === last ? same + 1 : 0;
    last = sent;
    return same > 50;
  });
  expect(sent).toBeLessThan(32 * 1024 * 1024);
});

test('opaque TCP travels as CONNECT, whoever speaks first and whoever ends first', async () => {
  const app = createTcpServer({ allowHalfOpen: true }, (socket) => {
    socket.write('220 ready\r\n');
    let heard = '';
    socket.on('data', (data) => {
      heard += data;
    });
    socket.on('end', () => socket.end(`heard ${heard}`));
  });
  mesh(await listening(app), 'tcp');
  cleanups.push(() => void app.close());
  const socket = connect({ port: outbound.port, host: '127.0.0.1', allowHalfOpen: true });
  cleanups.push(() => void socket.destroy());
  let text = '';
  socket.setEncoding('utf8').on('data', (data) => {
    text += data;
  });
  await until('the greeting arrives', () => text === '220 ready\r\n');
  socket.end('hello');
  await once(socket, 'end');
  expect(text).toBe('220 ready\r\nheard hello');
});

test('opaque TCP whose server ends first still takes what the client has to say', async () => {
  let heard = '';
  const app = createTcpServer({ allowHalfOpen: true }, (socket) => {
    socket.end('bye');
    socket.on('data', (data) => {
      heard += data;
    });
  });
  mesh(await listening(app), 'tcp');
  cleanups.push(() => void app.close());
  const socket = connect({ port: outbound.port, host: '127.0.0.1', allowHalfOpen: true });
  cleanups.push(() => void socket.destroy());
  socket.resume();
  await once(socket, 'end');
  socket.end('last words');
  await until('the application hears it', () => heard === 'last words');
});
