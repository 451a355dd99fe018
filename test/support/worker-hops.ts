// Two data-path workers with mutual TLS in between, configured as a control plane configures them: the sidecar of `web`
// with its local port, and the one of `orders` with an application behind it.

import type { MessageInitShape } from '@bufbuild/protobuf';
import { AuthorizationSchema, EndpointSchema, TelemetrySchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { AuthorizationAction, AuthorizationRuleSchema } from '../../proto/gen/weft/policy/v1/authorization_pb.js';
import type { ServicePortSchema } from '../../proto/gen/weft/policy/v1/service_pb.js';
import type { ResourceBytes } from '../../sidecar/base/messages.ts';
import type { TestAuthority } from './identities.ts';
import { logged, resource, service, until, type WorkerRig, workerRig } from './worker-rig.ts';

const ORDERS = 'shop/orders';
const IDENTITY = 'spiffe://mesh.local/ns/shop/sa/orders';

/** Both hops, and what is between them. */
export interface Hops {
  readonly caller: WorkerRig;
  readonly receiver: WorkerRig;
  /** Expects that every connection of both ends and that nothing was thrown, and ends the workers. */
  close(): Promise<void>;
}

/** @param port of the Service `orders`, whose number is 80; the application of the receiver listens on `appPort`. */
export async function twoHops(
  authority: TestAuthority,
  appPort: number,
  port: Omit<MessageInitShape<typeof ServicePortSchema>, '$typeName' | 'port'>,
  ...more: ResourceBytes[]
): Promise<Hops> {
  const caller = await workerRig();
  const receiver = await workerRig([{ service: ORDERS, port: appPort, servicePort: 80 }]);
  await caller.identify(await authority.issue('web'));
  await receiver.identify(await authority.issue('orders'));
  const orders = service(ORDERS, { identities: [IDENTITY], ports: [{ port: 80, ...port }] });
  const there = { service: ORDERS, address: '127.0.0.1', ports: { 80: receiver.inboundPort }, spiffeId: IDENTITY };
  await caller.apply(orders, resource(EndpointSchema, `${ORDERS}/a`, there), logged());
  const log = { name: 'shop/all', services: [ORDERS], spec: { accessLog: { samplingPercent: 100 } } };
  await receiver.apply(orders, resource(TelemetrySchema, 'shop/all', log), ...more);
  return {
    caller,
    receiver,
    async close() {
      const stacks: string[] = [];
      for (const rig of [caller, receiver]) {
        // What is between the hops stays for the next call.
        await rig.remove(orders);
        await until('every connection is gone', async () => (await rig.dump()).connections === 0);
        stacks.push(...rig.contained);
        await rig.close();
      }
      if (stacks.length > 0) throw new Error(stacks.join('\n'));
    },
  };
}

/** An Authorization of `orders` as the wire has it. */
export function authorization(
  name: string,
  action: AuthorizationAction,
  rules: MessageInitShape<typeof AuthorizationRuleSchema>[],
): ResourceBytes {
  return resource(AuthorizationSchema, name, { name, services: [ORDERS], action, rules });
}
