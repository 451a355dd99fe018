// The rules of one host in the order in which a sidecar tries them (sidecar/proxy/route.ts), for requests of which only
// method and path are known: what else a rule asks for makes its answer uncertain.
import type { Redirect, RouteMatch, RouteRule } from '../../proto/gen/weft/policy/v1/route_pb.js';
import { compileRegex, type Regex } from '../../proto/kit/regex.ts';
import type { Resource } from './resource.ts';
import { resourceId } from './resource.ts';

/** The redirect of a rule, and which of its filters it is. */
export interface RuleRedirect {
  readonly index: number;
  readonly redirect: Redirect;
}

/** One match of one rule. */
export interface TableMatch {
  readonly route: Resource<'Route'>;
  readonly rule: RouteRule;
  /** e.g. `spec.rules[0]`. */
  readonly rulePath: string;
  readonly redirect: RuleRedirect | null;
  readonly kind: 'exact' | 'prefix' | 'regex' | 'any';
  /** A prefix has no trailing slash; empty for `any`. */
  readonly path: string;
  /** Empty: any. */
  readonly method: string;
  /** The path to which the redirect leads from `path`; null when it replaces a prefix that was not matched. */
  rewrite(path: string): string | null;
}

/** A match with what only the lookup needs. */
interface Entry extends TableMatch {
  readonly regex: Regex | null;
  /** Whether it also looks at headers, of which nothing is known. */
  readonly conditional: boolean;
  /** It looks at the query, which the requests followed here do not have. */
  readonly query: boolean;
  readonly grpc: boolean;
  readonly specificity: number;
}

export class RedirectTable {
  /** The matches of rules that redirect. */
  readonly redirects: readonly TableMatch[];
  readonly #exact = new Map<string, Entry[]>();
  readonly #prefix = new Map<string, Entry[]>();
  readonly #regexes: Entry[] = [];
  readonly #any: Entry[] = [];

  /** @param redirectOf the redirect that answers instead of calling; null for a rule without. */
  constructor(routes: readonly Resource<'Route'>[], redirectOf: (rule: RouteRule) => RuleRedirect | null) {
    const sorted = [...routes].sort((a, b) => (resourceId(a) < resourceId(b) ? -1 : 1));
    const entries = sorted.flatMap((route) =>
      (route.message.spec?.rules ?? []).flatMap((rule, i) => {
        const redirect = redirectOf(rule);
        const matches = rule.matches.length === 0 ? [null] : rule.matches;
        return matches.map((match) => entryOf(route, rule, `spec.rules[${i}]`, redirect, match));
      }),
    );
    this.redirects = entries.filter((entry) => entry.redirect !== null);
    for (const entry of entries.sort((a, b) => b.specificity - a.specificity)) this.#listOf(entry).push(entry);
  }

  /** The match that decides a request without a query; null when none does, or headers that are not known decide. */
  lookUp(path: string, method: string): TableMatch | null {
    for (const entry of this.#candidates(path)) {
      if (entry.method !== '' && entry.method !== method) continue;
      if (entry.query || (entry.grpc && method !== 'POST')) continue;
      return entry.conditional || entry.grpc ? null : entry;
    }
    return null;
  }

  *#candidates(path: string): Generator<Entry> {
    yield* this.#exact.get(path) ?? [];
    for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1))
      yield* this.#prefix.get(path.slice(0, end)) ?? [];
    for (const entry of this.#regexes) if (entry.regex?.test(path) === true) yield entry;
    yield* this.#any;
  }

  #listOf(entry: Entry): Entry[] {
    if (entry.kind === 'any') return this.#any;
    if (entry.kind === 'regex') return this.#regexes;
    const byPath = entry.kind === 'exact' ? this.#exact : this.#prefix;
    const list = byPath.get(entry.path) ?? [];
    byPath.set(entry.path, list);
    return list;
  }
}

function entryOf(
  route: Resource<'Route'>,
  rule: RouteRule,
  rulePath: string,
  redirect: RuleRedirect | null,
  match: RouteMatch | null,
): Entry {
  const { kind, path } = pathOf(match);
  const headers = match?.headers.length ?? 0;
  const query = match?.query.length ?? 0;
  const method = match?.method ?? '';
  const grpc = match?.grpc !== undefined;
  const rewrite = redirect?.redirect.path?.rewrite;
  return {
    route,
    rule,
    rulePath,
    redirect,
    kind,
    path,
    method,
    regex: kind === 'regex' ? compileRegex(path).regex : null,
    conditional: headers > 0,
    query: query > 0,
    grpc,
    specificity: (method !== '' || grpc ? 1024 : 0) + Math.min(headers, 31) * 32 + Math.min(query, 31),
    rewrite(from) {
      if (rewrite?.case === undefined) return from;
      if (rewrite.case === 'full') return rewrite.value;
      if (kind !== 'prefix' && kind !== 'any') return null;
      const to = rewrite.value.replace(/\/$/, '') + from.slice(path.length);
      return to.startsWith('/') ? to : `/${to}`;
    },
  };
}

/** As the sidecar compiles it. A gRPC match is kept apart by its flag, so that its path only has to be found. */
function pathOf(match: RouteMatch | null): { readonly kind: TableMatch['kind']; readonly path: string } {
  if (match?.grpc) {
    const { service, method } = match.grpc;
    if (service === '') return { kind: 'any', path: '' };
    return method === '' ? { kind: 'prefix', path: `/${service}` } : { kind: 'exact', path: `/${service}/${method}` };
  }
  const { case: kind, value } = match?.path?.match ?? { case: undefined, value: '' };
  if (kind === undefined || (kind === 'prefix' && value === '/')) return { kind: 'any', path: '' };
  return { kind, path: kind === 'prefix' ? value.replace(/\/$/, '') : value };
}
