// Spans of finished requests through the official OpenTelemetry SDK. The worker made the ids, since they travel with
// the request; here a record becomes a span that is over. Loaded with the first span; what fails is the exporter's.

import {
  type Attributes,
  type HrTime,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
} from '@opentelemetry/api';
import { setGlobalErrorHandler } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import {
  defaultResource,
  detectResources,
  envDetector,
  type Resource,
  resourceFromAttributes,
} from '@opentelemetry/resources';
import { BatchSpanProcessor, type ReadableSpan } from '@opentelemetry/sdk-trace';
import type { TelemetryRecord } from '../base/messages.ts';
import { isSetting, NUMBERS } from '../base/otel-mistakes.ts';
import type { SpanSink } from './span-sink.ts';

/** A collector that is away for hours fills no log. */
const TELL_EVERY_MS = 60_000;

const SCOPE = { name: 'weft' } as const;

/** @param serviceName used unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES name one. `onError` hears of failed exports. */
export function createSpanSink(serviceName: string, onError: (error: Error) => void): SpanSink {
  // What the SDK cannot deliver is told here, at most once in a while.
  let toldAtMs = Number.NEGATIVE_INFINITY;
  const tell = (error: unknown): void => {
    if (performance.now() - toldAtMs < TELL_EVERY_MS) return;
    toldAtMs = performance.now();
    onError(error instanceof Error ? error : new Error(String((error as { message?: string }).message ?? error)));
  };
  setGlobalErrorHandler(tell);
  // Endpoint, headers, timeout and compression: OTEL_EXPORTER_OTLP_*, read by the exporter.
  const exporter = new OTLPTraceExporter();
  const processor = new BatchSpanProcessor(batchOptions(exporter));
  const resource = defaultResource()
    .merge(resourceFromAttributes({ 'service.name': serviceName }))
    .merge(detectResources({ detectors: [envDetector] }));
  return {
    add: (record) => processor.onEnd(toSpan(record, resource)),
    // The last export's failure comes back here instead of through the handler.
    close: () => processor.shutdown().catch(tell),
  };
}

/** The batch processor's settings of the OpenTelemetry specification; this SDK reads none of them itself. */
function batchOptions(exporter: OTLPTraceExporter): ConstructorParameters<typeof BatchSpanProcessor>[0] {
  const settings = {
    scheduledDelayMillis: setting('OTEL_BSP_SCHEDULE_DELAY'),
    exportTimeoutMillis: setting('OTEL_BSP_EXPORT_TIMEOUT'),
    maxQueueSize: setting('OTEL_BSP_MAX_QUEUE_SIZE'),
    maxExportBatchSize: setting('OTEL_BSP_MAX_EXPORT_BATCH_SIZE'),
  };
  const given = Object.entries(settings).filter(([, value]) => value !== null);
  return { exporter, ...Object.fromEntries(given) };
}

/** A number of the environment; null when it is none, as the specification wants bad values ignored. */
function setting(name: string): number | null {
  const text = process.env[name] ?? '';
  return isSetting(text, NUMBERS[name] ?? 0) ? Number(text) : null;
}

function toSpan(record: TelemetryRecord, resource: Resource): ReadableSpan {
  const context: SpanContext = {
    traceId: record.traceId,
    spanId: record.spanId,
    traceFlags: TraceFlags.SAMPLED,
  };
  const parent: SpanContext = { ...context, spanId: record.parentSpanId, isRemote: true };
  const inbound = record.direction === 'inbound';
  // Semantic conventions: 5xx is an error for both sides, 4xx only for the caller; gRPC's statuses likewise.
  const failed = record.status >= (inbound ? 500 : 400) || record.grpcStatus > 0 || record.flag !== '-';
  return {
    name: spanName(record),
    kind: inbound ? SpanKind.SERVER : SpanKind.CLIENT,
    spanContext: () => context,
    ...(record.parentSpanId === '' ? {} : { parentSpanContext: parent }),
    startTime: hrTime(record.startMs),
    endTime: hrTime(record.endMs),
    duration: hrTime(Math.max(0, record.endMs - record.startMs)),
    status: failed
      ? { code: SpanStatusCode.ERROR, ...(record.detail === '' ? {} : { message: record.detail }) }
      : { code: SpanStatusCode.UNSET },
    attributes: attributes(record),
    links: [],
    events: [],
    ended: true,
    resource,
    instrumentationScope: SCOPE,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  };
}

/** Few names, as the conventions ask: the route of a policy, never the path that a caller sent. */
function spanName(record: TelemetryRecord): string {
  if (record.usage !== null) return `chat ${record.usage.model}`;
  if (record.grpcStatus >= 0) return record.path.slice(1);
  return record.route === '' ? record.method : `${record.method} ${record.route}`;
}

/** HTTP, RPC and GenAI semantic conventions, and Weft's own under `weft.`. */
function attributes(record: TelemetryRecord): Attributes {
  const found: Attributes = {
    'http.request.method': record.method,
    'http.response.status_code': record.status,
    'url.path': record.path,
    'url.scheme': record.direction === 'ai' ? 'https' : 'http',
    'server.address': record.authority,
    'http.request.body.size': record.requestBytes,
    'http.response.body.size': record.responseBytes,
    'weft.direction': record.direction,
    'weft.flag': record.flag,
    'weft.attempts': record.attempts,
  };
  if (record.route !== '') found['http.route'] = record.route;
  if (record.service !== '') found['weft.service'] = record.service;
  if (record.endpoint !== '') found['network.peer.address'] = record.endpoint;
  if (record.peer !== '') found['weft.peer'] = record.peer;
  // OpenTelemetry semantic conventions, server spans: the original caller behind a proxy.
  if (record.client !== '') found['client.address'] = record.client.slice(0, record.client.lastIndexOf(':'));
  if (record.attempts > 1) found['http.request.resend_count'] = record.attempts - 1;
  if (record.grpcStatus >= 0) {
    const [, service = '', method = ''] = record.path.split('/');
    found['rpc.system'] = 'grpc';
    found['rpc.service'] = service;
    found['rpc.method'] = method;
    found['rpc.grpc.status_code'] = record.grpcStatus;
  }
  if (record.usage !== null) {
    found['gen_ai.operation.name'] = 'chat';
    found['gen_ai.request.model'] = record.usage.model;
    found['gen_ai.usage.input_tokens'] = record.usage.inputTokens;
    found['gen_ai.usage.output_tokens'] = record.usage.outputTokens;
    found['weft.cost_micro_usd'] = record.usage.costMicroUsd;
  }
  return found;
}

/** Seconds and nanoseconds. */
function hrTime(ms: number): HrTime {
  const seconds = Math.floor(ms / 1_000);
  return [seconds, Math.round((ms - seconds * 1_000) * 1e6)];
}
