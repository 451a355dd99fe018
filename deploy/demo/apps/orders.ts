// The shop's orders: asks `inventory` over gRPC and `scorer` in JSON before it takes one. VERSION tells releases apart.

import type { IncomingMessage } from 'node:http';
import { Agent, request as callHttp } from 'node:http';
import { create } from '@bufbuild/protobuf';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import type { GetStockResponse } from '../../../proto/gen/weft/demo/v1/inventory_pb.js';
import { GetStockRequestSchema, InventoryService } from '../../../proto/gen/weft/demo/v1/inventory_pb.js';
import { grpcDefinition } from '../../../proto/kit/grpc-definition.ts';
import { HttpError, need, readJson, readText, sendJson, serveHttp, traceHeaders } from './serve.ts';

interface Order {
  readonly id: number;
  readonly sku: string;
  readonly quantity: number;
  readonly amount: number;
}

const version = need('VERSION');
const instance = need('INSTANCE');
const scorerUrl = need('SCORER_URL');
const inventory = new Client(need('INVENTORY_ADDRESS'), credentials.createInsecure());
const getStock = grpcDefinition(InventoryService)['getStock']!;
const agent = new Agent({ keepAlive: true });
/** Orders above this are looked at by people. */
const RISK_MAX = 0.5;
const ORDERS_MAX = 10_000;
const orders = new Map<number, Order>();
for (let id = 1; id <= 20; id++) orders.set(id, { id, sku: 'lamp', quantity: 1, amount: 29 });

serveHttp('orders', async (request, response) => {
  const path = (request.url ?? '/').split('?')[0] ?? '/';
  // Who the caller is according to the platform; an application may show it, log it, or decide by it.
  const caller = request.headers['x-forwarded-client-cert'] ?? '';
  const self = { version, instance, caller };
  if (path === '/orders' && request.method === 'POST') {
    return sendJson(response, 201, { ...(await place(request)), ...self });
  }
  await readText(request);
  const order = orders.get(Number(/^\/orders\/(\d+)$/.exec(path)?.[1]));
  if (order === undefined) throw new HttpError(404, `there is no ${path}`);
  if (request.method === 'DELETE') orders.delete(order.id);
  else if (request.method !== 'GET') throw new HttpError(405, 'GET or DELETE an order');
  return sendJson(response, 200, { ...order, ...self });
});

/** Takes an order when there is stock and little risk. Throws HttpError 400, 409 or 502. */
async function place(request: IncomingMessage): Promise<Order & { available: number; risk: number; held: boolean }> {
  const { sku, quantity, amount } = await readJson(request);
  if (typeof sku !== 'string' || typeof quantity !== 'number' || typeof amount !== 'number') {
    throw new HttpError(400, 'an order is {"sku":"lamp","quantity":2,"amount":59}');
  }
  const headers = traceHeaders(request);
  const [available, risk] = await Promise.all([stockOf(sku, headers), riskOf(quantity, amount, headers)]);
  if (available < quantity) throw new HttpError(409, `${quantity} of ${sku} asked for, ${available} left`);
  if (orders.size >= ORDERS_MAX) throw new HttpError(507, `this demo keeps ${ORDERS_MAX} orders`);
  const order = { id: orders.size + 1, sku, quantity, amount };
  orders.set(order.id, order);
  return { ...order, available, risk, held: risk > RISK_MAX };
}

function stockOf(sku: string, headers: Record<string, string>): Promise<number> {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  return new Promise((resolve, reject) => {
    inventory.makeUnaryRequest(
      getStock.path,
      getStock.requestSerialize,
      getStock.responseDeserialize,
      create(GetStockRequestSchema, { sku }),
      metadata,
      { deadline: Date.now() + 2_000 },
      (error, stock) => {
        if (error !== null) reject(new Error(`inventory: ${error.message}`));
        else resolve((stock as unknown as GetStockResponse).available);
      },
    );
  });
}

/** JSON over HTTP, though the scorer speaks gRPC only. */
async function riskOf(quantity: number, amount: number, headers: Record<string, string>): Promise<number> {
  const body = JSON.stringify({ amount, quantity, accountAgeDays: 400, ordersLastHour: 1 });
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const options = { agent, method: 'POST', headers: { ...headers, 'content-type': 'application/json' } };
    callHttp(`${scorerUrl}/v1/score`, options, resolve).once('error', reject).end(body);
  });
  const text = await readText(answer);
  if (answer.statusCode !== 200) throw new Error(`scorer: ${answer.statusCode} ${text}`);
  return Number(JSON.parse(text).risk ?? 0);
}
