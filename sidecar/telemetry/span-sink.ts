// What the sink asks of an exporter, apart from it, so that nothing of the SDK is loaded before the first span.

import type { TelemetryRecord } from '../base/messages.ts';

/** Hands spans to the batch processor, which drops above its queue (OTEL_BSP_MAX_QUEUE_SIZE). */
export interface SpanSink {
  add(record: TelemetryRecord): void;
  /** Exports what waits; never throws. */
  close(): Promise<void>;
}
