// A real data-path worker in its thread, driven as the main thread drives it: resources in, sockets on free loopback
// ports, answers out. What a test sees here is what a sidecar does.

import { Worker } from 'node:worker_threads';
import { create, type DescMessage, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import {
  EndpointSchema,
  RouteSchema,
  ServiceSchema,
  TelemetrySchema,
} from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { TlsMode } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { createCounterMemory } from '../../sidecar/base/counters.ts';
import type {
  ExplainQuery,
  FromWorker,
  ListenerConfig,
  LocalApp,
  ResourceBytes,
  ResourceError,
  TelemetryRecord,
  ToWorker,
  WorkerIdentity,
} from '../../sidecar/base/messages.ts';
import type { OverloadLimits } from '../../sidecar/base/overload.ts';
import { freePort } from './ports.ts';

/** Bytes of a wire resource, as the control plane sends them. */
export function resource<S extends DescMessage>(schema: S, name: string, init: MessageInitShape<S>): ResourceBytes {
  const typeUrl = `type.googleapis.com/${schema.typeName}`;
  return { typeUrl, name, version: '1', bytes: toBinary(schema, create(schema, init)) };
}

/** A Service on port 80 whose endpoints are plain servers on loopback, unless `init` says otherwise. */
export function service(name: string, init: MessageInitShape<typeof ServiceSchema> = {}): ResourceBytes {
  return resource(ServiceSchema, name, { name, ports: [{ port: 80, tls: TlsMode.OFF }], ...init });
}

/** An endpoint of `of` on loopback for its port 80. */
export function endpoint(of: string, port: number, labels: Record<string, string> = {}): ResourceBytes {
  return resource(EndpointSchema, `${of}/${port}`, { service: of, address: '127.0.0.1', ports: { 80: port }, labels });
}

export function route(
  name: string,
  init: Omit<MessageInitShape<typeof RouteSchema>, 'name' | '$typeName'>,
): ResourceBytes {
  return resource(RouteSchema, name, { name, ...init });
}

/** Logs every call of the application. */
export function logged(): ResourceBytes {
  const init = { name: 'shop/log', callersWithoutService: true, spec: { accessLog: { samplingPercent: 100 } } };
  return resource(TelemetrySchema, 'shop/log', init);
}

export interface WorkerRig {
  /** Of the outbound listener. */
  readonly port: number;
  readonly localPort: number;
  readonly inboundPort: number;
  readonly records: TelemetryRecord[];
  /** Stacks of throws: contained to one connection, or the end of the worker. */
  readonly contained: string[];
  /** Counts by `family label label ...`. */
  count(family: string, ...labels: string[]): number;
  /** Gives it an identity, as main does; config that was there is built anew. */
  identify(identity: WorkerIdentity): Promise<void>;
  apply(...resources: ResourceBytes[]): Promise<readonly ResourceError[]>;
  remove(...resources: ResourceBytes[]): Promise<void>;
  explain(query: Partial<ExplainQuery>): Promise<unknown>;
  dump(): Promise<{
    clusters: Record<string, unknown>[];
    endpoints: Record<string, unknown>[];
    connections: number;
    heldBytes: number;
    slices: number;
    timers: number;
    bufferBytes: number;
  }>;
  drain(drainMs: number): Promise<void>;
  close(): Promise<void>;
}

const NO_LIMITS: OverloadLimits = {
  heldBytesMax: Number.POSITIVE_INFINITY,
  heapBytesMax: Number.POSITIVE_INFINITY,
};

/** Starts a worker in namespace `shop` with an outbound listener, a local one for `shop/orders`, and an inbound one for `apps`. */
export async function workerRig(apps: readonly LocalApp[] = [], overload = NO_LIMITS): Promise<WorkerRig> {
  const [port, localPort, inboundPort] = [await freePort(), await freePort(), await freePort()];
  const counters = createCounterMemory(2, 8192);
  const column = new Float64Array(counters.buffer);
  const slots = new Map<string, number>();
  let nextSlot = 0;
  const common = { host: '127.0.0.1', reusePort: false, servicePort: 0 };
  const listeners: ListenerConfig[] = [
    { kind: 'outbound', port, service: '', ...common },
    { kind: 'local', port: localPort, service: 'shop/orders', ...common },
    { kind: 'inbound', port: inboundPort, service: '', ...common },
  ];
  const worker = new Worker(new URL('../../sidecar/worker.ts', import.meta.url), {
    workerData: {
      workerIndex: 0,
      trustDomain: 'mesh.local',
      namespace: 'shop',
      apps,
      listeners,
      counters,
      overload,
      spans: true,
    },
  });
  const records: TelemetryRecord[] = [];
  const contained: string[] = [];
  // A worker that dies closes every connection, which some tests would take for success.
  worker.on('error', (error: unknown) => {
    contained.push(error instanceof Error ? `${error.stack}` : String(error));
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  });
  const waiting = new Map<string, { resolve(message: FromWorker): void; reject(error: unknown): void }>();
  const post = (message: ToWorker): void => worker.postMessage(message);
  const answer = <T extends FromWorker['type']>(type: T, id = ''): Promise<Extract<FromWorker, { type: T }>> =>
    new Promise((resolve, reject) => {
      waiting.set(`${type} ${id}`, {
        resolve: (message) => resolve(message as Extract<FromWorker, { type: T }>),
        reject,
      });
    });
  worker.on('message', (message: FromWorker) => {
    if (message.type === 'needSeries') {
      const slot = nextSlot;
      // Wide enough for a histogram.
      nextSlot += 24;
      slots.set([message.family, ...message.labels].join(' '), slot);
      post({ type: 'series', request: message.request, slot, isOverflow: false });
    } else if (message.type === 'telemetry') records.push(...message.records);
    else if (message.type === 'contained') contained.push(message.stack);
    else {
      const id = 'sequence' in message ? message.sequence : 'request' in message ? message.request : '';
      const key = `${message.type} ${id}`;
      waiting.get(key)?.resolve(message);
      waiting.delete(key);
    }
  });
  await answer('listening');
  let sequence = 0;
  const send = async (
    upserts: readonly ResourceBytes[],
    removed: readonly { typeUrl: string; name: string }[],
  ): Promise<readonly ResourceError[]> => {
    const number = ++sequence;
    const applied = answer('applied', String(number));
    post({ type: 'resources', sequence: number, upserts, removed });
    return (await applied).errors;
  };
  return {
    port,
    localPort,
    inboundPort,
    records,
    contained,
    count(family, ...labels) {
      const slot = slots.get([family, ...labels].join(' '));
      return slot === undefined ? 0 : (column[counters.slots + slot] as number);
    },
    async identify(identity) {
      post({ type: 'identity', identity });
      await send([], []);
    },
    apply: (...resources) => send(resources, []),
    async remove(...resources) {
      await send([], resources);
    },
    async explain(query) {
      const request = ++sequence;
      const explained = answer('explained', String(request));
      const whole = {
        direction: 'outbound',
        method: 'GET',
        authority: '',
        path: '/',
        headers: [],
        caller: '',
      } as const;
      post({ type: 'explain', request, query: { ...whole, ...query } });
      return (await explained).result;
    },
    async dump() {
      const request = ++sequence;
      const dumped = answer('dumped', String(request));
      post({ type: 'dump', request });
      return (await dumped).result as Awaited<ReturnType<WorkerRig['dump']>>;
    },
    async drain(drainMs) {
      const drained = answer('drained');
      post({ type: 'drain', drainMs });
      await drained;
    },
    async close() {
      await worker.terminate();
    },
  };
}

/** Polls until `holds`, at most 20 s. @param what may be asked when it fails, to say what there is instead. */
export async function until(what: string | (() => string), holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`never happened: ${typeof what === 'string' ? what : what()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
