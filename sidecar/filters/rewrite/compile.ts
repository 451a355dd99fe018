// Checks rewrites once: what they produce must itself be a normalized path and a plain host.

import type { PathRewrite, Rewrite } from '../../../proto/gen/weft/policy/v1/route_pb.js';
import { hostMistake } from '../../../proto/kit/host.ts';
import { rewritePathMistake } from '../../../proto/kit/path.ts';
import type { CompileError } from '../../config/compile-match.ts';
import { report, reportUnknown } from '../../config/compile-match.ts';
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
  const mistake = rewritePathMistake(value);
  report(mistake, `${path}.${kind}`, errors);
  if (mistake !== null) return null;
  return { kind, text: kind === 'prefix' ? value.replace(/\/$/, '') : value };
}

/** A host as it may stand in `:authority`, lower-cased; null when empty, or after reporting. */
export function checkHost(host: string, path: string, errors: CompileError[]): string | null {
  if (host === '') return null;
  const mistake = hostMistake(host);
  report(mistake, path, errors);
  return mistake === null ? host.toLowerCase() : null;
}
