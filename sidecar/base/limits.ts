// Every bound of the data path by name, with its default, its reason and the peer it was taken from: one page for whoever
// asks why a request was cut or refused. What belongs to a protocol's grammar is in wire/http1/limits.ts and wire/http2/limits.ts;
// what a policy may say (regex length, attempts, weights) stands where it is compiled.

/** Defaults; units are the last word of each name. Options and policies override some, none is ever unlimited. */
export const LIMITS = {
  /** TCP connect to an upstream. 1 s: a mesh peer answers in milliseconds; a lost SYN is resent once in that time (Linkerd). */
  connectTimeoutMs: 1_000,
  /** From the end of the request to the response head, all attempts together: bodies may stream for as long as they move (Envoy, Kuma). */
  routeTimeoutMs: 15_000,
  /** No byte either way on a stream (Envoy). */
  streamIdleTimeoutMs: 300_000,
  /** From the first byte of a request head to its last; a slow sender holds a socket no longer (Envoy edge guide). */
  headerTimeoutMs: 10_000,
  /** A connection from downstream without any request; clients' pools give up first, so none is cut in a race (Envoy). */
  connectionIdleMs: 3_600_000,
  /** From an accepted connection to the end of its TLS handshake (Envoy's transport socket timeout in Istio is 15 s; a mesh peer needs milliseconds). */
  handshakeTimeoutMs: 10_000,
  /** TLS handshakes of a worker under way, those that wait for their turn included. A core does about 700 mutual ones a second, and callers wait for one: what comes above would be too late for them. */
  handshakesMax: 1_000,
  /** TLS handshakes that a worker begins in a second, and at once after a quiet one; more wait. More than one core can do today, so that it bounds a faster one's burst and never a mesh that starts (Envoy and HAProxy have no default). */
  handshakesPerSecond: 1_000,
  /** Connections that the kernel holds until a worker accepts them: Linux cuts it to net.core.somaxconn, 4,096 since 5.4. Node's 511 drops a burst that a busy worker would have taken a few milliseconds later (HAProxy and Envoy leave it to somaxconn, too). */
  listenBacklog: 4_096,
  /** A quiet connection before TCP asks whether the other end is there; ten more questions a second apart end it. Under the 240 to 350 s after which load balancers and NATs of clouds forget a connection; the kernel's own two hours are of no use to anybody. */
  keepAliveIdleMs: 60_000,
  /** To the next address of a name while none has connected: IPv6 that leads nowhere costs a quarter of a second (RFC 8305 §5: Connection Attempt Delay). */
  nextAddressMs: 250,
  /** Addresses of a name that one connection may try: as many as begin within the default connect timeout, two of each family. More would make a storm of SYNs of a name that is down. */
  raceAddressesMax: 4,
  /** Time to learn the protocol of a connection before it is treated as opaque (Linkerd). */
  detectTimeoutMs: 10_000,
  /** Bytes of a connection that are looked at to learn its protocol: a request line, and no more of what may be anything (Linkerd). */
  detectBytesMax: 1_024,
  /** Other attempts after the first; only for requests that are idempotent or certainly not processed (Envoy). */
  retriesMax: 1,
  /** Retries in flight, as a share of requests in flight: an outage grows load by a fifth, never by a multiple (Envoy). */
  retryBudgetPercent: 20,
  /** Retries always allowed in flight, so that an idle cluster can retry at all (Envoy). */
  retryBudgetMin: 3,
  /** Ceiling of the first wait before a retry; full jitter below it (Envoy). */
  backoffBaseMs: 25,
  /** Ceiling of every later wait (Envoy: ten times the base). */
  backoffMaxMs: 250,
  /** Longest `Retry-After` that is waited for where no request timeout ends before: the request is held all the while (Envoy's rate_limited_retry_back_off). */
  retryAfterMaxMs: 300_000,
  /** Connections to one cluster (Envoy). */
  clusterConnectionsMax: 1_024,
  /** Requests waiting for a connection (Envoy). */
  clusterPendingMax: 1_024,
  /** Requests in flight to one cluster (Envoy). */
  clusterRequestsMax: 1_024,
  /** Failures in a row that eject an endpoint (Linkerd). Of the success rate see upstream/outlier.ts. */
  ejectionFailures: 7,
  /** First ejection; doubles with each failed probe (Linkerd). */
  ejectionBaseMs: 1_000,
  /** Longest ejection: a recovered endpoint is back within a minute (Linkerd). */
  ejectionMaxMs: 60_000,
  /** An ejection is longer by up to this share, so that many sidecars do not probe at once (Linkerd). */
  ejectionJitter: 0.5,
  /** Endpoints of a cluster that may be ejected together, and the share of unhealthy ones above which health is ignored (Envoy's panic threshold). */
  ejectionPercentMax: 50,
  /** HTTP/2 streams that a stranger may open at once on a connection (Envoy edge guide). */
  strangerStreamsMax: 100,
  /** HTTP/2 streams for an authenticated mesh peer: one connection carries a whole worker's load. */
  peerStreamsMax: 1_000,
  /** Log lines about denied requests in a second and worker, where no policy asks for an access log: a refused caller must not fill the disk. */
  denialLinesPerSecond: 100,
  /** Open connections of one listener in a worker. Each costs 5 to 70 KiB, so that a flood stays below 1 GB (Envoy's edge guide: a global limit). */
  listenerConnectionsMax: 10_000,
  /**
   * Age at which an HTTP connection is drained with its next request, so that load finds new instances and workers, and
   * a peer shows its certificate again long before the old one ends. 1 h: gRPC's advice for servers behind balancers (gRFC A9).
   */
  connectionAgeMaxMs: 3_600_000,
  /** That age varies by up to this share in both directions (gRFC A9). */
  connectionAgeJitter: 0.1,
  /** Requests after which a connection is drained: nothing that a connection keeps grows for ever. An hour at 2,700 a second. */
  connectionRequestsMax: 10_000_000,
  /** Bodies and readers are looked at this often: two looks bound what a slow one gains, and a quiet worker is woken six times a minute. */
  paceEveryMs: 10_000,
  /** Bytes a second that a request body with a declared length must bring, and one in chunks from a caller without an identity (Kestrel's MinRequestBodyDataRate). */
  bodyBytesPerSecondMin: 240,
  /** Bytes a second that a caller must read while there is something for it, and that its windows must let out of each HTTP/2 answer (Kestrel's MinResponseDataRate). */
  readBytesPerSecondMin: 240,
  /** How long a caller may read less than that: people pause downloads, and what it holds meanwhile is bounded (as the idle time of streams; Envoy's stream_flush_timeout has the same default). */
  slowReadMs: 300_000,
  /** Memory of the process where neither an option nor a container says one: what large meshes give a sidecar (Istio's default limit). */
  memoryBytesMax: 1024 * 1024 * 1024,
  /** Of it, what messages under way may hold in all workers together, in percent; the rest is connections, streams, config and garbage. */
  heldPercent: 25,
  /** What the program itself takes, before the first connection. */
  restBytes: 100 * 1024 * 1024,
  /** A label set without news for this long gives its counters back: pods and routes come and go. */
  seriesIdleMs: 600_000,
  /** Label sets of one metric; the rest share one called `overflow`. A Prometheus server copes with thousands a target. */
  seriesMax: 2_000,
  /** Rules of a Service whose counters are remembered; more come only from many changes of its Routes, and are found again. */
  serviceRulesMax: 2_000,
  /** HTTP/2 connections of a worker to one endpoint: one carries a thousand streams of a mesh peer; four spread the load of its workers. */
  http2ConnectionsMax: 4,
  /** Request bytes kept for another attempt; a longer request is sent once. 64 KiB: enough for calls, and bounded by the requests under way (Linkerd). */
  replayBytesMax: 64 * 1024,
  /** A body that must be whole before it goes on, as for transcoding and models: 10 MiB holds a prompt with a few images, and memory stays bounded by the requests under way. */
  bufferedBodyBytesMax: 10 * 1024 * 1024,
  /** Objects and lists of a JSON body within each other, where it is read here: protobuf's own bound for messages, 100, each within a list; real prompts and calls have under 20. */
  jsonDepthMax: 200,
  /** Messages in each other in a transcoded body, as deep as protobuf's own parsers go. */
  messageDepthMax: 100,
  /** Values of a transcoded body that are looked at to find the wrong one: milliseconds of a worker's time, and enough for what people write. */
  locatedValuesMax: 10_000,
  /** Characters of the path to a wrong field that an error names, from its end: the answer must not grow with the request. */
  faultPathCharsMax: 512,
  /** Bytes of a model's answer in one piece that are kept to read its usage; a larger one passes unmetered. As much as a request may have. */
  meteredBodyBytesMax: 10 * 1024 * 1024,
  /** One event of a streamed answer. Chat chunks are under 1 KiB, audio and image deltas reach a few MiB; a provider that never sends a blank line must not fill memory. */
  sseEventBytesMax: 8 * 1024 * 1024,
  /** Log lines and spans that a worker hands to main at once: about a megabyte. They go ten times a second, and whenever a quarter of it waits at the end of a turn, so that only a turn with more than a thousand loses any. Those are dropped and counted. */
  telemetryRecordsMax: 1_000,
  /** Spans that wait while the OpenTelemetry SDK loads, under a second; the batch processor's own queue has as many. */
  waitingSpansMax: 2_048,
} as const;
