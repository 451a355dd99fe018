// The tour's outages: an instance and the control plane, each killed under load.

import { describeLoad } from '../load.ts';
import { until } from '../until.ts';
import { apiFlags, call, loadOrders, type TourContext, weft } from './context.ts';
import { must, type Step } from './step.ts';

const SIDECARS = 5;

export const outageSteps: readonly Step<TourContext>[] = [
  {
    name: 'an instance of orders killed under load',
    expected:
      'both instances take traffic, one gets SIGKILL with its sidecar; 1,000 GETs or more at 200/s, none failed',
    boundMs: 45_000,
    async run(context) {
      const { mesh } = context;
      // One backend for all versions: the instances are each other's reserve.
      mesh.editPolicy('routes.yaml', (text) =>
        text.replace(/ {8}- \{ service: orders, weight: 0,.*\n.*\n/, '        - { service: orders }\n'),
      );
      await allInSync(context);
      const served = new Set<string>();
      let seen = 0;
      const load = loadOrders(context);
      await until('both instances answered', 10_000, () => {
        for (; seen < load.samples.length; seen++) served.add(instanceOf(load.samples[seen]?.body ?? ''));
        return served.has('orders-1') && served.has('orders-2') && load.samples.length >= 250;
      });
      const orders2 = mesh.instance('orders-2');
      const killedMs = performance.now();
      await Promise.all([orders2.sidecar.kill(), orders2.app.kill()]);
      const result = await load.done;
      await mesh.restartInstance(orders2);
      must(result.failed === 0, describeLoad(result));
      const later = result.samples.filter((sample) => sample.sentMs > killedMs);
      must(
        later.length > 200 && later.every(({ body }) => instanceOf(body) === 'orders-1'),
        'the killed instance answered',
      );
      await until('the instance takes traffic again', 15_000, async () => {
        const { body } = await call(mesh.instance('web').appPort, 'GET', '/orders/7');
        return instanceOf(body) === 'orders-2';
      });
      return `${describeLoad(result)}, ${later.length} of them after the kill; started again, it takes traffic`;
    },
  },
  {
    name: 'the control plane killed under load',
    expected:
      '1,000 requests or more at 200/s, none failed; a sidecar restarted meanwhile serves from its last good copy; in sync again when it returns',
    boundMs: 60_000,
    async run(context) {
      const { mesh } = context;
      const load = loadOrders(context);
      await until('a quarter of the load is answered', 10_000, () => load.samples.length >= 250);
      await mesh.controlPlane.kill();
      const result = await load.done;
      must(result.failed === 0, describeLoad(result));
      const web = mesh.instance('web');
      await mesh.restartSidecar(web);
      const { status, body } = await call(web.appPort, 'GET', '/orders/7');
      must(status === 200, `after the restart of web's sidecar: ${status} ${body}`);
      await mesh.restartControlPlane();
      const backMs = performance.now();
      await allInSync(context);
      const syncedMs = Math.round(performance.now() - backMs);
      const told = await weft('status', ...apiFlags(context));
      must(told.split(/\byes\b/).length === SIDECARS + 1, `weft status: ${told}`);
      return `${describeLoad(result)}; web's sidecar restarted without it: 200; all ${SIDECARS} in sync ${syncedMs} ms after its return`;
    },
  },
];

/** Every sidecar is connected and has taken what it was sent. */
async function allInSync({ mesh }: TourContext): Promise<void> {
  let last = '';
  await until('all sidecars are in sync', 20_000, async () => {
    const { sidecars = [] } = await mesh.api.status();
    last = sidecars.map(({ workloadId, inSync }) => `${workloadId} ${inSync === true}`).join(', ');
    return sidecars.length === SIDECARS && sidecars.every(({ inSync }) => inSync === true);
  }).catch((error: Error) => {
    throw new Error(`${error.message}: ${last}`);
  });
}

function instanceOf(body: string): string {
  try {
    return String((JSON.parse(body) as { instance?: string }).instance);
  } catch {
    return '';
  }
}
