// Checks rewrites once: what they produce must itself be a normalized path and a plain host.

import type { PathRewrite, Rewrite } from '../../../proto/gen/weft/policy/v1/route_pb.js';
import type { CompileError } from '../../config/compile-match.ts';
import { reportUnknown } from '../../config/compile-match.ts';
import type { CompiledPathRewrite, CompiledRewrite } from './run.ts';

/** Compiles a rewrite; null after reporting. */
export function compileRewrite(rewrite: Rewrite, path: string, errors: CompileError[]): CompiledRewrite | null {
  const before = errors.length;
  reportUnknown(rewrite, path, errors);
  const host = checkHost(rewrite.host, `${path}.host`, errors);
  const compiled = compilePathRewrite(rewrite.path, `${path}.path`, errors);
  return errors.length > before ? null : { host, path: compiled };
}

/** Compiles the path part of a rewrite or redirect; null when unset, or after reporting. */
export function compilePathRewrite(
  rewrite: PathRewrite | undefined,
  path: string,
  errors: CompileError[],
): CompiledPathRewrite | null {
  if (rewrite === undefined || reportUnknown(rewrite, path, errors)) return null;
  const { case: kind, value } = rewrite.rewrite;
  if (kind === undefined) {
    errors.push({ path, message: 'says nothing: set full or prefix' });
    return null;
  }
  // RFC 3986 §3.3 and what normalization refuses: dot segments, empty segments, encoded slashes and dots.
  if (!/^(?:\/[\w.~!$&'()*+,;=:@%-]*)+$/.test(value) || /\/\.{0,2}\/|\/\.{1,2}$|%(?:2f|5c|2e|00)/i.test(value)) {
    errors.push({
      path: `${path}.${kind}`,
      message: 'not a normalized path: starts with /, no query, no `//`, `.` or `..` segments',
    });
    return null;
  }
  return { kind, text: kind === 'prefix' ? value.replace(/\/$/, '') : value };
}

/** A host as it may stand in `:authority`, lower-cased; null when empty, or after reporting. */
export function checkHost(host: string, path: string, errors: CompileError[]): string | null {
  if (host === '') return null;
  if (/^(?:[\w.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?$/i.test(host)) return host.toLowerCase();
  errors.push({ path, message: 'not a host: a name or address, with a port if need be' });
  return null;
}
