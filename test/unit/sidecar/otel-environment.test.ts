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
