// A data-path worker without a data path: speaks base/messages.ts and does what a line on its outbound port says, so
// that the main thread's side of every message can be tried without traffic.

import { createServer, type Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { counterColumn } from '../../sidecar/base/counters.ts';
import type { FromWorker, TelemetryRecord, ToWorker, WorkerStart } from '../../sidecar/base/messages.ts';

const start = workerData as WorkerStart;
const port = parentPort as NonNullable<typeof parentPort>;
const post = (message: FromWorker): void => port.postMessage(message);
const column = counterColumn(start.counters, start.workerIndex + 1);
const known = new Map<string, string>();
const sockets = new Set<Socket>();
const asked: ((slot: number) => void)[] = [];
let spiffeId = '';
let draining = false;

/** One finished request, as a worker reports it. */
const RECORD: TelemetryRecord = {
  kind: 'request',
  log: true,
  span: true,
  direction: 'outbound',
  startMs: 1_700_000_000_000,
  endMs: 1_700_000_000_012.5,
  traceId: '0af7651916cd43dd8448eb211c80319c',
  spanId: 'b7ad6b7169203331',
  parentSpanId: '00f067aa0ba902b7',
  method: 'GET',
  authority: 'orders',
  path: '/items',
  status: 200,
  grpcStatus: -1,
  flag: '-',
  detail: '',
  route: 'default/orders',
  service: 'default/orders',
  endpoint: '127.0.0.1:1',
  peer: '',
  client: '',
  attempts: 1,
  requestBytes: 0,
  responseBytes: 5,
  usage: null,
};

port.on('message', (message: ToWorker) => {
  if (message.type === 'resources') {
    const errors = message.upserts
      .filter(({ name }) => name.endsWith('/refused'))
      .map(({ typeUrl, name }) => ({ typeUrl, name, error: 'the fake worker refuses this name' }));
    for (const { typeUrl, name, version } of message.upserts) known.set(`${typeUrl} ${name}`, version);
    for (const { typeUrl, name } of message.removed) known.delete(`${typeUrl} ${name}`);
    post({ type: 'applied', sequence: message.sequence, errors });
  }
  if (message.type === 'identity') spiffeId = message.identity.spiffeId;
  if (message.type === 'series') asked.shift()?.(message.slot);
  if (message.type === 'forget') post({ type: 'forgot', request: message.request });
  if (message.type === 'explain') post({ type: 'explained', request: message.request, result: message.query });
  if (message.type === 'dump') {
    post({ type: 'dumped', request: message.request, result: { spiffeId, resources: [...known.keys()] } });
  }
  if (message.type === 'drain') {
    draining = true;
    for (const server of servers) server.close();
    finish();
  }
});

function finish(): void {
  if (draining && sockets.size === 0) post({ type: 'drained' });
}

function slotOf(family: string, labels: readonly string[]): Promise<number> {
  post({ type: 'needSeries', request: 0, family, labels });
  return new Promise((resolve) => asked.push(resolve));
}

async function obey(socket: Socket, command: string): Promise<void> {
  if (command === 'die') process.exit(3);
  if (command === 'count') {
    const counter = await slotOf('retries', ['default/orders']);
    const gauge = await slotOf('active', ['outbound']);
    column[counter] = (column[counter] as number) + 1;
    column[gauge] = (column[gauge] as number) + 1;
  }
  if (command === 'telemetry') post({ type: 'telemetry', records: [RECORD], dropped: 0 });
  socket.write('done\n');
}

const servers = start.listeners.map(({ host, port: number, kind, reusePort }) => {
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (data) => void obey(socket, data.toString().trim()));
    socket.on('close', () => {
      sockets.delete(socket);
      finish();
    });
  });
  server.listen({ host, port: number, reusePort }, () => {
    if (kind === 'outbound') post({ type: 'listening' });
  });
  return server;
});
