// Entry of a data-path worker: main's messages in, listeners up, and nothing else. What it does is in listen/ and
// proxy/; what it knows is in config/.

import { parentPort, workerData } from 'node:worker_threads';
import { threadHeld } from './base/held.ts';
import type { FromWorker, ListenerConfig, ToWorker, WorkerStart } from './base/messages.ts';
import { explain } from './config/explain.ts';
import { ConfigState } from './config/state.ts';
import { openAi } from './listen/ai.ts';
import type { Listener, OpenListener } from './listen/context.ts';
import { openInbound } from './listen/inbound.ts';
import { openLocal, openOutbound } from './listen/outbound.ts';
import { PolicyPorts } from './listen/policy-ports.ts';
import { LiveContext } from './listen/worker-context.ts';
import { reportSocketThrows } from './wire/socket.ts';

const OPEN: Readonly<Record<ListenerConfig['kind'], OpenListener>> = {
  outbound: openOutbound,
  local: openLocal,
  inbound: openInbound,
  ai: openAi,
};

if (parentPort === null) throw new Error('worker.ts is started by the sidecar, not by hand: run `weft sidecar`');
const port = parentPort;
const post = (message: FromWorker): void => port.postMessage(message);
const start = workerData as WorkerStart;
const context = new LiveContext(start, post);
reportSocketThrows((error) => context.contain(error));

const state = new ConfigState({
  trustDomain: start.trustDomain,
  namespace: start.namespace,
  apps: start.apps,
  series: context.series,
  clock: context.clock,
  wheel: context.wheel,
  random: context.random,
  secureContext: () => context.identity?.secureContext ?? null,
  peers: context.peers,
  spiffeId: () => context.identity?.identity.spiffeId ?? '',
  announce: (news) => post(news),
  publish: (snapshot) => {
    context.snapshot = snapshot;
  },
});

const policyPorts = new PolicyPorts(context, (port, reason) => post({ type: 'portLost', port, reason }));
let listeners: readonly Listener[] = [];
// The kernel spreads connections of a port over workers; a unix socket has one.
const mine = start.listeners.filter(({ path }) => path === undefined || start.workerIndex === 0);
const opened = Promise.all(mine.map((config) => OPEN[config.kind](context, config)));
// A listener that cannot be bound ends the worker with its error: main decides what that means.
opened.then((all) => {
  listeners = all;
  post({ type: 'listening' });
}, fail);

port.on('message', (message: ToWorker) => void handle(message).catch(fail));

async function handle(message: ToWorker): Promise<void> {
  switch (message.type) {
    case 'resources': {
      const { sequence, upserts, removed } = message;
      post({ type: 'applied', sequence, errors: await state.apply(upserts, removed) });
      return;
    }
    case 'identity':
      context.setIdentity(message.identity);
      // Which Service an application answers may follow from the identity.
      await state.apply([], []);
      return;
    case 'series':
      context.series.settle(message.request, message.slot, message.isOverflow);
      return;
    case 'health':
      state.follow(message, context.clock.nowMs());
      return;
    case 'ping':
      post({ type: 'pong' });
      return;
    case 'forget':
      context.series.forget(message.series);
      post({ type: 'forgot', request: message.request });
      return;
    case 'explain': {
      const result = explain(context.snapshot, message.query, context.clock.nowMs(), context.outboundPort);
      post({ type: 'explained', request: message.request, result });
      return;
    }
    case 'dump': {
      const nowMs = context.clock.nowMs();
      const result = {
        clusters: state.describeClusters(nowMs),
        endpoints: state.describeEndpoints(nowMs),
        connections: context.connections,
        heldBytes: threadHeld.bytes,
        overloadRung: context.overload.rung,
        slices: state.sliceCount.slices,
        timers: context.wheel.armedCount,
        bufferBytes: process.memoryUsage().arrayBuffers,
      };
      post({ type: 'dumped', request: message.request, result });
      return;
    }
    case 'localPorts':
      policyPorts.take(message.listeners);
      return;
    case 'drain':
      await opened;
      await drain(message.drainMs);
      state.close();
      context.telemetry.flush();
      post({ type: 'drained' });
  }
}

/** First the calls of others end; until they have, the application beside us may need to make calls of its own. */
async function drain(drainMs: number): Promise<void> {
  const deadlineMs = context.clock.nowMs() + drainMs;
  const stop = (inbound: boolean): void => {
    listeners.forEach((listener, i) => {
      if ((start.listeners[i]?.kind === 'inbound') === inbound) listener.stop();
    });
  };
  stop(true);
  await context.drain('inbound', drainMs);
  stop(false);
  policyPorts.take([]);
  await context.drain('all', Math.max(0, deadlineMs - context.clock.nowMs()));
}

/** A rejection here is a bug or a lost port: let it end the thread with its stack, where main sees it. */
function fail(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
