// Which environments of the OpenTelemetry specification mean that spans are exported.
import { expect, test } from 'vitest';
import { readOtelEnvironment } from '../../../sidecar/base/otel-environment.ts';

const PLACE = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' };

test.each<[boolean, Record<string, string>]>([
  [false, {}],
  [true, PLACE],
  [true, { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://127.0.0.1:4318/v1/traces' }],
  [false, { OTEL_EXPORTER_OTLP_ENDPOINT: '' }],
  [false, { ...PLACE, OTEL_SDK_DISABLED: 'true' }],
  // The specification: boolean values are true in any case, and everything else is false.
  [false, { ...PLACE, OTEL_SDK_DISABLED: 'TRUE' }],
  [true, { ...PLACE, OTEL_SDK_DISABLED: 'false' }],
  [true, { ...PLACE, OTEL_SDK_DISABLED: '1' }],
  [false, { ...PLACE, OTEL_TRACES_EXPORTER: 'none' }],
  [true, { ...PLACE, OTEL_TRACES_EXPORTER: 'otlp' }],
  [true, { OTEL_TRACES_EXPORTER: 'otlp' }],
  [false, { OTEL_TRACES_EXPORTER: 'otlp', OTEL_SDK_DISABLED: 'true' }],
])('%s: %j', (enabled, environment) => {
  expect(readOtelEnvironment(environment)).toMatchObject({ exportsSpans: enabled, mistakes: [] });
});

test.each<[Record<string, string>, boolean, string]>([
  [{ ...PLACE, OTEL_TRACES_EXPORTER: 'console' }, false, 'OTEL_TRACES_EXPORTER=console is not supported (console)'],
  [
    { ...PLACE, OTEL_TRACES_EXPORTER: 'otlp, zipkin' },
    true,
    'OTEL_TRACES_EXPORTER=otlp, zipkin is not supported (zipkin)',
  ],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'notaurl' }, false, 'OTEL_EXPORTER_OTLP_ENDPOINT=notaurl is no URL'],
  [
    { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'localhost:4318' },
    false,
    'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=localhost:4318',
  ],
  [{ ...PLACE, OTEL_TRACES_SAMPLER: 'jaeger_remote' }, true, 'OTEL_TRACES_SAMPLER=jaeger_remote is not supported'],
  [
    { OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '2' },
    false,
    'OTEL_TRACES_SAMPLER_ARG=2 is no ratio',
  ],
  [{ ...PLACE, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, true, 'OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not supported'],
  [{ ...PLACE, OTEL_EXPORTER_OTLP_COMPRESSION: 'zstd' }, true, 'OTEL_EXPORTER_OTLP_COMPRESSION=zstd is not supported'],
  [
    { ...PLACE, OTEL_EXPORTER_OTLP_TIMEOUT: '10s' },
    true,
    'OTEL_EXPORTER_OTLP_TIMEOUT=10s is no whole number from 1 on',
  ],
  [{ ...PLACE, OTEL_BSP_MAX_QUEUE_SIZE: '0' }, true, 'OTEL_BSP_MAX_QUEUE_SIZE=0 is no whole number from 1 on'],
  [{ ...PLACE, OTEL_RESOURCE_ATTRIBUTES: 'a=1,b' }, true, 'OTEL_RESOURCE_ATTRIBUTES is no list of key=value pairs'],
  [{ ...PLACE, OTEL_RESOURCE_ATTRIBUTES: 'a=%zz' }, true, 'OTEL_RESOURCE_ATTRIBUTES is no list of key=value pairs'],
  [{ OTEL_PROPAGATORS: 'b3, tracecontext' }, false, 'OTEL_PROPAGATORS=b3, tracecontext is not supported (b3)'],
])('%j is told', (environment, exportsSpans, text) => {
  const found = readOtelEnvironment(environment);
  expect(found).toEqual({ exportsSpans, traceShare: 1, mistakes: [expect.stringContaining(text)] });
});

test.each<[number, Record<string, string>]>([
  [1, { OTEL_TRACES_SAMPLER: 'always_on' }],
  [0, { OTEL_TRACES_SAMPLER: 'always_off' }],
  [0, { OTEL_TRACES_SAMPLER: 'parentbased_always_off' }],
  [1, { OTEL_TRACES_SAMPLER: 'traceidratio' }],
  [0.25, { OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.25' }],
])('samples %d: %j', (traceShare, environment) => {
  expect(readOtelEnvironment(environment)).toMatchObject({ traceShare, mistakes: [] });
});

test('headers may be secrets, and are not told when they are wrong', () => {
  const { mistakes } = readOtelEnvironment({ ...PLACE, OTEL_EXPORTER_OTLP_HEADERS: 'sesame' });
  expect(mistakes).toEqual([expect.stringContaining('OTEL_EXPORTER_OTLP_HEADERS is no list of key=value pairs')]);
  expect(mistakes[0]).not.toContain('sesame');
});

test.each([
  { OTEL_PROPAGATORS: 'tracecontext,baggage' },
  { ...PLACE, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip' },
  { ...PLACE, OTEL_EXPORTER_OTLP_HEADERS: 'a=b=c, d=%20', OTEL_BSP_SCHEDULE_DELAY: '0' },
  // Nothing is exported, so nothing of it matters.
  { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' },
])('nothing is said of %j', (environment) => {
  expect(readOtelEnvironment(environment).mistakes).toEqual([]);
});
