// Every metric of the data path by name: what it counts, its labels, and why they are few. Both sides read this list:
// main registers the families and prints them, workers count. Labels come from policies and from closed sets, never
// from what a caller sent.

/** One family of series. */
export interface MetricFamily {
  readonly name: string;
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds of buckets, ascending, in the metric's unit; empty unless a histogram. */
  readonly bounds: readonly number[];
}

/** Seconds, from a cache hit on localhost to a slow model; each about twice to two and a half times the one before (OpenTelemetry's HTTP boundaries, and below). */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

function counter(name: string, help: string, ...labels: string[]): MetricFamily {
  return { name, kind: 'counter', help, labels, bounds: [] };
}

function gauge(name: string, help: string, ...labels: string[]): MetricFamily {
  return { name, kind: 'gauge', help, labels, bounds: [] };
}

function histogram(name: string, help: string, ...labels: string[]): MetricFamily {
  return { name, kind: 'histogram', help, labels, bounds: SECONDS };
}

/** The families of the data path. `direction` is `outbound`, `inbound` or `ai`. */
export const METRICS = {
  requests: counter(
    'weft_requests_total',
    'Requests that ended, by what they were answered with; flag says why when Weft answered (- if not)',
    'direction',
    'service',
    'route',
    'code',
    'grpc_code',
    'flag',
  ),
  duration: histogram(
    'weft_request_duration_seconds',
    'From the request head to the end of the response',
    'direction',
    'service',
  ),
  active: gauge('weft_requests_active', 'Requests under way', 'direction'),
  upstreamRequests: gauge(
    'weft_upstream_requests_active',
    'Requests under way to one port of a Service, which connection_pool.requests_max bounds',
    'direction',
    'service',
    'port',
  ),
  upstreamRetries: gauge(
    'weft_upstream_retries_active',
    'Of those, retries that the budget counts: a fifth of the requests at most, or three',
    'direction',
    'service',
    'port',
  ),
  connections: gauge('weft_connections_active', 'Connections accepted and open', 'listener'),
  malformed: counter(
    'weft_malformed_total',
    'Messages refused because they break the protocol, by the listener that they came to; upstream: answers of an endpoint, an application or a provider',
    'listener',
    'reason',
  ),
  guards: counter('weft_guard_total', 'Connections ended by a flood guard or a limit', 'listener', 'guard'),
  detected: counter(
    'weft_detected_connections_total',
    'Connections to a port of protocol DETECT by what their first bytes were: http1, http2, tls, other, or timeout without enough of them; all but HTTP are opaque',
    'service',
    'protocol',
  ),
  serverNames: counter(
    'weft_tls_passed_through_total',
    'TLS connections of the application by what their server name (SNI) led to: routed to a Service, or why not',
    'listener',
    'outcome',
  ),
  proxyHeaders: counter(
    'weft_proxy_headers_refused_total',
    'Connections in the clear to a port that asks for a PROXY header (proxyProtocol.accept), refused for what was wrong with it',
    'service',
    'reason',
  ),
  handshakes: counter(
    'weft_handshake_failures_total',
    'Connections refused at their beginning on the inbound port: by TLS, or for want of it',
    'reason',
  ),
  revoked: counter(
    'weft_revoked_connections_total',
    'Open connections that ended because the peer was revoked; side: inbound (it called), outbound (it was called)',
    'side',
  ),
  upstreamHandshakes: counter(
    'weft_upstream_handshakes_total',
    'TLS handshakes with endpoints by what was agreed: version, key exchange, whether a session was resumed (never between sidecars)',
    'service',
    'version',
    'group',
    'resumed',
  ),
  handshakesActive: gauge(
    'weft_handshakes_active',
    'TLS handshakes under way on the inbound port, those that wait for their turn included',
  ),
  handshakesDelayed: counter(
    'weft_handshakes_delayed_total',
    'TLS handshakes that waited, since a worker had begun a thousand within a second',
  ),
  denied: counter(
    'weft_authorization_denied_total',
    'Requests denied, by the deciding policy and rule',
    'service',
    'rule',
  ),
  retries: counter('weft_retries_total', 'Attempts after the first', 'service'),
  connectFailures: counter('weft_connect_failures_total', 'Connections to endpoints that failed', 'service'),
  ejections: counter('weft_ejections_total', 'Endpoints taken out after failures in a row', 'service'),
  contained: counter('weft_contained_total', 'Throws that ended one connection instead of the worker'),
  telemetryDropped: counter(
    'weft_telemetry_dropped_total',
    'Log and span records dropped because main did not keep up',
  ),
  aiRequests: counter('weft_ai_requests_total', 'Calls to models by outcome', 'model', 'provider', 'outcome'),
  aiTokens: counter('weft_ai_tokens_total', "Tokens as the provider's usage says", 'model', 'provider', 'type'),
  aiCost: counter(
    'weft_ai_cost_micro_usd_total',
    'Cost by the prices of the policy, in millionths of a US dollar',
    'model',
    'provider',
  ),
} as const satisfies Record<string, MetricFamily>;

export type MetricKey = keyof typeof METRICS;
