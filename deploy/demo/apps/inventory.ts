// The shop's stock, in memory: a gRPC server with a method of each kind.

import { create } from '@bufbuild/protobuf';
import {
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import {
  type AddStockRequest,
  type AddStockResponse,
  AddStockResponseSchema,
  type GetStockRequest,
  type GetStockResponse,
  GetStockResponseSchema,
  InventoryService,
  type ReserveRequest,
  type ReserveResponse,
  ReserveResponseSchema,
  type WatchStockRequest,
  type WatchStockResponse,
  WatchStockResponseSchema,
} from '../../../proto/gen/weft/demo/v1/inventory_pb.js';
import { serveGrpc } from './serve-grpc.ts';

const READINGS_MAX = 1_000;
const stock = new Map([
  ['lamp', 1_000],
  ['chair', 40],
  ['table', 12],
]);

serveGrpc('inventory', InventoryService, {
  getStock(call: ServerUnaryCall<GetStockRequest, GetStockResponse>, answer: sendUnaryData<GetStockResponse>) {
    const { sku } = call.request;
    const available = stock.get(sku);
    if (available === undefined) answer({ code: status.NOT_FOUND, details: `there is no article ${sku}` });
    else answer(null, create(GetStockResponseSchema, { sku, available }));
  },

  watchStock(call: ServerWritableStream<WatchStockRequest, WatchStockResponse>) {
    const readings = Math.min(call.request.readings, READINGS_MAX);
    let reading = 0;
    // One a loop turn, and none while the client does not read.
    const next = () => {
      if (call.cancelled) return undefined;
      if (reading === readings) return call.end();
      const available = stock.get(call.request.sku) ?? 0;
      const more = call.write(create(WatchStockResponseSchema, { reading: ++reading, available }));
      if (more) setImmediate(next);
      else call.once('drain', next);
      return undefined;
    };
    next();
  },

  addStock(call: ServerReadableStream<AddStockRequest, AddStockResponse>, answer: sendUnaryData<AddStockResponse>) {
    let deliveries = 0;
    let quantity = 0;
    call.on('data', (delivery: AddStockRequest) => {
      deliveries++;
      quantity += delivery.quantity;
      stock.set(delivery.sku, (stock.get(delivery.sku) ?? 0) + delivery.quantity);
    });
    call.on('end', () => answer(null, create(AddStockResponseSchema, { deliveries, quantity })));
  },

  reserve(call: ServerDuplexStream<ReserveRequest, ReserveResponse>) {
    call.on('data', ({ sku, quantity }: ReserveRequest) => {
      const before = stock.get(sku) ?? 0;
      const reserved = quantity <= before;
      if (reserved) stock.set(sku, before - quantity);
      call.write(create(ReserveResponseSchema, { reserved, available: stock.get(sku) ?? 0 }));
    });
    call.on('end', () => call.end());
  },
});
