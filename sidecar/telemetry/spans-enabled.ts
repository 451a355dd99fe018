// Whether spans are exported at all: asked at start, before anything of the SDK is loaded.

import type { TelemetryRecord } from '../base/messages.ts';

/** Hands spans to the batch processor, which drops above its queue (OTEL_BSP_MAX_QUEUE_SIZE). */
export interface SpanSink {
  add(record: TelemetryRecord): void;
  /** Exports what waits; never throws. */
  close(): Promise<void>;
}

/**
 * Whether the environment names a place or an exporter for spans, and does not switch them off. An exporter without a
 * place sends to the specification's, `http://localhost:4318`.
 */
export function spansEnabled(environment: Readonly<Record<string, string | undefined>>): boolean {
  if (environment.OTEL_SDK_DISABLED?.toLowerCase() === 'true') return false;
  if (environment.OTEL_TRACES_EXPORTER === 'none') return false;
  if (environment.OTEL_TRACES_EXPORTER === 'otlp') return true;
  const places = [environment.OTEL_EXPORTER_OTLP_ENDPOINT, environment.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT];
  return places.some((place) => place !== undefined && place !== '');
}
