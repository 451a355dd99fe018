// The variables of the OpenTelemetry specification, as the real program respects them: where spans go, under which
// names, with which headers, and what switches them off. SIGTERM exports what waits, so its end is the end of all spans.
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { TelemetrySchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { ResourceBytes } from '../../sidecar/base/messages.ts';
import { callHttp } from '../support/apps.ts';
import { useApps, useSidecars } from '../support/use.ts';
import { endpoint, resource, service } from '../support/worker-rig.ts';

/** What a collector got in one POST. */
interface Export {
  readonly path: string;
  readonly key: string | undefined;
  readonly resource: Record<string, string>;
  readonly spans: { name: string; kind: number; traceId: string; attributes: { key: string; value: unknown }[] }[];
}

const apps = useApps();
const processes = useSidecars();

interface OtlpBody {
  resourceSpans: {
    resource: { attributes: { key: string; value: { stringValue: string } }[] };
    scopeSpans: { spans: Export['spans'] }[];
  }[];
}

/** One call through a sidecar with these variables, from its start to its end; `COLLECTOR` in them is the collector's URL. */
async function traced(
  env: Record<string, string>,
  ...more: ResourceBytes[]
): Promise<{ exports: Export[]; traceparent: string; err: string }> {
  const exports: Export[] = [];
  const collector = await apps.http(async (request, response) => {
    const body = JSON.parse(await text(request)) as OtlpBody;
    for (const { resource: from, scopeSpans } of body.resourceSpans) {
      const named = from.attributes.map(({ key, value }) => [key, value.stringValue]);
      const spans = scopeSpans.flatMap((scope) => scope.spans);
      const key = request.headers['x-collector-key'] as string | undefined;
      exports.push({ path: request.url ?? '', key, resource: Object.fromEntries(named), spans });
    }
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
  let traceparent = '';
  const app = await apps.http((request, response) => {
    traceparent = request.headers['traceparent'] as string;
    response.end('good');
  });
  const snapshot = processes.snapshot([service('shop/orders'), endpoint('shop/orders', app), ...more]);
  const given = Object.entries(env).map(([name, value]) => [
    name,
    value.replace('COLLECTOR', `http://127.0.0.1:${collector}`),
  ]);
  const sidecar = await processes.start(['--snapshot', snapshot, '--log-level', 'warn'], {
    env: Object.fromEntries(given),
  });
  expect((await callHttp(sidecar.ports.outbound as number, 'orders')).body).toBe('good');
  sidecar.child.kill('SIGTERM');
  expect(await sidecar.ended()).toBe(0);
  // It has no identity, and says so.
  const err = sidecar.err.replace(/^.*there is no identity.*\n/m, '');
  return { exports, traceparent, err };
}

test('OTEL_EXPORTER_OTLP_ENDPOINT is where spans go, by the account of the identity unless named', async () => {
  const { exports, traceparent, err } = await traced({ OTEL_EXPORTER_OTLP_ENDPOINT: 'COLLECTOR' });
  expect(exports).toHaveLength(1);
  expect(exports[0]?.path).toBe('/v1/traces');
  expect(exports[0]?.resource['service.name']).toBe('web');
  expect(exports[0]?.spans).toMatchObject([{ name: 'GET (default)', kind: 3, traceId: traceparent.split('-')[1] }]);
  expect(err).toBe('');
});

test('OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES name the resource, the first before the second', async () => {
  const place = { OTEL_EXPORTER_OTLP_ENDPOINT: 'COLLECTOR' };
  const attributes = 'deployment.environment.name=test,service.name=other,team=a%20b';
  const both = await traced({ ...place, OTEL_SERVICE_NAME: 'shop-front', OTEL_RESOURCE_ATTRIBUTES: attributes });
  expect(both.exports[0]?.resource).toMatchObject({
    'service.name': 'shop-front',
    'deployment.environment.name': 'test',
    team: 'a b',
  });
  const one = await traced({ ...place, OTEL_RESOURCE_ATTRIBUTES: attributes });
  expect(one.exports[0]?.resource['service.name']).toBe('other');
});

test('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is taken as it is, and OTEL_EXPORTER_OTLP_HEADERS go along', async () => {
  const { exports } = await traced({
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'COLLECTOR/custom',
    OTEL_EXPORTER_OTLP_HEADERS: 'x-collector-key=letmein',
  });
  expect(exports.map(({ path, key }) => [path, key])).toEqual([['/custom', 'letmein']]);
});

test.each([
  ['OTEL_SDK_DISABLED', 'true'],
  ['OTEL_TRACES_EXPORTER', 'none'],
  ['OTEL_EXPORTER_OTLP_ENDPOINT', ''],
])('with %s=%s no span is exported, and trace context is passed on', async (name, value) => {
  const { exports, traceparent, err } = await traced({ OTEL_EXPORTER_OTLP_ENDPOINT: 'COLLECTOR', [name]: value });
  expect(exports).toEqual([]);
  expect(traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  expect(err).toBe('');
});

test('a policy that samples nothing exports nothing, and says so to whom it calls', async () => {
  const init = { name: 'shop/none', callersWithoutService: true, spec: { tracing: { samplingPercent: 0 } } };
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'COLLECTOR' };
  const { exports, traceparent } = await traced(env, resource(TelemetrySchema, 'shop/none', init));
  expect(exports).toEqual([]);
  expect(traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
});

test.each([
  ['at its end', {}],
  ['while it runs', { OTEL_BSP_SCHEDULE_DELAY: '1' }],
])('a collector that is away, %s, costs no call and is told of once', async (_when, more) => {
  const place = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', OTEL_EXPORTER_OTLP_TIMEOUT: '200' };
  const { err } = await traced({ ...place, ...more });
  expect(err.match(/spans were not exported/g) ?? []).toHaveLength(1);
  expect(err).toContain('ECONNREFUSED');
});

test('a sampler that is off samples no new trace, and what is not supported is told', async () => {
  const off = await traced({ OTEL_EXPORTER_OTLP_ENDPOINT: 'COLLECTOR', OTEL_TRACES_SAMPLER: 'always_off' });
  expect(off.exports).toEqual([]);
  expect(off.traceparent).toMatch(/-00$/);
  const told = await traced({ OTEL_EXPORTER_OTLP_ENDPOINT: 'COLLECTOR', OTEL_TRACES_EXPORTER: 'console' });
  expect(told.exports).toEqual([]);
  expect(told.err).toContain('OTEL_TRACES_EXPORTER=console is not supported');
});
