// The tour's policies: who is refused and why, a weight that moves while traffic flows, a file with a mistake.

import { readFileSync } from 'node:fs';
import { connect } from 'node:http2';
import { join } from 'node:path';
import { describeLoad, type LoadResult } from '../load.ts';
import type { Instance } from '../mesh.ts';
import { until } from '../until.ts';
import { type Answer, admin, apiFlags, call, loadOrders, sidecarPort, type TourContext, weft } from './context.ts';
import { must, type Step } from './step.ts';

const INVENTORY = 'spiffe://mesh.local/ns/default/sa/inventory';
const WEB = 'spiffe://mesh.local/ns/default/sa/web';
const REACHED_MS_MAX = 1_000;

export const policySteps: readonly Step<TourContext>[] = [
  {
    name: 'a forbidden call',
    expected: 'web may not DELETE an order: 403, and explain names default/orders-never#delete',
    boundMs: 15_000,
    async run({ mesh }) {
      const { status, body } = await call(mesh.instance('web').appPort, 'DELETE', '/orders/7');
      must(status === 403, `${status}: ${body}`);
      const kept = await call(mesh.instance('web').appPort, 'GET', '/orders/7');
      must(kept.status === 200, `afterwards GET says ${kept.status}`);
      return `403, the order is still there; ${await explainInbound(mesh.instance('orders-1'), 'DELETE', WEB, 'default/orders-never#delete')}`;
    },
  },
  {
    name: 'a forbidden caller',
    expected:
      'inventory, past its own sidecar but with its real certificate: 403, and explain names default/orders-never#backends',
    boundMs: 15_000,
    async run({ mesh }) {
      const orders = mesh.instance('orders-1');
      const { status, body } = await callAs(mesh.instance('inventory'), orders);
      must(status === 403, `${status}: ${body}`);
      return `403; ${await explainInbound(orders, 'GET', INVENTORY, 'default/orders-never#backends')}`;
    },
  },
  {
    name: 'a weight moved in a file, under load',
    expected: `all traffic at v2 within ${REACHED_MS_MAX} ms of saving routes.yaml; 1,000 requests or more at 200/s, none failed`,
    boundMs: 30_000,
    async run(context) {
      let savedMs = 0;
      const load = loadOrders(context);
      await until('a quarter of the load is answered', 10_000, () => load.samples.length >= 250);
      context.mesh.editPolicy('routes.yaml', (text) => {
        savedMs = performance.now();
        return text.replace('weight: 90', 'weight: 0').replace('weight: 10', 'weight: 100');
      });
      const result = await load.done;
      must(result.failed === 0, describeLoad(result));
      const before = shares(result, 0, savedMs);
      must(before.v1 > 0 && before.v2 > 0, `before the change ${before.v1} of v1 and ${before.v2} of v2`);
      const last = Math.max(...result.samples.filter((s) => versionOf(s.body) === 'v1').map((s) => s.sentMs));
      const reachedMs = Math.max(0, Math.round(last - savedMs));
      must(reachedMs < REACHED_MS_MAX, `a request sent ${reachedMs} ms after the change still met v1`);
      const after = shares(result, savedMs + REACHED_MS_MAX, Number.POSITIVE_INFINITY);
      must(after.v1 === 0 && after.v2 > 200, `later ${after.v1} of v1 and ${after.v2} of v2`);
      return `${describeLoad(result)}; v1 ${before.v1}, v2 ${before.v2} before; the last to v1 left ${reachedMs} ms after saving`;
    },
  },
  {
    name: 'a wrong policy file',
    expected: 'status and log name file, line and fix; sidecars keep what they had, and calls go on',
    boundMs: 20_000,
    async run(context) {
      const { mesh } = context;
      const web = mesh.instance('web');
      const config = await admin<unknown>(web, '/config');
      const logged = mesh.controlPlane.log().length;
      mesh.editPolicy('routes.yaml', (text) => text.replace('weight: 100', 'weihgt: 100'));
      const problem = await until('status reports the mistake', 5_000, async () => {
        return (await mesh.api.status()).problems?.find(({ file }) => file === 'routes.yaml');
      });
      const told = (await weft('status', ...apiFlags(context)))
        .split('\n')
        .find((line) => line.startsWith('routes.yaml:'));
      must(told !== undefined, 'weft status does not name routes.yaml');
      must(mesh.controlPlane.log().slice(logged).includes('weihgt'), 'the log does not name the mistake');
      const answers = await Promise.all(Array.from({ length: 20 }, () => call(web.appPort, 'GET', '/orders/7')));
      const versions = new Set(answers.map(({ body }) => versionOf(body)));
      must(
        answers.every(({ status }) => status === 200),
        'a call failed',
      );
      must(versions.size === 1 && versions.has('v2'), `traffic went to ${[...versions].join(' and ')}`);
      const same = JSON.stringify(await admin<unknown>(web, '/config')) === JSON.stringify(config);
      must(same, "the sidecar's config changed");
      mesh.editPolicy('routes.yaml', (text) => text.replace('weihgt: 100', 'weight: 100'));
      await until('the mended file is taken', 5_000, async () => (await mesh.api.status()).problems?.length !== 1);
      return `${told}; line ${problem.line} in status; 20 calls to v2 as before; mended, and status is clean`;
    },
  },
];

/** The command prints the decision; it must name the rule. */
async function explainInbound(orders: Instance, method: string, caller: string, rule: string): Promise<string> {
  const address = `127.0.0.1:${sidecarPort(orders, 'admin')}`;
  const told = await weft(
    'explain',
    '--admin',
    address,
    '--direction',
    'inbound',
    '--caller',
    caller,
    method,
    'http://orders/orders/7',
  );
  must(told.includes(rule), `explain does not name ${rule}: ${told.trim()}`);
  return `explain: ${told
    .trim()
    .split('\n')
    .find((line) => line.includes(rule))
    ?.trim()}`;
}

/** A GET straight to the inbound port of `to`, with the certificate of `from`: what a workload could do that ignores its sidecar. */
function callAs(from: Instance, to: Instance): Promise<Answer> {
  const pem = readFileSync(join(from.directory, 'state', 'identity.pem'), 'utf8');
  const ca = readFileSync(join(from.directory, 'state', 'bundle.pem'), 'utf8');
  const session = connect(`https://127.0.0.1:${sidecarPort(to, 'inbound')}`, {
    key: pem,
    cert: pem,
    ca,
    servername: '80.orders.default',
    // SPIFFE ids stand in place of host names; the chain is verified all the same.
    checkServerIdentity: () => undefined,
  });
  return new Promise<Answer>((resolve, reject) => {
    session.once('error', reject);
    const stream = session.request({ ':method': 'GET', ':path': '/orders/7', ':authority': 'orders' });
    let status = 0;
    let body = '';
    stream.once('response', (headers) => {
      status = headers[':status'] ?? 0;
    });
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk;
    });
    stream.once('error', reject);
    stream.once('end', () => resolve({ status, body }));
  }).finally(() => session.destroy());
}

/** Answers of each version among the requests sent in a span of time. */
function shares(result: LoadResult, fromMs: number, toMs: number): { v1: number; v2: number } {
  const versions = result.samples.filter((s) => s.sentMs >= fromMs && s.sentMs < toMs).map((s) => versionOf(s.body));
  return { v1: versions.filter((v) => v === 'v1').length, v2: versions.filter((v) => v === 'v2').length };
}

function versionOf(body: string): string {
  try {
    return String((JSON.parse(body) as { version?: string }).version);
  } catch {
    return '';
  }
}
