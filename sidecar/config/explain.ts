// Why a request goes where it goes, for `weft explain`: the same decisions as serve.ts, told step by step.

import { normalizePath } from '../../proto/kit/path.ts';
import { parseSpiffeId } from '../../proto/kit/spiffe.ts';
import type { ExplainQuery } from '../base/messages.ts';
import { authorize, type PeerIdentity } from '../filters/authorization/run.ts';
import { findHost, portInAuthority, portOf } from '../proxy/decide.ts';
import { explainRoute, matchHost } from '../proxy/route.ts';
import { ProxyError } from '../wire/error.ts';
import { Head } from '../wire/stream.ts';
import type { Snapshot } from './snapshot.ts';

/** Plain data for people and for `--json`. */
export function explain(snapshot: Snapshot, query: ExplainQuery, nowMs: number): object {
  const path = normalizePath(query.path === '' ? '/' : query.path);
  if (path.error !== null) return { decision: 'refused', status: 400, why: path.error };
  const full = path.query === null ? path.path : `${path.path}?${path.query}`;
  const head = Head.request(query.method, 'http', query.authority.toLowerCase(), full, [...query.headers]);
  return query.direction === 'inbound'
    ? explainInbound(snapshot, head, path.path, query.caller)
    : explainOutbound(snapshot, head, nowMs);
}

function explainOutbound(snapshot: Snapshot, head: Head, nowMs: number): object {
  const known = findHost(snapshot, '', head.authority);
  if (known instanceof ProxyError) return { decision: 'refused', status: 404, why: known.detail };
  const { route, reasons } = explainRoute(snapshot.table, head);
  if (route === null)
    return { decision: 'refused', status: 404, host: known.service, why: 'no rule matches', rules: reasons };
  const { rule } = route;
  const port = portInAuthority(head.authority);
  const backends = rule.backends.length > 0 ? rule.backends : [{ service: known.service, port, labels: [] }];
  let before = 0;
  return {
    decision: rule.filters.redirect === null ? 'sent' : 'redirected',
    host: known.service,
    rule: rule.name,
    filters: rule.filters,
    timeouts: { requestMs: rule.requestTimeoutMs, perTryMs: rule.perTryTimeoutMs, idleMs: rule.idleTimeoutMs },
    retry: rule.retry,
    backends: backends.map((backend) => {
      const weight = 'cumulativeWeight' in backend ? backend.cumulativeWeight - before : 1;
      before += weight;
      const service = snapshot.services.get(backend.service);
      const destination = service === undefined ? null : portOf(service, backend.port);
      return {
        service: backend.service,
        port: destination?.port ?? 0,
        protocol: destination?.protocol ?? '',
        tls: destination?.tls ?? '',
        weight,
        labels: backend.labels,
        endpoints: (destination?.cluster.list ?? []).map((endpoint) => ({
          name: endpoint.name,
          health: endpoint.health.describe(nowMs),
          inFlight: endpoint.inFlight,
        })),
      };
    }),
    rules: reasons,
  };
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
  const verdict = authorize(own.authorization, peer, head.method, path, port.port);
  return {
    decision: verdict.allowed ? 'allowed' : 'denied',
    status: verdict.allowed ? null : 403,
    service: own.name,
    port: port.port,
    caller: peer?.spiffeId ?? '(no identity)',
    rule: verdict.rule,
    application: port.destination.cluster.list.map((endpoint) => endpoint.name),
  };
}
