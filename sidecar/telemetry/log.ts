// The sidecar's two logs: what it does itself goes to stderr, finished requests that a policy wants logged go to
// stdout, each a JSON line. Neither ever holds a key, a header value or a body.

import pino, { type DestinationStream, type Logger } from 'pino';
import type { TelemetryRecord } from '../base/messages.ts';

export type { Logger };

/** The sidecar's own log. */
export function createLog(level: string): Logger {
  return pino({ name: 'weft-sidecar', level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, stderr());
}

function stderr(): DestinationStream {
  // Synchronous: the last line before an exit is the one that is needed.
  return pino.destination({ dest: 2, sync: true });
}

/** Writes access log lines. */
export interface AccessLog {
  write(record: TelemetryRecord): void;
  /** Writes what is buffered, before the process ends. */
  flush(): void;
}

/** To stdout, gathered into few writes; lines that the reader does not take in time never delay a request. */
export function createAccessLog(): AccessLog {
  const destination = pino.destination({ dest: 1, sync: false, minLength: 4_096, maxLength: 16 * 1_024 * 1_024 });
  const log = pino({ base: null, timestamp: false, formatters: { level: () => ({ kind: 'access' }) } }, destination);
  const timer = setInterval(() => destination.flush(), 200);
  timer.unref();
  return {
    write: (record) => log.info(accessFields(record)),
    flush: () => {
      clearInterval(timer);
      try {
        destination.flushSync();
      } catch {
        // The reader of stdout is gone: nobody is left to tell.
      }
    },
  };
}

/** The fields of one line. Zero and empty ones that say nothing are left out. */
export function accessFields(record: TelemetryRecord): Record<string, unknown> {
  const fields: Record<string, unknown> = {
    time: new Date(record.startMs).toISOString(),
    direction: record.direction,
    method: record.method,
    authority: record.authority,
    path: record.path,
    status: record.status,
    flag: record.flag,
    durationMs: Math.round((record.endMs - record.startMs) * 1_000) / 1_000,
    requestBytes: record.requestBytes,
    responseBytes: record.responseBytes,
    attempts: record.attempts,
    traceId: record.traceId,
    spanId: record.spanId,
  };
  if (record.grpcStatus >= 0) fields.grpcStatus = record.grpcStatus;
  for (const name of ['detail', 'route', 'service', 'endpoint', 'peer', 'client'] as const) {
    if (record[name] !== '') fields[name] = record[name];
  }
  if (record.usage !== null) fields.usage = record.usage;
  return fields;
}
