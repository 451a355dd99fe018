// The tour's calls: HTTP over two sidecars with both identities, gRPC of every kind, JSON to gRPC.

import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Client, type ClientDuplexStream, credentials, type MethodDefinition } from '@grpc/grpc-js';
import {
  AddStockRequestSchema,
  type AddStockResponse,
  GetStockRequestSchema,
  type GetStockResponse,
  InventoryService,
  type ReserveRequest,
  ReserveRequestSchema,
  type ReserveResponse,
  WatchStockRequestSchema,
  type WatchStockResponse,
} from '../../../proto/gen/weft/demo/v1/inventory_pb.js';
import { grpcDefinition } from '../../../proto/kit/grpc-definition.ts';
import { type RiskModel, scoreRisk } from '../apps/risk.ts';
import riskModel from '../apps/risk-model.json' with { type: 'json' };
import { admin, call, sidecarPort, type TourContext } from './context.ts';
import { must, type Step } from './step.ts';

const WEB = 'spiffe://mesh.local/ns/default/sa/web';
const ORDERS = 'spiffe://mesh.local/ns/default/sa/orders';
const READINGS = 200;
const RESERVATIONS = 5;

export const callSteps: readonly Step<TourContext>[] = [
  {
    name: 'a call over two sidecars',
    expected: `200; orders sees its caller ${WEB}, and answers as ${ORDERS}`,
    boundMs: 10_000,
    async run({ mesh }) {
      const { status, body } = await call(mesh.instance('web').appPort, 'GET', '/orders/7');
      must(status === 200, `${status}: ${body}`);
      const { caller, instance, version } = JSON.parse(body) as Record<string, string>;
      must(caller === `URI=${WEB}`, `orders sees its caller as ${caller}`);
      // Who answered, by the certificate that its sidecar shows.
      const { certificate } = await admin<{ certificate: { spiffeId: string; serial: string } }>(
        mesh.instance(instance ?? ''),
        '/certificates',
      );
      must(certificate.spiffeId === ORDERS, `${instance} holds a certificate of ${certificate.spiffeId}`);
      return `200 from ${instance} (${version}); caller ${caller}; callee ${certificate.spiffeId}, certificate ${certificate.serial}`;
    },
  },
  {
    name: 'gRPC: unary',
    expected: 'orders asks inventory for the stock of lamps, and gets a NOT_FOUND for what is not sold',
    boundMs: 10_000,
    run: (context) =>
      withInventory(context, async (client) => {
        const { available } = await unary(client, 'lamp');
        must(available > 0, `${available} lamps`);
        const missing = await unary(client, 'yacht').then(
          () => 'an answer',
          (error: Error) => error.message,
        );
        must(missing.startsWith('5 NOT_FOUND'), `for a yacht: ${missing}`);
        return `${available} lamps; for a yacht: ${missing}`;
      }),
  },
  {
    name: 'gRPC: server streaming',
    expected: `${READINGS} readings in order, then OK`,
    boundMs: 10_000,
    run: (context) =>
      withInventory(context, async (client) => {
        const { path, requestSerialize, responseDeserialize } = method('watchStock');
        const request = create(WatchStockRequestSchema, { sku: 'lamp', readings: READINGS });
        const stream = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, soon());
        let count = 0;
        for await (const reading of stream as AsyncIterable<WatchStockResponse>) {
          must(reading.reading === ++count, `reading ${reading.reading} came as number ${count}`);
        }
        must(count === READINGS, `${count} readings`);
        return `${count} readings in order, then OK`;
      }),
  },
  {
    name: 'gRPC: client streaming',
    expected: '3 deliveries of 10, 20 and 30 chairs add up to 60',
    boundMs: 10_000,
    run: (context) =>
      withInventory(context, async (client) => {
        const { path, requestSerialize, responseDeserialize } = method('addStock');
        const total = await new Promise<AddStockResponse>((resolve, reject) => {
          const stream = client.makeClientStreamRequest(
            path,
            requestSerialize,
            responseDeserialize,
            soon(),
            (error, value) => {
              if (error === null) resolve(value as unknown as AddStockResponse);
              else reject(error);
            },
          );
          for (const quantity of [10, 20, 30]) stream.write(create(AddStockRequestSchema, { sku: 'chair', quantity }));
          stream.end();
        });
        must(
          total.deliveries === 3 && total.quantity === 60,
          `${total.deliveries} deliveries, ${total.quantity} chairs`,
        );
        return `${total.deliveries} deliveries, ${total.quantity} chairs`;
      }),
  },
  {
    name: 'gRPC: both ways at once',
    expected: `${RESERVATIONS} reservations, each answered before the next is sent`,
    boundMs: 10_000,
    run: (context) => withInventory(context, reserveInTurns),
  },
  {
    name: 'JSON to a gRPC model server',
    expected:
      'the risk of an order as JSON, equal to the model computed here; a bad feature is 400 with a google.rpc.Status',
    boundMs: 10_000,
    async run({ mesh }) {
      const port = sidecarPort(mesh.instance('orders-1'), 'local:scorer');
      const features = { amount: 950, quantity: 8, accountAgeDays: 2, ordersLastHour: 4 };
      const json = { 'content-type': 'application/json' };
      const { status, body } = await call(port, 'POST', '/v1/score', json, JSON.stringify(features));
      must(status === 200, `${status}: ${body}`);
      const { risk } = JSON.parse(body) as { risk: number };
      const wanted = scoreRisk(riskModel satisfies RiskModel, Object.values(features)).risk;
      must(Math.abs(risk - wanted) < 1e-12, `risk ${risk}, the model says ${wanted}`);
      const bad = await call(port, 'POST', '/v1/score', json, JSON.stringify({ ...features, amount: -1 }));
      must(bad.status === 400 && JSON.parse(bad.body).code === 3, `a negative amount: ${bad.status} ${bad.body}`);
      return `risk ${risk.toFixed(6)}; a negative amount: ${bad.status} ${bad.body}`;
    },
  },
];

const methods = grpcDefinition(InventoryService);

function method(name: string): MethodDefinition<object, object> {
  return methods[name] as MethodDefinition<object, object>;
}

/** As the orders application calls it: through its sidecar's port for inventory. */
async function withInventory(context: TourContext, use: (client: Client) => Promise<string>): Promise<string> {
  const port = sidecarPort(context.mesh.instance('orders-1'), 'local:inventory');
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

/** The deadline of one call. */
function soon(): { deadline: number } {
  return { deadline: Date.now() + 8_000 };
}

/** Stock of one article. Rejects with gRPC's `5 NOT_FOUND: …`. */
export function unary(client: Client, sku: string): Promise<GetStockResponse> {
  const { path, requestSerialize, responseDeserialize } = method('getStock');
  const init: MessageInitShape<typeof GetStockRequestSchema> = { sku };
  return new Promise((resolve, reject) => {
    const request = create(GetStockRequestSchema, init);
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, soon(), (error, value) => {
      if (error === null) resolve(value as unknown as GetStockResponse);
      else reject(error);
    });
  });
}

async function reserveInTurns(client: Client): Promise<string> {
  const { path, requestSerialize, responseDeserialize } = method('reserve');
  const stream = client.makeBidiStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    soon(),
  ) as unknown as ClientDuplexStream<ReserveRequest, ReserveResponse>;
  const send = () => stream.write(create(ReserveRequestSchema, { sku: 'table', quantity: 1 }));
  const left: number[] = [];
  send();
  for await (const { reserved, available } of stream as AsyncIterable<ReserveResponse>) {
    must(reserved, `the reservation was refused with ${available} left`);
    left.push(available);
    // The next leaves only now: an answer that waited for the end of the requests would never come.
    if (left.length < RESERVATIONS) send();
    else stream.end();
  }
  must(left.length === RESERVATIONS, `${left.length} answers`);
  must(
    left.every((value, i) => i === 0 || value === (left[i - 1] ?? 0) - 1),
    `tables left: ${left.join(', ')}`,
  );
  return `tables left: ${left.join(', ')}`;
}
