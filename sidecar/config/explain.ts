// Why a request goes where it goes, for `weft explain`: the same decisions as serve.ts, told step by step.

import { normalizePath } from '../../proto/kit/path.ts';
import { parseSpiffeId } from '../../proto/kit/spiffe.ts';
import type { ExplainQuery } from '../base/messages.ts';
import { type AuthorizationVerdict, authorize, type PeerIdentity } from '../filters/authorization/run.ts';
import {
  destinationOf,
  findByServerName,
  findHost,
  findPort,
  misdirected,
  nameIn,
  portInAuthority,
} from '../proxy/decide.ts';
import { replyFor } from '../proxy/respond.ts';
import type { CompiledBackend, CompiledHost, CompiledRule } from '../proxy/route.ts';
import { explainRoute, matchHost } from '../proxy/route.ts';
import { labelText } from '../upstream/cluster.ts';
import { ProxyError } from '../wire/error.ts';
import { Head } from '../wire/stream.ts';
import type { Snapshot } from './snapshot.ts';

/** Plain data for people and for `--json`. @param outboundPort of the listener that applications call. */
export function explain(snapshot: Snapshot, query: ExplainQuery, nowMs: number, outboundPort: number): object {
  const path = normalizePath(query.path === '' ? '/' : query.path);
  if (path.error !== null) return { decision: 'refused', status: 400, why: path.error };
  const full = path.query === null ? path.path : `${path.path}?${path.query}`;
  const head = Head.request(query.method, 'http', query.authority.toLowerCase(), full, [...query.headers]);
  return query.direction === 'inbound'
    ? explainInbound(snapshot, head, path.path, query.caller)
    : { ...explainOutbound(snapshot, head, nowMs, outboundPort), ...explainServerName(snapshot, head.authority) };
}

/** What becomes of TLS that the application makes itself; nothing where no Service has the name or it is HTTP alone. */
function explainServerName(snapshot: Snapshot, authority: string): object {
  const target = findByServerName(snapshot, { service: '', port: portInAuthority(authority) }, nameIn(authority));
  if (target.outcome !== 'routed') return {};
  const { service, port } = target.destination;
  return { byServerName: { decision: 'sent', service, port, protocol: 'tcp' } };
}

function explainOutbound(snapshot: Snapshot, head: Head, nowMs: number, outboundPort: number): object {
  const known = findHost(snapshot, '', head.authority);
  if (known instanceof ProxyError) return { decision: 'refused', status: 404, why: known.detail };
  const port = findPort(snapshot, known.service, head.authority, outboundPort);
  if (port instanceof ProxyError) return { decision: 'refused', status: 404, host: known.service, why: port.detail };
  const { route, reasons } = explainRoute(snapshot.table, head);
  if (route === null)
    return { decision: 'refused', status: 404, host: known.service, why: 'no rule matches', rules: reasons };
  const { rule } = route;
  const redirected = rule.filters.redirect !== null;
  const backends = redirected ? [] : explainBackends(snapshot, known, rule, port, nowMs);
  // One of several may be picked that cannot be sent to: its own line says so.
  const lost = backends.filter((one) => one.weight > 0).every((one) => one.status !== undefined);
  return {
    decision: redirected ? 'redirected' : lost ? 'refused' : 'sent',
    ...(lost && !redirected ? { status: backends.find((one) => one.weight > 0)?.status ?? 404 } : {}),
    host: known.service,
    rule: rule.name,
    filters: Object.fromEntries(Object.entries(rule.filters).filter(([, filter]) => filter !== null)),
    timeouts: { requestMs: rule.requestTimeoutMs, perTryMs: rule.perTryTimeoutMs, idleMs: rule.idleTimeoutMs },
    retry: rule.retry,
    backends,
    rules: reasons,
  };
}

function explainBackends(
  snapshot: Snapshot,
  host: CompiledHost,
  rule: CompiledRule,
  port: number,
  nowMs: number,
): ExplainedBackend[] {
  if (rule.backends.length === 0) return [explainBackend(snapshot, host, rule, null, 1, port, nowMs)];
  let before = 0;
  return rule.backends.map((backend) => {
    const weight = backend.cumulativeWeight - before;
    before = backend.cumulativeWeight;
    return explainBackend(snapshot, host, rule, backend, weight, port, nowMs);
  });
}

/** Plain data; with a `status` its requests are answered here, and `why` says the reason. */
interface ExplainedBackend {
  readonly service: string;
  readonly weight: number;
  readonly status?: number;
  readonly why?: string;
  readonly endpoints: readonly object[];
}

/** A backend and the endpoints that the data path would choose from, in its words; the others with what keeps them out. */
function explainBackend(
  snapshot: Snapshot,
  host: CompiledHost,
  rule: CompiledRule,
  backend: CompiledBackend | null,
  weight: number,
  port: number,
  nowMs: number,
): ExplainedBackend {
  const service = backend?.service ?? host.service;
  const decided = destinationOf(snapshot, host, rule, backend, port);
  if (decided instanceof ProxyError) {
    return { service, weight, status: replyFor(decided).status, why: decided.detail, endpoints: [] };
  }
  const { destination } = decided;
  const labels = labelText(decided.labels);
  const all = destination.cluster.describe(decided.labels, nowMs);
  const endpoints = all.filter((one) => one.chosenFrom).map(({ chosenFrom, ...shown }) => shown);
  const others = all
    .filter((one) => !one.chosenFrom)
    .map((one) => ({
      name: one.name,
      why: `it has the labels ${one.labels || '(none)'}, and the rule wants ${labels}`,
    }));
  const found = {
    service,
    port: destination.port,
    protocol: destination.protocol,
    tls: destination.tls,
    weight,
    labels,
  };
  const why = whyNobody(endpoints, all.length, service, labels);
  return {
    ...found,
    ...(why === '' ? {} : { status: 503, why }),
    endpoints,
    ...(others.length === 0 ? {} : { others }),
  };
}

/** Why a request to this backend is answered 503 here; empty: it is sent. */
function whyNobody(
  endpoints: readonly { readonly takesRequests: boolean }[],
  all: number,
  service: string,
  labels: string,
): string {
  if (all === 0)
    return `${service} has no endpoints: is a workload of it registered? \`weft get endpoints\` lists them`;
  if (endpoints.length === 0) return `none of the ${all} endpoints of ${service} has the labels ${labels}`;
  return endpoints.some((one) => one.takesRequests) ? '' : `no endpoint of ${service} takes a request now`;
}

function explainInbound(snapshot: Snapshot, head: Head, path: string, caller: string): object {
  const parsed = parseSpiffeId(caller);
  if (caller !== '' && !parsed.ok) return { decision: 'refused', why: parsed.error };
  const peer: PeerIdentity | null = parsed.ok
    ? { spiffeId: parsed.id, trustDomain: parsed.identity.trustDomain, namespace: parsed.identity.namespace }
    : null;
  const host = matchHost(snapshot.table, head.authority);
  const only = snapshot.ownServices.size === 1 ? [...snapshot.ownServices.values()][0] : undefined;
  const own = host === null ? only : snapshot.ownServices.get(host.service);
  if (own === undefined) {
    const names = [...snapshot.ownServices.keys()].join(', ');
    return {
      decision: 'refused',
      status: 421,
      why: `no application here serves ${head.authority}; it serves: ${names}`,
    };
  }
  const named = portInAuthority(head.authority);
  const port = own.ports.get(named) ?? [...own.ports.values()][0];
  if (port === undefined) return { decision: 'refused', status: 421, why: `no application serves ${own.name}` };
  const elsewhere = misdirected(snapshot, { direction: 'inbound', service: own.name, port: port.port, peer }, head);
  if (elsewhere !== null) return { decision: 'refused', status: 421, why: elsewhere.message };
  const opaque = authorize(own.authorization, peer, 'CONNECT', '', port.port);
  const verdict = port.protocol === 'tcp' ? opaque : authorize(own.authorization, peer, head.method, path, port.port);
  return {
    decision: verdict.allowed ? 'allowed' : 'denied',
    status: verdict.allowed ? null : 403,
    ...(port.acceptProxy === true ? { proxyHeader: 'required of connections in the clear' } : {}),
    ...(port.protocol === 'detect' ? { opaque: explainOpaque(opaque) } : {}),
    service: own.name,
    port: port.port,
    caller: peer?.spiffeId ?? '(no identity: name one with --caller)',
    rule: verdict.rule,
    application: port.destination.cluster.list.map((endpoint) => endpoint.name),
  };
}

/** What becomes of a connection to a DETECT port whose first bytes are no HTTP. */
function explainOpaque(verdict: AuthorizationVerdict): object {
  return { decision: verdict.allowed ? 'allowed' : 'denied', rule: verdict.rule };
}
