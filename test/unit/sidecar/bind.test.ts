// A listener's bound on open connections.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { expect, test, vi } from 'vitest';
import { bindListener } from '../../../sidecar/listen/bind.ts';
import type { WorkerContext } from '../../../sidecar/listen/context.ts';

vi.mock('../../../sidecar/base/limits.ts', () => ({ LIMITS: { listenerConnectionsMax: 2 } }));

test('one connection too many is closed at once and counted; a place that gets free is taken', async () => {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  const counted: string[][] = [];
  const series = { counter: (...labels: string[]) => ({ add: () => void counted.push(labels) }) };
  const config = { kind: 'outbound', host: '127.0.0.1', port, reusePort: false, service: '', servicePort: 0 } as const;
  const accepted: Socket[] = [];
  // The counters are all that it needs of a worker.
  const context = { series } as unknown as WorkerContext;
  const listener = await bindListener(context, config, (socket) => {
    accepted.push(socket);
    socket.on('error', () => {});
  });
  const clients = [connect(port), connect(port)];
  await vi.waitFor(() => expect(accepted).toHaveLength(2));
  await once(connect(port).resume(), 'close');
  expect(counted).toEqual([['guards', 'outbound', 'connections']]);
  clients[0]?.destroy();
  accepted[0]?.destroy();
  await vi.waitFor(async () => {
    connect(port).on('error', () => {});
    expect(accepted.length).toBeGreaterThan(2);
  });
  listener.stop();
  for (const socket of accepted) socket.destroy();
});
