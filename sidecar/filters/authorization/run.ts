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
const NOT_ALLOWED: AuthorizationVerdict = { allowed: false, rule: '(no ALLOW matches)' };

/**
 * Decides one request.
 * @param peer null: no proven identity.
 * @param path normalized, without the query; the path that is also forwarded. Empty (CONNECT): no path is known, which a DENY by path takes as a match.
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
    if (rule.always || (isCaller(policy, rule, peer) && isOperation(rule, method, path, port, true)))
      return rule.verdict;
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
  deny: boolean,
): boolean {
  if (rule.operations === null) return true;
  for (const operation of rule.operations) {
    if (operation.methods !== null && !operation.methods.has(method)) continue;
    if (operation.ports !== null && !operation.ports.has(port)) continue;
    if (operation.paths === null || isPath(operation.paths, path, deny)) return true;
  }
  return false;
}

function isPath(paths: readonly CompiledStringMatch[], path: string, deny: boolean): boolean {
  if (path === '') return deny;
  for (const match of paths) if (matchString(match, path)) return true;
  return false;
}
