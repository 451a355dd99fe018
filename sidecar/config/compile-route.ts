// Route messages to compiled rules: pure and total. All mistakes are reported with their paths; a Route with mistakes
// is not compiled, so that the last good one stays. How the rules of all Routes become a table is compile-table.ts.

import type { Route } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { Backend, NamedMatch, Retry, RouteMatch, RouteRule } from '../../proto/gen/weft/policy/v1/route_pb.js';
import { RetryCondition } from '../../proto/gen/weft/policy/v1/route_pb.js';
import { headerNameMistake, headerValueMistake, queryNameMistake } from '../../proto/kit/http-words.ts';
import { grpcNameMistake } from '../../proto/kit/path.ts';
import { LIMITS } from '../base/limits.ts';
import { compileFilters } from '../filters/registry.ts';
import type { RegexMatcher } from '../filters/string-match.ts';
import type {
  CompiledBackend,
  CompiledNamedMatch,
  CompiledRetry,
  CompiledRoute,
  CompiledRule,
  PathKind,
} from '../proxy/route.ts';
import type { CompileError, RegexCompiler } from './compile-match.ts';
import { checkPath, compileRegex, compileStringMatch, LITERAL_PARTS, report, reportUnknown } from './compile-match.ts';

/** Longest timeout: what a Node timer can hold (2^31 - 1 ms). */
const TIMEOUT_MS_MAX = 2_147_483_647;
/** Most attempts after the first: what the schema allows. */
const ATTEMPTS_MAX = 10;
/** Most weight of one backend: what the schema allows; keeps sums exact. */
const WEIGHT_MAX = 1_000_000;

/** Retries of a rule that says nothing: once, and only what was certainly not processed (Envoy 1.40, Istio say 2; Linkerd a budget). */
export const DEFAULT_RETRY: CompiledRetry = {
  attempts: LIMITS.retriesMax,
  onConnectFailure: true,
  onGatewayError: false,
  onReset: false,
  onUnavailable: false,
  onRateLimited: false,
  nonIdempotent: false,
  backoffBaseMs: LIMITS.backoffBaseMs,
  backoffMaxMs: LIMITS.backoffMaxMs,
};

/** The rule of a Service that no Route speaks of. */
export const DEFAULT_RULE: CompiledRule = {
  name: '(default)',
  filters: { redirect: null, requestHeaders: null, rewrite: null, responseHeaders: null },
  backends: [],
  requestTimeoutMs: LIMITS.routeTimeoutMs,
  perTryTimeoutMs: 0,
  idleTimeoutMs: LIMITS.streamIdleTimeoutMs,
  retry: DEFAULT_RETRY,
};

/** One compiled Route resource. */
export interface CompiledRouteResource {
  /** `namespace/name`. */
  readonly name: string;
  /** Resource names of the Services whose hosts it decides. */
  readonly services: readonly string[];
  readonly routes: readonly CompiledRoute[];
}

/** Compiles one Route, or gives every mistake in it. */
export function compileRoute(
  message: Route,
  regex: RegexCompiler,
): { readonly route: CompiledRouteResource | null; readonly errors: readonly CompileError[] } {
  const errors: CompileError[] = [];
  reportUnknown(message, '', errors);
  const routes: CompiledRoute[] = [];
  message.rules.forEach((rule, i) => {
    const path = `rules[${i}]`;
    const label = `${message.name}#${rule.name === '' ? `rule-${i}` : rule.name}`;
    const compiled = compileRule(rule, label, path, errors);
    if (rule.matches.length === 0) routes.push(anyRoute(compiled));
    rule.matches.forEach((match, j) => {
      const at = `${path}.matches[${j}]`;
      const route = compileMatch(match, compiled, at, regex, errors);
      if (route === null) return;
      if (rewritesPrefix(compiled) && route.pathKind !== 'prefix' && route.pathKind !== 'any') {
        errors.push({ path: at, message: 'the rule replaces a prefix, so each match needs path.prefix' });
      }
      routes.push(route);
    });
  });
  const route = { name: message.name, services: [...message.services], routes };
  return { route: errors.length === 0 ? route : null, errors };
}

/** A route that takes every request. */
export function anyRoute(rule: CompiledRule): CompiledRoute {
  return { rule, pathKind: 'any', path: '', regex: null, method: '', headers: [], query: [], grpc: false };
}

function rewritesPrefix(rule: CompiledRule): boolean {
  return (rule.filters.rewrite?.path ?? rule.filters.redirect?.path)?.kind === 'prefix';
}

function compileRule(rule: RouteRule, label: string, path: string, errors: CompileError[]): CompiledRule {
  reportUnknown(rule, path, errors);
  const { timeouts } = rule;
  if (timeouts !== undefined) reportUnknown(timeouts, `${path}.timeouts`, errors);
  return {
    name: label,
    filters: compileFilters(rule.filters, `${path}.filters`, errors),
    backends: compileBackends(rule.backends, `${path}.backends`, errors),
    requestTimeoutMs: compileMs(timeouts?.request, LIMITS.routeTimeoutMs, `${path}.timeouts.request`, errors),
    perTryTimeoutMs: compileMs(timeouts?.perTry, 0, `${path}.timeouts.per_try`, errors),
    idleTimeoutMs: compileMs(timeouts?.idle, LIMITS.streamIdleTimeoutMs, `${path}.timeouts.idle`, errors),
    retry: compileRetry(rule.retry, `${path}.retry`, errors),
  };
}

function compileBackends(backends: readonly Backend[], path: string, errors: CompileError[]): CompiledBackend[] {
  let cumulativeWeight = 0;
  const compiled = backends.map((backend, i) => {
    const at = `${path}[${i}]`;
    reportUnknown(backend, at, errors);
    const weight = backend.weight ?? 1;
    if (weight > WEIGHT_MAX) errors.push({ path: `${at}.weight`, message: `must be at most ${WEIGHT_MAX}` });
    if (backend.port > 65535) errors.push({ path: `${at}.port`, message: 'must be at most 65535' });
    if (!/^[^/]+\/[^/]+$/.test(backend.service)) {
      errors.push({ path: `${at}.service`, message: 'not a resource name: `namespace/name`' });
    }
    cumulativeWeight += weight;
    return {
      service: backend.service,
      port: backend.port,
      cumulativeWeight,
      labels: Object.entries(backend.labels).flat(),
    };
  });
  if (backends.length > 0 && cumulativeWeight === 0) {
    errors.push({ path, message: 'all weights are 0, so no request can be sent: give one backend a weight' });
  }
  return compiled;
}

function compileRetry(retry: Retry | undefined, path: string, errors: CompileError[]): CompiledRetry {
  if (retry === undefined) return DEFAULT_RETRY;
  reportUnknown(retry, path, errors);
  const attempts = retry.attempts ?? DEFAULT_RETRY.attempts;
  if (attempts > ATTEMPTS_MAX) errors.push({ path: `${path}.attempts`, message: `must be at most ${ATTEMPTS_MAX}` });
  retry.on.forEach((condition, i) => {
    if (condition === RetryCondition.UNSPECIFIED || RetryCondition[condition] === undefined) {
      errors.push({ path: `${path}.on[${i}]`, message: `unknown condition ${condition}` });
    }
  });
  const backoffBaseMs = compileMs(retry.backoffBase, DEFAULT_RETRY.backoffBaseMs, `${path}.backoff_base`, errors);
  const backoffMaxMs = compileMs(
    retry.backoffMax,
    Math.max(DEFAULT_RETRY.backoffMaxMs, backoffBaseMs),
    `${path}.backoff_max`,
    errors,
  );
  if (backoffMaxMs < backoffBaseMs) errors.push({ path: `${path}.backoff_max`, message: 'is less than backoff_base' });
  return {
    attempts,
    onConnectFailure: retry.on.length === 0 || retry.on.includes(RetryCondition.CONNECT_FAILURE),
    onGatewayError: retry.on.includes(RetryCondition.GATEWAY_ERROR),
    onReset: retry.on.includes(RetryCondition.RESET),
    onUnavailable: retry.on.includes(RetryCondition.UNAVAILABLE),
    onRateLimited: retry.on.includes(RetryCondition.RATE_LIMITED),
    nonIdempotent: retry.nonIdempotent,
    backoffBaseMs,
    backoffMaxMs,
  };
}

/** A google.protobuf.Duration in ms, rounded up so that a short timeout does not become "none". */
function compileMs(
  duration: { readonly seconds: bigint; readonly nanos: number } | undefined,
  unsetMs: number,
  path: string,
  errors: CompileError[],
): number {
  if (duration === undefined) return unsetMs;
  const ms = Math.ceil(Number(duration.seconds) * 1000 + duration.nanos / 1e6);
  if (ms >= 0 && ms <= TIMEOUT_MS_MAX) return ms;
  errors.push({ path, message: `must be from 0s to ${Math.floor(TIMEOUT_MS_MAX / 1000)}s` });
  return unsetMs;
}

function compileMatch(
  match: RouteMatch,
  rule: CompiledRule,
  path: string,
  regex: RegexCompiler,
  errors: CompileError[],
): CompiledRoute | null {
  const before = errors.length;
  reportUnknown(match, path, errors);
  if (!/^[A-Z]{0,32}$/.test(match.method))
    errors.push({ path: `${path}.method`, message: 'must be upper-case letters' });
  const headers = compileNamed(match.headers, 'header', `${path}.headers`, regex, errors);
  const query = compileNamed(match.query, 'query', `${path}.query`, regex, errors);
  const on = match.grpc === undefined ? compilePath(match, path, regex, errors) : compileGrpc(match, path, errors);
  if (errors.length > before) return null;
  return { rule, ...on, method: match.method, headers, query, grpc: match.grpc !== undefined };
}

/** How a match speaks of the path. */
interface PathPart {
  pathKind: PathKind;
  path: string;
  regex: RegexMatcher | null;
}

const ANY_PATH: PathPart = { pathKind: 'any', path: '', regex: null };

function compilePath(match: RouteMatch, at: string, regex: RegexCompiler, errors: CompileError[]): PathPart {
  if (match.path === undefined) return ANY_PATH;
  reportUnknown(match.path, `${at}.path`, errors);
  const { case: kind, value } = match.path.match;
  if (kind === undefined) {
    errors.push({ path: `${at}.path`, message: 'says nothing: set exact, prefix or regex' });
    return ANY_PATH;
  }
  if (kind === 'regex') {
    return { pathKind: kind, path: value, regex: compileRegex(value, `${at}.path.regex`, regex, errors) };
  }
  checkPath(value, 'whole', `${at}.path.${kind}`, errors);
  if (kind === 'exact') return { pathKind: kind, path: value, regex: null };
  // `/` is a prefix of everything and says no more than no path at all (Gateway API's default).
  return value === '/' ? ANY_PATH : { pathKind: kind, path: value.replace(/\/$/, ''), regex: null };
}

function compileGrpc(match: RouteMatch, at: string, errors: CompileError[]): PathPart {
  const service = match.grpc?.service ?? '';
  const method = match.grpc?.method ?? '';
  if (match.grpc !== undefined) reportUnknown(match.grpc, `${at}.grpc`, errors);
  if (match.path !== undefined || match.method !== '') {
    errors.push({ path: `${at}.grpc`, message: 'already says path and method: remove those, or grpc' });
  }
  report(grpcNameMistake(service, 'service'), `${at}.grpc.service`, errors);
  report(grpcNameMistake(method, 'method'), `${at}.grpc.method`, errors);
  if (service !== '' && method !== '') return { pathKind: 'exact', path: `/${service}/${method}`, regex: null };
  if (service !== '') return { pathKind: 'prefix', path: `/${service}`, regex: null };
  if (method === '') return ANY_PATH;
  const suffix = `/${method}`;
  return { pathKind: 'regex', path: `/[^/]+${suffix}`, regex: { test: (value) => isMethodOf(value, suffix) } };
}

/** `/any.Service/Method`: two segments, the second given. */
function isMethodOf(path: string, suffix: string): boolean {
  return (
    path.endsWith(suffix) && path.length - suffix.length > 1 && path.indexOf('/', 1) === path.length - suffix.length
  );
}

function compileNamed(
  matches: readonly NamedMatch[],
  of: 'header' | 'query',
  path: string,
  regex: RegexCompiler,
  errors: CompileError[],
): CompiledNamedMatch[] {
  const compiled: CompiledNamedMatch[] = [];
  matches.forEach((match, i) => {
    const at = `${path}[${i}]`;
    reportUnknown(match, at, errors);
    const { name } = match;
    if (name === '') errors.push({ path: `${at}.name`, message: 'must not be empty' });
    else report(of === 'header' ? headerNameMistake(name, 'match') : queryNameMistake(name), `${at}.name`, errors);
    const value = compileStringMatch(match.value, `${at}.value`, regex, errors);
    if (value === null) return;
    const part = LITERAL_PARTS[value.kind];
    if (of === 'header' && part !== undefined)
      report(headerValueMistake(value.text, part), `${at}.value.${value.kind}`, errors);
    compiled.push({ name: of === 'header' ? name.toLowerCase() : name, value });
  });
  return compiled;
}
