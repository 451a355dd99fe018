// Authorization messages to compiled rules. Fails closed: what is not understood (a newer schema, a bad regex) never
// allows and always denies, and is reported. Nothing here throws.

import type { Authorization } from '../../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { AuthorizationRule, Operation } from '../../../proto/gen/weft/policy/v1/authorization_pb.js';
import { AuthorizationAction } from '../../../proto/gen/weft/policy/v1/authorization_pb.js';
import { methodMistake } from '../../../proto/kit/http-words.ts';
import type { CompileError, RegexCompiler } from '../../config/compile-match.ts';
import { checkPath, compileStringMatch, LITERAL_PARTS, report, reportUnknown } from '../../config/compile-match.ts';
import type { CompiledStringMatch } from '../string-match.ts';
import type { CompiledAuthorizationRule, CompiledOperation, ServiceAuthorization } from './run.ts';

/** One compiled policy. It is always usable: errors have already been turned into "never allows" or "always denies". */
export interface CompiledAuthorization {
  /** `namespace/name`. */
  readonly name: string;
  /** Resource names of the Services it protects. */
  readonly services: readonly string[];
  readonly action: 'ALLOW' | 'DENY';
  readonly rules: readonly CompiledAuthorizationRule[];
}

/** Compiles one policy. An action that is unset or unknown might have been a DENY, so it denies everything. */
export function compileAuthorization(
  message: Authorization,
  regex: RegexCompiler,
): { readonly policy: CompiledAuthorization; readonly errors: readonly CompileError[] } {
  const errors: CompileError[] = [];
  const { name, services } = message;
  let opaque = reportUnknown(message, '', errors);
  const action = message.action === AuthorizationAction.ALLOW ? 'ALLOW' : 'DENY';
  if (action === 'DENY' && message.action !== AuthorizationAction.DENY) {
    errors.push({
      path: 'action',
      message: `unknown action ${message.action}: taken as DENY of everything; use ALLOW or DENY`,
    });
    opaque = true;
  }
  const rules: CompiledAuthorizationRule[] = [];
  for (let i = 0; i < message.rules.length; i++) {
    const rule = message.rules[i] as AuthorizationRule;
    const label = `${name}#${rule.name === '' ? `rule-${i}` : rule.name}`;
    const compiled = compileRule(rule, label, action === 'ALLOW', `rules[${i}]`, regex, errors);
    if (compiled !== null && !(opaque && action === 'ALLOW')) rules.push(compiled);
  }
  if (action === 'DENY' && (opaque || message.rules.length === 0)) rules.push(always(`${name}#(everything)`));
  return { policy: { name, services: [...services], action, rules }, errors };
}

/**
 * Gathers all policies that protect one Service.
 * @param service its resource name, `namespace/name`.
 * @param trustDomain of this sidecar: namespaces of other trust domains are strangers.
 */
export function assembleAuthorization(
  service: string,
  trustDomain: string,
  policies: readonly CompiledAuthorization[],
): ServiceAuthorization {
  const mine = policies.filter((policy) => policy.services.includes(service));
  const allowing = mine.filter((policy) => policy.action === 'ALLOW');
  return {
    trustDomain,
    namespace: service.slice(0, Math.max(0, service.indexOf('/'))),
    deny: mine.filter((policy) => policy.action === 'DENY').flatMap((policy) => policy.rules),
    allow: allowing.flatMap((policy) => policy.rules),
    hasAllow: allowing.length > 0,
  };
}

function always(rule: string): CompiledAuthorizationRule {
  return {
    verdict: { allowed: false, rule },
    always: true,
    anyone: true,
    spiffeIds: new Set(),
    namespaces: new Set(),
    operations: null,
  };
}

function compileRule(
  rule: AuthorizationRule,
  label: string,
  allow: boolean,
  path: string,
  regex: RegexCompiler,
  errors: CompileError[],
): CompiledAuthorizationRule | null {
  const before = errors.length;
  reportUnknown(rule, path, errors);
  const spiffeIds = new Set<string>();
  const namespaces = new Set<string>();
  rule.from.forEach((from, i) => {
    const at = `${path}.from[${i}]`;
    if (reportUnknown(from, at, errors)) return;
    const { case: kind, value } = from.caller;
    if (kind === 'spiffeId' && value.startsWith('spiffe://')) spiffeIds.add(value);
    else if (kind === 'namespace' && value !== '') namespaces.add(value);
    else
      errors.push({ path: at, message: 'names no caller that is understood: use a complete spiffe_id or a namespace' });
  });
  const operations = rule.to.map((to, i) => compileOperation(to, `${path}.to[${i}]`, regex, errors));
  if (errors.length > before) return allow ? null : always(label);
  return {
    verdict: { allowed: allow, rule: label },
    always: false,
    anyone: rule.from.length === 0,
    spiffeIds,
    namespaces,
    operations: operations.length === 0 ? null : operations,
  };
}

function compileOperation(
  operation: Operation,
  path: string,
  regex: RegexCompiler,
  errors: CompileError[],
): CompiledOperation {
  reportUnknown(operation, path, errors);
  const paths: CompiledStringMatch[] = [];
  operation.paths.forEach((match, i) => {
    const compiled = compileStringMatch(match, `${path}.paths[${i}]`, regex, errors);
    if (compiled === null) return;
    // A DENY by a path that can never come would protect nothing.
    const part = LITERAL_PARTS[compiled.kind];
    if (part !== undefined) checkPath(compiled.text, part, `${path}.paths[${i}].${compiled.kind}`, errors);
    paths.push(compiled);
  });
  for (const [i, method] of operation.methods.entries()) report(methodMistake(method), `${path}.methods[${i}]`, errors);
  return {
    methods: operation.methods.length === 0 ? null : new Set(operation.methods),
    paths: operation.paths.length === 0 ? null : paths,
    ports: operation.ports.length === 0 ? null : new Set(operation.ports),
  };
}
