// The inbound listener in this process before an application that says hello: the Service `orders` on port 8080, open
// to its namespace.

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { WorkerIdentity } from '../../sidecar/base/messages.ts';
import { EMPTY_SNAPSHOT } from '../../sidecar/config/snapshot.ts';
import { openInbound } from '../../sidecar/listen/inbound.ts';
import { destinationTo, type ListenerRig, listenerRig } from './listener-rig.ts';

export type InboundRig = ListenerRig;

export async function inboundRig(identity: WorkerIdentity): Promise<InboundRig> {
  const app = createServer((request, response) => void response.end(`hello from ${request.url}`));
  app.listen(0, '127.0.0.1');
  await once(app, 'listening');
  const rig = await listenerRig(openInbound, 'inbound');
  rig.setIdentity(identity);
  const destination = {
    ...destinationTo(rig, 'shop/orders', (app.address() as AddressInfo).port, 'http1'),
    port: 8080,
  };
  const authorization = { trustDomain: 'mesh.local', namespace: 'shop', deny: [], allow: [], hasAllow: false };
  const ports = new Map([[8080, { port: 8080, protocol: 'http1' as const, tls: 'mutual' as const, destination }]]);
  rig.context.snapshot = {
    ...EMPTY_SNAPSHOT,
    table: { hosts: new Map([['orders', { service: 'shop/orders', root: {} as never, regexes: [], any: [] }]]) },
    ownServices: new Map([['shop/orders', { name: 'shop/orders', ports, authorization }]]),
  };
  return {
    ...rig,
    close() {
      rig.close();
      app.closeAllConnections();
      app.close();
    },
  };
}
