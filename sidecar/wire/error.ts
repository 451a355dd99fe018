// The one error of the data path. It knows who caused it and whether the request may be sent again, so that
// retry, response and log line need no guessing. proxy/respond.ts turns a kind into statuses and flags.

/** Who is at fault: the caller (its bytes, its departure), the upstream, or a decision of this sidecar. */
export type ErrorSource = 'downstream' | 'upstream' | 'local';

/**
 * Whether another attempt is safe as far as the wire knows: `yes` when the upstream certainly processed
 * nothing (never sent, REFUSED_STREAM, above GOAWAY's last stream), `reusedOnly` when a reused connection died
 * before any response byte (the keep-alive race), `no` otherwise. Idempotency is judged elsewhere.
 */
export type RetryAdvice = 'no' | 'yes' | 'reusedOnly';

/** What happened. The closed set that proxy/respond.ts maps; add here and the compiler shows that table. */
export type ErrorKind =
  | 'malformed' // bytes that break the protocol's grammar; the detail says which rule
  | 'headersTooLarge'
  | 'bodyTooLarge'
  | 'uriTooLong'
  | 'misdirected' // authority belongs to another Service than the connection (421)
  | 'headerTimeout' // the request head did not arrive in time
  | 'requestTimeout' // the route's timeout to the response head passed
  | 'perTryTimeout'
  | 'idleTimeout' // no byte moved either way
  | 'connectFailed'
  | 'connectTimeout'
  | 'tlsFailed'
  | 'refused' // REFUSED_STREAM or GOAWAY before processing
  | 'connectionClosed' // ended or reset before the message was complete
  | 'streamReset' // RST_STREAM by the peer; `code` has its HTTP/2 error code
  | 'protocolError' // the upstream broke HTTP; its connection is closed
  | 'noUpgrade' // the upstream's HTTP/2 takes no extended CONNECT (RFC 8441 §3)
  | 'noRoute'
  | 'noEndpoint' // no healthy endpoint
  | 'overflow' // a pool, pending or request limit is full
  | 'denied' // authorization; the detail names the rule
  | 'unavailable' // draining or shedding
  | 'cancelled' // the downstream went away
  | 'internal'; // a bug here, contained

/** A failure on the data path: a value handed along, never thrown across a callback. */
export class ProxyError extends Error {
  readonly kind: ErrorKind;
  readonly source: ErrorSource;
  /** For the operator: what, where, how to fix. Never holds header values or bodies. */
  readonly detail: string;
  readonly retry: RetryAdvice;
  /** HTTP/2 error code (RFC 9113 §7) received or to be sent; -1 when none applies. */
  readonly code: number;

  constructor(
    kind: ErrorKind,
    source: ErrorSource,
    detail: string,
    retry: RetryAdvice = 'no',
    cause: Error | null = null,
    code = -1,
  ) {
    // Expected failures carry no stack: capturing one costs more than the rest of the request.
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(detail, cause === null ? undefined : { cause });
    Error.stackTraceLimit = limit;
    this.kind = kind;
    this.source = source;
    this.detail = detail;
    this.retry = retry;
    this.code = code;
  }
}
