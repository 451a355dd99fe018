// What an operator, `weft status` and `weft explain` may ask one sidecar. It says why things are as they are, and
// never a secret: keys are in no answer, since no handler is given one.

import type { ExplainQuery } from '../base/messages.ts';
import type { Reply, Table } from './http.ts';

/** A certificate as admin shows it. */
export interface CertificateView {
  readonly spiffeId: string;
  readonly serial: string;
  readonly notBefore: string;
  readonly notAfter: string;
  /** SHA-256 of each root. */
  readonly rootFingerprints: readonly string[];
}

/** What admin is built from. */
export interface AdminParts {
  /** The snapshot as JSON text. */
  config(): string;
  /** Each worker's view; null for one that did not answer. */
  dump(): Promise<unknown[]>;
  /** Null: there is no identity yet. */
  certificate(): CertificateView | null;
  /** Who is revoked, by serial number or SPIFFE id, with when and why. */
  revocations(): readonly unknown[];
  stats(): unknown;
  explain(query: ExplainQuery): Promise<unknown>;
  logLevel(): string;
  /** Null: not allowed (`--admin-log-level`). */
  readonly setLogLevel: ((level: string) => boolean) | null;
}

/** The paths of admin. */
export function adminTable(parts: AdminParts): Table {
  const table: Record<string, Table[string]> = {
    'GET /config': () => ({ status: 200, body: parts.config(), type: 'application/json' }),
    'GET /endpoints': async () => {
      const workers = await parts.dump();
      return { status: workers.includes(null) ? 504 : 200, body: { workers } };
    },
    'GET /certificates': () => ({
      status: 200,
      body: { certificate: parts.certificate(), revocations: parts.revocations() },
    }),
    'GET /stats': () => ({ status: 200, body: parts.stats() }),
    'GET /explain': async ({ query }) => {
      const parsed = parseQuery(query);
      if (typeof parsed === 'string') return { status: 400, body: { error: parsed } };
      const result = await parts.explain(parsed);
      if (result === null) return { status: 504, body: { error: 'the data path did not answer in time' } };
      return { status: 200, body: result };
    },
    'GET /log-level': () => ({ status: 200, body: { level: parts.logLevel() } }),
  };
  const { setLogLevel } = parts;
  if (setLogLevel !== null) {
    table['PUT /log-level'] = ({ query, body }): Reply => {
      const level = (query.get('level') ?? body).trim();
      if (setLogLevel(level)) return { status: 200, body: { level } };
      return { status: 400, body: { error: `${level} is none of trace, debug, info, warn, error, silent` } };
    };
  }
  const paths = Object.keys(table);
  table['GET /'] = () => ({ status: 200, body: { paths } });
  return table;
}

/** `direction=outbound&method=GET&authority=orders&path=/x&caller=spiffe://…&header=k:v`; a sentence when it is wrong. */
function parseQuery(query: URLSearchParams): ExplainQuery | string {
  const direction = query.get('direction') ?? 'outbound';
  if (direction !== 'outbound' && direction !== 'inbound') return 'direction must be outbound or inbound';
  const authority = query.get('authority') ?? '';
  if (authority === '') return 'authority is missing: the host that the request names, such as orders';
  const path = query.get('path') ?? '/';
  if (!path.startsWith('/')) return 'path must begin with /';
  const headers: string[] = [];
  for (const header of query.getAll('header')) {
    const at = header.indexOf(':');
    if (at < 1) return `header ${header} is not name:value`;
    headers.push(header.slice(0, at).trim().toLowerCase(), header.slice(at + 1).trim());
  }
  const method = query.get('method') ?? 'GET';
  return { direction, method, authority, path, headers, caller: query.get('caller') ?? '' };
}
