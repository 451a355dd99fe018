// The order of a drain: as long as a call to the application is under way, the application may make calls of its own.

import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AuthorizationSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { AuthorizationAction } from '../../proto/gen/weft/policy/v1/authorization_pb.js';
import { Apps, callHttp } from '../support/apps.ts';
import { endpoint, resource, service, until, type WorkerRig, workerRig } from '../support/worker-rig.ts';

let apps: Apps;
let rig: WorkerRig;
const answers: (() => void)[] = [];

beforeEach(async () => {
  apps = new Apps();
  const port = await apps.http((_request, response) => void answers.push(() => response.end('late')));
  rig = await workerRig([{ service: 'shop/web', port, servicePort: 0 }]);
  const anybody = {
    name: 'shop/any',
    services: ['shop/web'],
    action: AuthorizationAction.ALLOW,
    rules: [{}],
  };
  await rig.apply(
    service('shop/web'),
    resource(AuthorizationSchema, 'shop/any', anybody),
    service('shop/orders'),
    endpoint('shop/orders', await apps.http((_request, response) => void response.end('own'))),
  );
});
afterEach(async () => {
  expect(rig.contained).toEqual([]);
  apps.close();
  await rig.close();
});

/** Whether the port takes connections. */
async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const listens = await Promise.race([
    once(socket, 'connect').then(() => true),
    new Promise<boolean>((resolve) => socket.once('error', () => resolve(false))),
  ]).catch(() => false);
  socket.destroy();
  return listens;
}

test('the inbound port closes first, the others when the last call has ended', async () => {
  const call = callHttp(rig.inboundPort, 'web');
  await until('it arrives', () => answers.length === 1);
  let over = false;
  const drained = rig.drain(20_000).then(() => {
    over = true;
  });
  await until('no other is taken', async () => !(await listens(rig.inboundPort)));
  expect(await callHttp(rig.port, 'orders')).toMatchObject({ status: 200, body: 'own' });
  expect([await listens(rig.localPort), over]).toEqual([true, false]);
  answers[0]?.();
  expect(await call).toMatchObject({ status: 200, body: 'late' });
  await drained;
  expect([await listens(rig.port), await listens(rig.localPort)]).toEqual([false, false]);
});
