// HOT: the end of a request: counts it, and where a policy wants it, records it. Runs exactly once.

import type { TelemetryRecord } from '../base/messages.ts';
import type { ProxyError } from '../wire/error.ts';
import type { ServeContext } from './origin.ts';
import { replyFor } from './respond.ts';
import type { ProxiedRequest } from './serve.ts';

/** @param error why it failed or was refused; null when a response was relayed whole. */
export function finish(context: ServeContext, request: ProxiedRequest, error: ProxyError | null): void {
  const { stats, head } = request;
  const nowMs = context.clock.nowMs();
  let flag = '-';
  let status = request.response === null ? request.localStatus : request.response.status;
  let { grpcStatus } = request;
  if (error !== null) {
    const reply = replyFor(error);
    flag = reply.flag;
    if (request.response === null) status = reply.status;
    if (grpcStatus < 0 && request.isGrpc) grpcStatus = reply.grpcStatus;
  }
  stats.active.add(-1);
  stats.duration.observe((nowMs - request.startMs) / 1000);
  stats.rule(request.ruleName).count(status, grpcStatus, flag);
  if (request.attempts > 1) stats.retries.add(request.attempts - 1);
  const denied = error !== null && error.kind === 'denied';
  if (denied) context.series.counter('denied', stats.service, error.detail).add(1);
  const { logShare } = request.telemetry;
  const span = context.spans && request.trace.sampled;
  // A denial is told whatever the policy: whoever wonders looks into the log first.
  const log =
    logShare > 0
      ? error !== null || status >= 500 || context.random() < logShare
      : denied && context.telemetry.takeDenialLine(nowMs);
  if (!span && !log) return;
  const mark = head.path.indexOf('?');
  const record: TelemetryRecord = {
    kind: 'request',
    log,
    span,
    direction: request.direction,
    startMs: performance.timeOrigin + request.startMs,
    endMs: performance.timeOrigin + nowMs,
    traceId: request.trace.traceId,
    spanId: request.trace.spanId,
    parentSpanId: request.trace.parentSpanId,
    method: head.method,
    authority: head.authority,
    path: mark < 0 ? head.path : head.path.slice(0, mark),
    status,
    grpcStatus,
    flag,
    detail: error === null ? '' : error.detail,
    route: request.ruleName,
    service: stats.service,
    endpoint: request.plan?.endpoint?.name ?? '',
    peer: request.peer,
    client: request.client,
    attempts: request.attempts,
    requestBytes: request.requestBytes,
    responseBytes: request.responseBytes,
    usage: request.usage,
  };
  context.telemetry.add(record);
}
