// Where the workers' records end: lines and spans, as the policy wanted each. Spans need the OpenTelemetry SDK, which
// is loaded with the first of them.

import { LIMITS } from '../base/limits.ts';
import type { TelemetryRecord } from '../base/messages.ts';
import type { AccessLog } from './log.ts';
import type { SpanSink } from './span-sink.ts';

/** SIGTERM does not wait longer than this for an exporter. */
const CLOSE_TIMEOUT_MS = 3_000;

/** All telemetry of the data path. Nothing here ever fails a request. */
export class TelemetrySink {
  readonly #access: AccessLog;
  readonly #serviceName: string;
  /** Workers record no spans that nobody exports. */
  readonly exportsSpans: boolean;
  readonly #onError: (error: Error) => void;
  #spans: SpanSink | null = null;
  #loading: Promise<void> | null = null;
  #waiting: TelemetryRecord[] = [];

  constructor(access: AccessLog, serviceName: string, exportsSpans: boolean, onError: (error: Error) => void) {
    this.#access = access;
    this.#serviceName = serviceName;
    this.exportsSpans = exportsSpans;
    this.#onError = onError;
  }

  take(records: readonly TelemetryRecord[]): void {
    for (const record of records) {
      if (record.log) this.#access.write(record);
      if (!record.span || !this.exportsSpans) continue;
      if (this.#spans !== null) this.#spans.add(record);
      else if (this.#waiting.length < LIMITS.waitingSpansMax) {
        this.#waiting.push(record);
        this.#loading ??= this.#load();
      }
    }
  }

  /** Writes and exports what waits; never throws, and takes a bounded time. */
  async close(): Promise<void> {
    this.#access.flush();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
    });
    const exported = (this.#loading ?? Promise.resolve()).then(() => this.#spans?.close());
    await Promise.race([exported, late]);
    clearTimeout(timer);
  }

  async #load(): Promise<void> {
    try {
      const { createSpanSink } = await import('./spans.ts');
      this.#spans = createSpanSink(this.#serviceName, this.#onError);
      for (const record of this.#waiting) this.#spans.add(record);
    } catch (error) {
      this.#onError(error as Error);
    }
    this.#waiting = [];
  }
}
