// A listener's bound on open connections.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect, test, vi } from 'vitest';
import { bindListener } from '../../../sidecar/listen/bind.ts';
import { freePort } from '../../support/ports.ts';

vi.mock('../../../sidecar/base/limits.ts', () => ({ LIMITS: { listenerConnectionsMax: 2 } }));

test('one connection too many is closed at once and counted; a place that gets free is taken', async () => {
  const port = await freePort();
  const counted: string[][] = [];
  const config = { kind: 'outbound', host: '127.0.0.1', port, reusePort: false, service: '', servicePort: 0 } as const;
  const accepted: Socket[] = [];
  const overload = { rung: 0 };
  const listener = await bindListener(
    { guard: (...labels) => void counted.push(labels), overload },
    config,
    (socket) => {
      accepted.push(socket);
      socket.on('error', () => {});
    },
  );
  const clients = [connect(port), connect(port)];
  await vi.waitFor(() => expect(accepted).toHaveLength(2));
  await once(connect(port).resume(), 'close');
  expect(counted).toEqual([['outbound', 'connections']]);
  clients[0]?.destroy();
  accepted[0]?.destroy();
  await vi.waitFor(async () => {
    connect(port).on('error', () => {});
    expect(accepted.length).toBeGreaterThan(2);
  });
  listener.stop();
  for (const socket of accepted) socket.destroy();
});
