// A sidecar with two data-path threads: both answer on the same ports, nobody else may, their numbers are one sum, and
// the death of one is felt by its own connections only.
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { LoadBalancingPolicy } from '../../proto/gen/weft/policy/v1/service_pb.js';
import type { ResourceBytes } from '../../sidecar/base/messages.ts';
import { callHttp } from '../support/apps.ts';
import type { SidecarProcess } from '../support/sidecar-process.ts';
import { useApps, useSidecars } from '../support/use.ts';
import { endpoint, service, until } from '../support/worker-rig.ts';

const PROGRAM = fileURLToPath(new URL('../support/fake-sidecar.ts', import.meta.url));
const MORTAL = new URL('../support/mortal-worker.ts', import.meta.url);

/** So many that the kernel gives some to each worker: all to one of two has a chance of 1 in 2^31. */
const CONNECTIONS = 32;

const apps = useApps();
const processes = useSidecars();

function twoWorkers(appPort: number, workers = 2): Promise<SidecarProcess> {
  return started([service('shop/orders'), endpoint('shop/orders', appPort)], workers);
}

function started(resources: readonly ResourceBytes[], workers = 2): Promise<SidecarProcess> {
  const snapshot = processes.snapshot(resources);
  const env = { WEFT_TEST_WORKER: MORTAL.href, WEFT_TEST_FOLDER: processes.folder };
  return processes.start(['--snapshot', snapshot, '--workers', String(workers)], { program: PROGRAM, env });
}

async function kill(worker: number): Promise<void> {
  const socket = connect(join(processes.folder, `worker-${worker}.sock`));
  socket.on('error', () => {});
  await once(socket, 'close');
}

/** Callers with a kept-alive connection each. */
function callers(sidecar: SidecarProcess): (() => Promise<string>)[] {
  return Array.from({ length: CONNECTIONS }, () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    apps.onClose(() => agent.destroy());
    return () =>
      new Promise<string>((resolve) => {
        const options = { host: '127.0.0.1', port: sidecar.ports.outbound, headers: { host: 'orders' }, agent };
        const request = http.get(options, (response) => text(response).then(resolve, () => resolve('broken')));
        request.on('error', () => resolve('broken'));
      });
  });
}

/** Accepted connections of each worker. */
async function shares(sidecar: SidecarProcess): Promise<number[]> {
  const { workers } = JSON.parse((await sidecar.get('admin', '/endpoints')).text) as {
    workers: { connections: number }[];
  };
  return workers.map(({ connections }) => connections);
}

test('both answer, and the metrics are the sum of both', async () => {
  const sidecar = await twoWorkers(await apps.http((_request, response) => void response.end('good')));
  const all = callers(sidecar);
  for (let round = 0; round < 2; round++) {
    expect(await Promise.all(all.map((call) => call()))).toEqual(Array(CONNECTIONS).fill('good'));
  }
  const [one = 0, other = 0] = await shares(sidecar);
  expect(Math.min(one, other)).toBeGreaterThan(0);
  expect(one + other).toBe(CONNECTIONS);
  expect(await sidecar.metric('weft_connections_active', { listener: 'outbound' })).toBe(CONNECTIONS);
  const ended = { direction: 'outbound', service: 'shop/orders' };
  await until('every request is counted', async () => {
    return (await sidecar.metric('weft_requests_total', { ...ended, code: '200' })) === 2 * CONNECTIONS;
  });
  expect(await sidecar.metric('weft_request_duration_seconds_count', ended)).toBe(2 * CONNECTIONS);
});

test.each(['1', '2'])('its ports are its own: a second sidecar with %s workers ends with 69', async (workers) => {
  const first = await twoWorkers(1);
  const { outbound } = first.ports;
  const args = ['--snapshot', processes.snapshot([]), '--workers', workers, '--outbound-port', String(outbound)];
  const second = processes.run(args);
  expect(await second.ended()).toBe(69);
  expect(second.err).toContain(`outbound port 127.0.0.1:${outbound} is in use`);
});

test('requests_max holds for both together', async () => {
  const held: (() => void)[] = [];
  const app = await apps.http((_request, response) => void held.push(() => response.end('good')));
  const one = service('shop/orders', { connectionPool: { requestsMax: 1 } });
  const sidecar = await started([one, endpoint('shop/orders', app)]);
  const [first, ...rest] = callers(sidecar) as [() => Promise<string>, ...(() => Promise<string>)[]];
  const pending = first();
  await until('the first is under way', () => held.length === 1);
  const answers = await Promise.all(rest.map((call) => call()));
  expect(answers.filter((answer) => answer.includes('too many requests under way'))).toHaveLength(CONNECTIONS - 1);
  const [share = 0, other = 0] = await shares(sidecar);
  expect(Math.min(share, other)).toBeGreaterThan(0);
  const gauge = { direction: 'outbound', service: 'shop/orders', port: '80' };
  expect(await sidecar.metric('weft_upstream_requests_active', gauge)).toBe(1);
  held[0]?.();
  expect(await pending).toBe('good');
});

test('an endpoint that one ejects is out for the other, too', async () => {
  let failures = 0;
  const bad = await apps.http((_request, response) => {
    failures++;
    response.writeHead(500).end('bad');
  });
  const good = await apps.http((_request, response) => void response.end('good'));
  const strict = service('shop/orders', {
    loadBalancing: { policy: LoadBalancingPolicy.ROUND_ROBIN },
    outlierDetection: { consecutiveFailures: 3, ejectionBase: { seconds: 600n }, ejectionMax: { seconds: 600n } },
  });
  const sidecar = await started([strict, endpoint('shop/orders', bad), endpoint('shop/orders', good)]);
  const out = async (): Promise<number> => {
    const text = (await sidecar.get('admin', '/endpoints')).text;
    return text.split('ejected for').length - 1;
  };
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  apps.onClose(() => agent.destroy());
  // One connection, so one worker.
  while ((await out()) === 0) await callHttp(sidecar.ports.outbound as number, 'orders', { agent });
  await until('both know', async () => (await out()) === 2);
  expect(failures).toBe(3);
  const all = callers(sidecar);
  for (let round = 0; round < 2; round++)
    expect(await Promise.all(all.map((call) => call()))).toEqual(Array(CONNECTIONS).fill('good'));
  expect(Math.min(...(await shares(sidecar)))).toBeGreaterThan(0);
  expect(failures).toBe(3);
  expect(await sidecar.metric('weft_ejections_total', { service: 'shop/orders' })).toBe(1);
});

test('while one probes an ejected endpoint the other does not', async () => {
  const held: (() => void)[] = [];
  let failures = 0;
  const bad = await apps.http((_request, response) => {
    if (failures < 3) response.writeHead(500).end(`bad ${++failures}`);
    else held.push(() => response.end('back'));
  });
  const good = await apps.http((_request, response) => void response.end('good'));
  const soon = { nanos: 1_000_000 };
  const strict = service('shop/orders', {
    loadBalancing: { policy: LoadBalancingPolicy.ROUND_ROBIN },
    outlierDetection: { consecutiveFailures: 3, ejectionBase: soon, ejectionMax: soon },
  });
  const sidecar = await started([strict, endpoint('shop/orders', bad), endpoint('shop/orders', good)]);
  // One connection, so one worker, until its probe is on the way.
  const [one, ...rest] = callers(sidecar) as [() => Promise<string>, ...(() => Promise<string>)[]];
  let probe = one();
  while (held.length === 0) {
    await Promise.race([probe, until('the probe is held', () => held.length > 0)]);
    if (held.length === 0) probe = one();
  }
  await until('both know', async () => {
    const { text } = await sidecar.get('admin', '/endpoints');
    return text.includes('one probe request is under way') && text.includes('unless the worker that ejected it');
  });
  for (let round = 0; round < 2; round++)
    expect(await Promise.all(rest.map((call) => call()))).toEqual(Array(CONNECTIONS - 1).fill('good'));
  expect(Math.min(...(await shares(sidecar)))).toBeGreaterThan(0);
  expect(held).toHaveLength(1);
  held[0]?.();
  expect(await probe).toBe('back');
  await until(
    'both take it back',
    async () => !/unless|under way/.test((await sidecar.get('admin', '/endpoints')).text),
  );
});

test('one that is killed takes its own calls along; the other goes on, and a new one takes its place', async () => {
  const held: (() => void)[] = [];
  let holding = true;
  const app = await apps.http((_request, response) => {
    if (holding) held.push(() => response.end('good'));
    else response.end('good');
  });
  const sidecar = await twoWorkers(app);
  const all = callers(sidecar);
  const pending = all.map((call) => call());
  await until('all are under way', () => held.length === CONNECTIONS);
  const [killed = 0, alive = 0] = await shares(sidecar);
  expect(Math.min(killed, alive)).toBeGreaterThan(0);
  expect(await sidecar.metric('weft_requests_active', { direction: 'outbound' })).toBe(CONNECTIONS);

  await kill(0);
  await until('the death is told', () => sidecar.err.includes('killed by the test'));
  expect(await sidecar.metric('weft_worker_deaths_total')).toBe(1);
  expect(await sidecar.metric('weft_requests_active', { direction: 'outbound' })).toBe(alive);
  expect(await sidecar.metric('weft_connections_active', { listener: 'outbound' })).toBe(alive);
  holding = false;
  for (const answer of held) answer();
  const answers = await Promise.all(pending);
  expect(answers.filter((answer) => answer === 'good')).toHaveLength(alive);
  expect(answers.filter((answer) => answer === 'broken')).toHaveLength(killed);

  await until('it is ready again', async () => (await sidecar.get('readiness', '/ready')).status === 200);
  expect(await Promise.all(callers(sidecar).map((call) => call()))).toEqual(Array(CONNECTIONS).fill('good'));
  const [successor = 0] = await shares(sidecar);
  expect(successor).toBeGreaterThan(0);
  await until('every whole answer is counted', async () => {
    const counted = await sidecar.metric('weft_requests_total', { service: 'shop/orders', code: '200', flag: '-' });
    return counted === alive + CONNECTIONS;
  });
  sidecar.child.kill('SIGTERM');
  expect(await sidecar.ended()).toBe(0);
});

test.each(['HTTP/1.1', 'HTTP/2'])(
  'a throw in one connection of %s ends that connection alone, and is told as a bug',
  async (protocol) => {
    const held: (() => void)[] = [];
    const app = await apps.http((_request, response) => void held.push(() => response.end('good')));
    // One worker, so that all of them share its thread.
    const sidecar = await twoWorkers(app, 1);
    const other = (callers(sidecar)[0] as () => Promise<string>)();
    await until('the other is under way', () => held.length === 1);
    if (protocol === 'HTTP/2') {
      const session = http2.connect(`http://127.0.0.1:${sidecar.ports.outbound}`);
      apps.onClose(() => session.destroy());
      const closed = new Promise((resolve) => session.once('close', resolve));
      session.on('error', () => {});
      session.request({ ':path': '/throw', ':authority': 'orders' }).on('error', () => {});
      await closed;
    } else {
      await expect(callHttp(sidecar.ports.outbound as number, 'orders', { path: '/throw' })).rejects.toThrow(
        /hang up|ECONNRESET/,
      );
    }
    await until('it is told', () => sidecar.err.includes('thrown by the test'));
    expect(sidecar.err).toContain('a throw ended one connection; this is a bug');
    await until('it is counted', async () => (await sidecar.metric('weft_contained_total')) === 1);
    expect(await sidecar.metric('weft_worker_deaths_total')).toBe(0);
    expect(await sidecar.metric('weft_connections_active', { listener: 'outbound' })).toBe(1);
    expect(await sidecar.metric('weft_requests_active', { direction: 'outbound' })).toBe(1);
    held[0]?.();
    expect(await other).toBe('good');
  },
);

test('one whose loop is blocked is noticed, ended and started anew', { timeout: 60_000 }, async () => {
  const app = await apps.http((_request, response) => void response.end('good'));
  const sidecar = await twoWorkers(app, 1);
  const port = sidecar.ports.outbound as number;
  await expect(callHttp(port, 'orders', { path: '/spin' })).rejects.toThrow(/hang up|ECONNRESET/);
  await until('the death is told', () => sidecar.err.includes('its event loop did not turn for 10 s'));
  await until('it is ready again', async () => (await sidecar.get('readiness', '/ready')).status === 200);
  expect((await callHttp(port, 'orders')).body).toBe('good');
  expect(await sidecar.metric('weft_worker_deaths_total')).toBe(1);
});
