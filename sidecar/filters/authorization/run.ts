// HOT: may this caller do this? DENY before ALLOW; with any ALLOW the rest is denied; with none the identities of
// the Service's own namespace may call and no others. Verdicts are made at compile time, so a request allocates nothing.

import type { CompiledStringMatch } from '../string-match.ts';
import { matchString } from '../string-match.ts';

/** Who calls, as proven by TLS; parsed once per connection. */
export interface PeerIdentity {
  /** The whole SPIFFE id, byte for byte as in the certificate. */
  readonly spiffeId: string;
  readonly trustDomain: string;
  readonly namespace: string;
}

/** The answer, and the rule that gave it: `namespace/name#rule`, or the name of the default in parentheses. */
export interface AuthorizationVerdict {
  readonly allowed: boolean;
  readonly rule: string;
}

/** All of what is set must hold; null: anything. */
export interface CompiledOperation {
  readonly methods: ReadonlySet<string> | null;
  readonly paths: readonly CompiledStringMatch[] | null;
  readonly ports: ReadonlySet<number> | null;
}

/** One rule. `always`: it could not be understood; a DENY then holds for everything. Such an ALLOW is not compiled at all. */
export interface CompiledAuthorizationRule {
  readonly verdict: AuthorizationVerdict;
  readonly always: boolean;
  /** Anyone, also without an identity. */
  readonly anyone: boolean;
  readonly spiffeIds: ReadonlySet<string>;
  /** Namespaces of the Service's own trust domain. */
  readonly namespaces: ReadonlySet<string>;
  /** Any of them; null: every operation. */
  readonly operations: readonly CompiledOperation[] | null;
}

/** Everything that protects one Service. */
export interface ServiceAuthorization {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly deny: readonly CompiledAuthorizationRule[];
  readonly allow: readonly CompiledAuthorizationRule[];
  /** Whether any ALLOW policy exists, also one that allows nothing. */
  readonly hasAllow: boolean;
}

const NAMESPACE_ALLOWED: AuthorizationVerdict = { allowed: true, rule: '(own namespace)' };
const NAMESPACE_DENIED: AuthorizationVerdict = { allowed: false, rule: '(no policy: other namespace)' };
/** Part of a metric's label and of the log line, behind the rule. */
const UNKNOWN_FACTS = '(an opaque connection has no method or path to judge)';

const NOT_ALLOWED: AuthorizationVerdict = { allowed: false, rule: '(no ALLOW matches)' };

/**
 * Decides one request.
 * @param peer null: no proven identity.
 * @param path normalized, without the query; the path that is also forwarded. Empty: an opaque connection (CONNECT), of which
 * no method or path is known: a DENY by either takes that as a match, an ALLOW does not.
 * @param port the Service's port that was called.
 */
export function authorize(
  policy: ServiceAuthorization,
  peer: PeerIdentity | null,
  method: string,
  path: string,
  port: number,
): AuthorizationVerdict {
  for (const rule of policy.deny) {
    if (rule.always) return rule.verdict;
    if (!isCaller(policy, rule, peer)) continue;
    if (isOperation(rule, method, path, port, false)) return rule.verdict;
    // Slow path: an opaque connection that is refused for what cannot be known of it.
    if (path === '' && isOperation(rule, method, path, port, true))
      return { allowed: false, rule: `${rule.verdict.rule} ${UNKNOWN_FACTS}` };
  }
  if (!policy.hasAllow) {
    const own = peer !== null && peer.namespace === policy.namespace && peer.trustDomain === policy.trustDomain;
    return own ? NAMESPACE_ALLOWED : NAMESPACE_DENIED;
  }
  for (const rule of policy.allow) {
    if (isCaller(policy, rule, peer) && isOperation(rule, method, path, port, false)) return rule.verdict;
  }
  return NOT_ALLOWED;
}

function isCaller(policy: ServiceAuthorization, rule: CompiledAuthorizationRule, peer: PeerIdentity | null): boolean {
  if (rule.anyone) return true;
  if (peer === null) return false;
  if (rule.spiffeIds.has(peer.spiffeId)) return true;
  return peer.trustDomain === policy.trustDomain && rule.namespaces.has(peer.namespace);
}

function isOperation(
  rule: CompiledAuthorizationRule,
  method: string,
  path: string,
  port: number,
  unknownMatches: boolean,
): boolean {
  if (rule.operations === null) return true;
  for (const operation of rule.operations) {
    if (operation.methods !== null && !unknownMatches && !operation.methods.has(method)) continue;
    if (operation.ports !== null && !operation.ports.has(port)) continue;
    if (operation.paths === null || isPath(operation.paths, path, unknownMatches)) return true;
  }
  return false;
}

function isPath(paths: readonly CompiledStringMatch[], path: string, unknownMatches: boolean): boolean {
  if (path === '') return unknownMatches;
  for (const match of paths) if (matchString(match, path)) return true;
  return false;
}
