// Checks redirects once: scheme, host, port and status.

import type { Redirect } from '../../../proto/gen/weft/policy/v1/route_pb.js';
import type { CompileError } from '../../config/compile-match.ts';
import { reportUnknown } from '../../config/compile-match.ts';
import { checkHost, compilePathRewrite } from '../rewrite/compile.ts';
import type { CompiledRedirect } from './run.ts';

const STATUSES: ReadonlySet<number> = new Set([0, 301, 302, 303, 307, 308]);

/** Compiles a redirect; null after reporting. */
export function compileRedirect(redirect: Redirect, path: string, errors: CompileError[]): CompiledRedirect | null {
  const before = errors.length;
  reportUnknown(redirect, path, errors);
  const { scheme, port, status } = redirect;
  if (scheme !== '' && scheme !== 'http' && scheme !== 'https') {
    errors.push({ path: `${path}.scheme`, message: 'must be http or https' });
  }
  if (port > 65535) errors.push({ path: `${path}.port`, message: 'must be at most 65535' });
  if (!STATUSES.has(status)) errors.push({ path: `${path}.status`, message: 'must be 301, 302, 303, 307 or 308' });
  const host = checkHost(redirect.host, `${path}.host`, errors);
  const rewrite = compilePathRewrite(redirect.path, `${path}.path`, errors);
  if (errors.length > before) return null;
  return { scheme: scheme === '' ? null : scheme, host, port, path: rewrite, status: status === 0 ? 302 : status };
}
