// How a real worker chooses among endpoints; the balancers themselves are in unit/upstream.
import type { ServerResponse } from 'node:http';
import { beforeEach, expect, test } from 'vitest';
import { LoadBalancingPolicy } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { callHttp } from '../support/apps.ts';
import { useApps, useWorkerRig } from '../support/use.ts';
import { endpoint, service, until } from '../support/worker-rig.ts';

const rig = useWorkerRig();
const apps = useApps();

/** Calls that arrived at each of the two, by port. */
let arrived: Map<number, number>;
/** The answer to the first call, which is not given before the end. */
let held: ServerResponse | null;

async function application(): Promise<number> {
  const port = await apps.http((request, response) => {
    arrived.set(port, (arrived.get(port) ?? 0) + 1);
    if (request.url === '/held') held = response;
    else response.end();
  });
  return port;
}

beforeEach(() => {
  arrived = new Map();
  held = null;
});

test.each([
  ['least request, as nothing else is said', {}, [1, 8]],
  ['round robin', { loadBalancing: { policy: LoadBalancingPolicy.ROUND_ROBIN } }, [4, 5]],
])('while one of two is busy: %s', async (_what, spec, expected) => {
  await rig.apply(
    service('shop/orders', spec),
    endpoint('shop/orders', await application()),
    endpoint('shop/orders', await application()),
  );
  const first = callHttp(rig.port, 'orders', { path: '/held' });
  await until('one is busy', () => held !== null);
  for (let i = 0; i < 8; i++) await callHttp(rig.port, 'orders');
  (held as ServerResponse | null)?.end();
  await first;
  expect([...arrived.values()].sort()).toEqual(expected);
});
