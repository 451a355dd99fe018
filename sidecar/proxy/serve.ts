// HOT: the life of a request on one page: pin the configuration, normalize, decide, filter, and either answer here
// or hand it to its attempts. What happens afterwards is relay.ts, attempt.ts and finish.ts.

import { normalizePath } from '../../proto/kit/path.ts';
import type { Clock } from '../base/clock.ts';
import type { TelemetryRecord } from '../base/messages.ts';
import { RUNG } from '../base/overload.ts';
import type { Random } from '../base/random.ts';
import type { TimerWheel } from '../base/timer-wheel.ts';
import type { CompiledTelemetry, Destination } from '../config/snapshot.ts';
import { DEFAULT_TELEMETRY } from '../config/snapshot.ts';
import { applyHeaderEdit } from '../filters/header-edit/run.ts';
import { redirectHead } from '../filters/redirect/run.ts';
import { applyRewrite } from '../filters/rewrite/run.ts';
import type { RequestStats } from '../telemetry/request-stats.ts';
import { tellSource } from '../upstream/opaque.ts';
import { ProxyError } from '../wire/error.ts';
import { headerValue, headerValues, removeHeader, setHeader } from '../wire/headers.ts';
import { Head, type HttpStream, type StreamAcceptor } from '../wire/stream.ts';
import { type AttemptContext, RequestPlan } from './attempt.ts';
import { admit, chooseDestination, type Decision, findHost, findPort, findRoute, hostOf } from './decide.ts';
import { finish } from './finish.ts';
import type { Origin, ServeContext } from './origin.ts';
import { type AttemptPolicy, Exchange } from './relay.ts';
import { removeReserved } from './reserved.ts';
import { respond } from './respond.ts';
import { matchHost } from './route.ts';
import { continueTrace, type Trace } from './trace.ts';
import { TranscodedRequest } from './transcoded.ts';
import { CLIENT_CERT, isUnderscore, refuseUnderscores, removeAliases } from './underscores.ts';

/** Decides a request by itself instead of by host and route: what the AI port knows after reading the body. */
export type Chooser = (head: Head) => Decision | ProxyError;

/** Takes a plain CONNECT over (null), or says why not. */
export type ConnectHook = (stream: HttpStream, head: Head) => ProxyError | null;

const OVERLOADED = new ProxyError(
  'unavailable',
  'local',
  'this sidecar holds nearly as much as --memory-limit lets it; raise it, or find who reads too slowly',
  'yes',
);
const NO_HEAD = Head.request('', '', '', '', []);
const NO_TRACE: Trace = { traceId: '', spanId: '', parentSpanId: '', sampled: false };

/** One request with what its end must tell. */
export class ProxiedRequest extends Exchange {
  startMs = 0;
  /** As routed; the same object as `request`. */
  head: Head = NO_HEAD;
  isGrpc = false;
  ruleName = '';
  /** What a local answer without an error said (a redirect); 0: none. */
  localStatus = 0;
  trace: Trace = NO_TRACE;
  telemetry: CompiledTelemetry = DEFAULT_TELEMETRY;
  stats: RequestStats;
  plan: RequestPlan | null = null;
  /** Set by the AI port before the end. */
  usage: TelemetryRecord['usage'] = null;
  readonly server: RequestServer;
  /** Decided before: a transcoded request, which was routed as its caller wrote it. */
  decided: Decision | null = null;

  constructor(downstream: HttpStream, server: RequestServer) {
    super(downstream, BEGIN);
    this.server = server;
    this.stats = server.unknown;
  }

  get direction(): 'outbound' | 'inbound' | 'ai' {
    return this.server.origin.direction;
  }

  /** `address:port` of the caller as a PROXY header told it; empty: there was none. */
  get client(): string {
    const { proxied } = this.server.origin;
    if (!proxied) return '';
    const { source, sourcePort } = proxied;
    return source.includes(':') ? `[${source}]:${sourcePort}` : `${source}:${sourcePort}`;
  }

  /** Who called, as TLS proved; empty: the own application. */
  get peer(): string {
    return this.server.origin.peer?.spiffeId ?? '';
  }
}

const BEGIN = (exchange: Exchange, head: Head, end: boolean): AttemptPolicy | null => {
  const request = exchange as ProxiedRequest;
  return request.server.begin(request, head, end);
};

/** Serves the requests of one origin; one object per connection or listener. */
export class RequestServer implements AttemptContext {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly random: Random;
  readonly expose: boolean;
  readonly origin: Origin;
  /** Counts what never reached a Service. */
  readonly unknown: RequestStats;
  private readonly context: ServeContext;
  private readonly connect: ConnectHook | null;
  private readonly choose: Chooser | null;
  /** The origin's Service as a host; empty: by authority. */
  private readonly fixedHost: string;

  /**
   * @param choose null: by host and route, or by the Service's Authorization.
   * @param connect null: a plain CONNECT is a request like any other.
   */
  constructor(
    context: ServeContext,
    origin: Origin,
    choose: Chooser | null = null,
    connect: ConnectHook | null = null,
  ) {
    this.connect = connect;
    this.context = context;
    this.clock = context.clock;
    this.wheel = context.wheel;
    this.random = context.random;
    this.origin = origin;
    this.choose = choose;
    this.expose = origin.direction !== 'inbound';
    this.unknown = context.unknownStats(origin.direction);
    this.fixedHost = origin.service === '' ? '' : hostOf(origin.service);
  }

  /** For codecs: each new stream gets its exchange. */
  readonly accept: StreamAcceptor = (stream) => new ProxiedRequest(stream, this);

  /** The policy that the request's attempts follow, or null after it was answered here. */
  begin(request: ProxiedRequest, head: Head, end: boolean): AttemptPolicy | null {
    request.head = head;
    request.startMs = this.clock.nowMs();
    const type = headerValue(head.headers, 'content-type');
    request.isGrpc = type?.startsWith('application/grpc') === true;
    if (this.connect !== null && head.method === 'CONNECT' && head.protocol === '') {
      const refused = this.connect(request.downstream, head);
      return refused === null ? null : this.refuse(request, head, refused);
    }
    if (this.context.overload.rung >= RUNG.refuseStreams) return this.refuse(request, head, OVERLOADED);
    const decision = request.decided ?? this.decide(request, head);
    if (decision instanceof ProxyError) return this.refuse(request, head, decision);
    if (decision === null) return null;
    const { destination, rule } = decision;
    if (destination.transcode !== null && !request.isGrpc && request.decided === null) {
      TranscodedRequest.begin(this, request, head, end, decision, destination.transcode);
      return null;
    }
    this.note(request, destination, rule.name);
    if (request.decided === null) request.trace = this.traceOf(head, destination);
    const plan = new RequestPlan(this, request, destination.cluster, rule, decision.labels);
    request.plan = plan;
    return plan;
  }

  onFinish(exchange: Exchange): void {
    finish(this.context, exchange as ProxiedRequest, exchange.error);
  }

  /** Ends a request that was answered without an upstream. */
  answered(request: ProxiedRequest, head: Head, status: number): void {
    request.localStatus = status;
    request.head = head;
    finish(this.context, request, null);
  }

  traceOf(head: Head, destination: Destination): Trace {
    return continueTrace(head.headers, destination.telemetry.traceShare, this.random());
  }

  /** From here on the request counts as one to `destination`. */
  note(request: ProxiedRequest, destination: Destination, ruleName: string): void {
    request.stats = destination.stats;
    request.telemetry = destination.telemetry;
    request.ruleName = ruleName;
    destination.stats.active.add(1);
  }

  private decide(request: ProxiedRequest, head: Head): Decision | ProxyError | null {
    if (this.choose !== null) return this.choose(head);
    const wrong = normalize(head);
    if (wrong !== null) return wrong;
    return this.origin.direction === 'inbound' ? this.decideInbound(head) : this.decideOutbound(request, head);
  }

  private decideOutbound(request: ProxiedRequest, head: Head): Decision | ProxyError | null {
    const { snapshot } = this.context;
    const { fixedHost } = this;
    const host = findHost(snapshot, fixedHost, head.authority);
    if (host instanceof ProxyError) return host;
    const { outboundPort } = this.context;
    const port = fixedHost === '' ? findPort(snapshot, host.service, head.authority, outboundPort) : this.origin.port;
    if (port instanceof ProxyError) return port;
    if (fixedHost !== '' && head.authority === '') head.authority = fixedHost;
    // Meant for the proxy that the application was told to use (RFC 9110 §11.7.2), which this sidecar is.
    removeHeader(head.headers, 'proxy-authorization');
    const route = findRoute(host, head);
    if (route instanceof ProxyError) return route;
    const { filters } = route.rule;
    const prefixLength = route.pathKind === 'prefix' ? route.path.length : 0;
    if (filters.redirect !== null) {
      // Back to where the caller called, which only on the outbound port must be a host of the mesh.
      const answer = redirectHead(filters.redirect, head, prefixLength);
      this.redirect(request, head, answer, host.service, route.rule.name);
      return null;
    }
    // A local port is one Service whatever Host says, and the receiver refuses a host of another one.
    if (fixedHost !== '' && matchHost(snapshot.table, head.authority) !== host) head.authority = fixedHost;
    if (filters.requestHeaders !== null) applyHeaderEdit(filters.requestHeaders, head.headers);
    if (filters.rewrite !== null) applyRewrite(filters.rewrite, head, prefixLength);
    const decision = chooseDestination(snapshot, host, route.rule, port, this.random());
    if (decision instanceof ProxyError) return decision;
    const { service } = decision.destination;
    // Slow path: a backend of another Service, whose receiver would refuse the first one's host (421).
    if (service !== host.service && matchHost(snapshot.table, head.authority) === host)
      head.authority = hostOf(service);
    return decision;
  }

  private decideInbound(head: Head): Decision | ProxyError {
    const mark = head.path.indexOf('?');
    const path = mark < 0 ? head.path : head.path.slice(0, mark);
    const decision = admit(this.context.snapshot, this.origin, head, path);
    // What a caller says of itself is worth nothing; what TLS proved is told in Envoy's words.
    const { peer } = this.origin;
    if (peer === null) {
      removeHeader(head.headers, CLIENT_CERT);
      removeReserved(head.headers);
    } else {
      removeAliases(head.headers);
      setHeader(head.headers, CLIENT_CERT, `URI=${peer.spiffeId}`);
    }
    if (this.origin.proxied) forwardedFor(head, this.origin.proxied.source);
    if (decision instanceof ProxyError) return decision;
    if (decision.destination.opaque?.sendProxy)
      tellSource(head, { addresses: this.origin.addresses?.() ?? null, spiffeId: peer?.spiffeId ?? '' });
    return peer === null ? (refuseUnderscores(head.headers) ?? decision) : decision;
  }

  private redirect(request: ProxiedRequest, head: Head, answer: Head, service: string, ruleName: string): void {
    const destination = this.context.snapshot.services.get(service)?.http ?? null;
    if (destination !== null) this.note(request, destination, ruleName);
    else this.noteUnknown(request);
    request.downstream.writeHead(answer, true);
    this.answered(request, head, answer.status);
  }

  private refuse(request: ProxiedRequest, head: Head, error: ProxyError): null {
    // A refusal on the inbound side is the Service's; an unknown host is nobody's, and no label is made of it.
    const own = this.context.snapshot.ownServices.get(this.origin.service)?.ports.get(this.origin.port);
    if (this.origin.direction === 'inbound' && own !== undefined) this.note(request, own.destination, '(inbound)');
    else this.noteUnknown(request);
    request.trace = continueTrace(head.headers, request.telemetry.traceShare, this.random());
    // The codec counts what breaks its grammar; what only the normalization refuses is known here.
    if (error.kind === 'malformed') {
      const reason = isUnderscore(error) ? 'underscore' : 'path';
      this.context.series.counter('malformed', listenerOf(this.origin), reason).add(1);
    }
    respond(request.downstream, head, error, this.expose);
    finish(this.context, request, error);
    return null;
  }

  private noteUnknown(request: ProxiedRequest): void {
    request.stats.active.add(1);
    request.telemetry = this.context.snapshot.telemetry;
  }
}

/** Serves the requests of `origin`, each by its host and route, or let in by the Service's Authorization. */
export function acceptorOf(context: ServeContext, origin: Origin): StreamAcceptor {
  return new RequestServer(context, origin).accept;
}

/**
 * One request whose destination the caller chooses; for what stands between a server stream and the exchange.
 * @param choose asked once, with the head as it goes upstream.
 */
export function exchangeTo(context: ServeContext, origin: Origin, stream: HttpStream, choose: Chooser): ProxiedRequest {
  return new ProxiedRequest(stream, new RequestServer(context, origin, choose));
}

/** As HAProxy, nginx and Envoy: behind what the caller said, which is worth nothing, comes what is known. */
function forwardedFor(head: Head, address: string): void {
  const said = headerValues(head.headers, 'x-forwarded-for');
  setHeader(head.headers, 'x-forwarded-for', said === undefined ? address : `${said}, ${address}`);
}

/** The label of the listener's metrics: a local port is told from the outbound one. */
function listenerOf({ direction, service }: Origin): string {
  return direction === 'outbound' && service !== '' ? 'local' : direction;
}

/** The path that was judged is the path that is sent (CVE-2021-29492). `*` and CONNECT have none. */
function normalize(head: Head): ProxyError | null {
  const { path } = head;
  if (path === lastPath || path === '*' || path === '') return null;
  const result = normalizePath(path);
  if (result.error !== null) return new ProxyError('malformed', 'downstream', result.error);
  head.path = result.query === null ? result.path : `${result.path}?${result.query}`;
  lastPath = head.path;
  return null;
}

/** A connection repeats its paths; one that is normal already needs no second look. */
let lastPath = '/';
