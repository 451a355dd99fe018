// Which environments of the OpenTelemetry specification mean that spans are exported.
import { expect, test } from 'vitest';
import { spansEnabled } from '../../../sidecar/telemetry/spans-enabled.ts';

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
  expect(spansEnabled(environment)).toBe(enabled);
});
