// Delta ADS over a real gRPC connection: who gets what, in how many messages and bytes.
import { once } from 'node:events';
import { create } from '@bufbuild/protobuf';
import {
  type ClientDuplexStream,
  credentials,
  makeGenericClientConstructor,
  Server,
  ServerCredentials,
} from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { DISCOVERY_DEFINITION, discoveryService } from '../../control-plane/discovery/server.ts';
import { type EncodedResource, encodeResource, typeUrlOf } from '../../control-plane/index/encoded.ts';
import { Index } from '../../control-plane/index/index.ts';
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import { EndpointSchema, ServiceSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { eventually } from '../support/control-plane.ts';

const ENDPOINT = typeUrlOf(EndpointSchema);
const SERVICE = typeUrlOf(ServiceSchema);
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

type Call = ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

/** A sidecar as the server sees it: subscribes to everything of both types and acknowledges what it gets. */
class Sidecar {
  readonly received: DeltaDiscoveryResponse[] = [];
  readonly call: Call;
  private arrived: (() => void)[] = [];
  constructor(port: number, caller: string) {
    const Client = makeGenericClientConstructor(DISCOVERY_DEFINITION, 'ads');
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
      'grpc.primary_user_agent': caller,
    }) as unknown as { close(): void; deltaAggregatedResources(): Call };
    this.call = client.deltaAggregatedResources();
    this.call.on('error', () => {});
    this.call.on('data', (response: DeltaDiscoveryResponse) => {
      this.received.push(response);
      this.say({ typeUrl: response.typeUrl, responseNonce: response.nonce });
      for (const wake of this.arrived.splice(0)) wake();
    });
    cleanups.push(
      () => client.close(),
      () => this.call.cancel(),
    );
    for (const typeUrl of [SERVICE, ENDPOINT]) this.say({ typeUrl, resourceNamesSubscribe: ['*'] });
  }
  say(fields: { typeUrl: string; resourceNamesSubscribe?: string[]; responseNonce?: string }): void {
    this.call.write(create(DeltaDiscoveryRequestSchema, fields));
  }
  async until(count: number): Promise<void> {
    while (this.received.length < count) await new Promise<void>((resolve) => this.arrived.push(resolve));
  }
}

const service = (name: string): EncodedResource => encodeResource(ServiceSchema, name, create(ServiceSchema, { name }));
const endpoint = (name: string, address: string): EncodedResource =>
  encodeResource(EndpointSchema, name, create(EndpointSchema, { address }));

async function setUp() {
  const index = new Index((id) =>
    id === 'web'
      ? { resources: [service('shop/orders')], services: new Set(['shop/orders']) }
      : { resources: [], services: new Set() },
  );
  const closed: string[] = [];
  const server = new Server();
  // The transport's identity stands in for a certificate here; what matters is that the node field never does.
  const attest = (call: { metadata: { get(key: string): unknown[] } }) => {
    const agent = String(call.metadata.get('user-agent')[0]).split(' ')[0] as string;
    return agent === 'nobody' ? { error: 'no certificate' } : { spiffeId: agent, serial: '' };
  };
  server.addService(
    DISCOVERY_DEFINITION,
    discoveryService(index, attest, {
      onOpen() {},
      onSend() {},
      onAck() {},
      onReject() {},
      onClose: (stream) => closed.push(stream.spiffeId),
    }),
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  cleanups.push(() => server.forceShutdown());
  return { index, port, closed };
}

test('one endpoint change is one small message to the one concerned and nothing to the other', async () => {
  const { index, port } = await setUp();
  const web = new Sidecar(port, 'web');
  const batch = new Sidecar(port, 'batch');
  await web.until(2);
  await batch.until(2);
  const before = [web.received.length, batch.received.length];
  index.setEndpoint('shop/orders', endpoint('shop/orders/a', '127.0.0.2'));
  await web.until(3);
  expect(before).toEqual([2, 2]);
  const message = web.received[2] as DeltaDiscoveryResponse;
  expect(message.resources.map((resource) => resource.name)).toEqual(['shop/orders/a']);
  expect(message.resources[0]?.resource?.value.length).toBeLessThan(64);
  // A later change of both views would reach batch after anything it was owed before.
  index.setPolicies(() => ({ resources: [service('shop/stock')], services: new Set() }));
  await batch.until(3);
  expect(batch.received[2]?.resources.map((resource) => resource.name)).toEqual(['shop/stock']);
});

test('many changes within a turn are one message', async () => {
  const { index, port } = await setUp();
  const web = new Sidecar(port, 'web');
  await web.until(2);
  for (let i = 0; i < 50; i++) index.setEndpoint('shop/orders', endpoint(`shop/orders/${i}`, '127.0.0.2'));
  await web.until(3);
  expect(web.received[2]?.resources).toHaveLength(50);
});

test('CVE class 15: a caller without identity is turned away, and a closed stream is forgotten', async () => {
  const { port, closed } = await setUp();
  const nobody = new Sidecar(port, 'nobody');
  const [error] = (await once(nobody.call, 'error')) as [{ code: number }];
  expect(error.code).toBe(16);
  const web = new Sidecar(port, 'web');
  await web.until(2);
  web.call.end();
  await once(web.call, 'end');
  await eventually('it is forgotten', () => closed.length > 0);
  expect(closed).toEqual(['web']);
});
