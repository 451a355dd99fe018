// Who hears of a change, and who does not: the index's promise, counted.
import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { type EncodedResource, encodeResource, typeUrlOf } from '../../../control-plane/index/encoded.ts';
import { Index, type NeedsOf } from '../../../control-plane/index/index.ts';
import { EndpointSchema, ServiceSchema } from '../../../proto/gen/weft/mesh/v1/resources_pb.js';

const SERVICE = typeUrlOf(ServiceSchema);
const ENDPOINT = typeUrlOf(EndpointSchema);
const WEB = 'spiffe://weft/ns/shop/sa/web';
const BATCH = 'spiffe://weft/ns/shop/sa/batch';

const service = (name: string, localPort = 0): EncodedResource =>
  encodeResource(ServiceSchema, name, create(ServiceSchema, { name, localPort }));
const endpoint = (name: string, address: string): EncodedResource =>
  encodeResource(EndpointSchema, name, create(EndpointSchema, { address }));

/** `web` may call orders and stock, `batch` only stock. */
const needs =
  (ordersPort = 0): NeedsOf =>
  (id) =>
    id === WEB
      ? {
          resources: [service('shop/orders', ordersPort), service('shop/stock')],
          services: new Set(['shop/orders', 'shop/stock']),
        }
      : { resources: [service('shop/stock')], services: new Set(['shop/stock']) };

function setUp() {
  const index = new Index(needs());
  const heard: string[] = [];
  const web = index.watch(WEB, (typeUrl) => heard.push(`web ${typeUrl.split('.').at(-1)}`));
  const batch = index.watch(BATCH, (typeUrl) => heard.push(`batch ${typeUrl.split('.').at(-1)}`));
  return { index, heard, web, batch };
}

test('an endpoint is told to those who may call its Service, once, and to nobody else', () => {
  const { index, heard, web, batch } = setUp();
  index.setEndpoint('shop/orders', endpoint('shop/orders/a', '127.0.0.2'));
  expect(heard).toEqual(['web Endpoint']);
  expect([...web.versions(ENDPOINT).keys()]).toEqual(['shop/orders/a']);
  expect(batch.versions(ENDPOINT).size).toBe(0);
});

test('the same endpoint again is no change', () => {
  const { index, heard } = setUp();
  index.setEndpoint('shop/stock', endpoint('shop/stock/a', '127.0.0.2'));
  heard.length = 0;
  index.setEndpoint('shop/stock', endpoint('shop/stock/a', '127.0.0.2'));
  expect(heard).toEqual([]);
  index.setEndpoint('shop/stock', endpoint('shop/stock/a', '127.0.0.3'));
  expect(heard.sort()).toEqual(['batch Endpoint', 'web Endpoint']);
});

test('an endpoint that leaves is gone from every view, and leaving twice is harmless', () => {
  const { index, heard, web } = setUp();
  index.setEndpoint('shop/orders', endpoint('shop/orders/a', '127.0.0.2'));
  index.removeEndpoint('shop/orders/a');
  index.removeEndpoint('shop/orders/a');
  expect(heard).toEqual(['web Endpoint', 'web Endpoint']);
  expect(web.versions(ENDPOINT).size).toBe(0);
});

test('a workload that moves to another Service leaves the first', () => {
  const { index, web, batch } = setUp();
  index.setEndpoint('shop/stock', endpoint('w', '127.0.0.2'));
  index.setEndpoint('shop/orders', endpoint('w', '127.0.0.2'));
  expect(batch.versions(ENDPOINT).size).toBe(0);
  expect(web.versions(ENDPOINT).size).toBe(1);
});

test('a policy edit is told only where it changed something', () => {
  const { index, heard, web } = setUp();
  const before = web.versions(SERVICE).get('shop/orders');
  index.setPolicies(needs(4001));
  expect(heard).toEqual(['web Service']);
  expect(web.versions(SERVICE).get('shop/orders')).not.toBe(before);
  heard.length = 0;
  index.setPolicies(needs(4001));
  expect(heard).toEqual([]);
});

test('a Service that an identity may no longer call takes its endpoints along', () => {
  const { index, web } = setUp();
  index.setEndpoint('shop/orders', endpoint('shop/orders/a', '127.0.0.2'));
  index.setPolicies(() => ({ resources: [], services: new Set() }));
  expect([web.versions(SERVICE).size, web.versions(ENDPOINT).size]).toEqual([0, 0]);
});

test('two streams of one identity share bytes; a closed one hears nothing', () => {
  const { index, heard, web } = setUp();
  const second = index.watch(WEB, () => heard.push('second'));
  expect(second.resource(SERVICE, 'shop/orders')).toBe(web.resource(SERVICE, 'shop/orders'));
  web.close();
  index.setEndpoint('shop/orders', endpoint('shop/orders/a', '127.0.0.2'));
  expect(heard).toEqual(['second']);
});
