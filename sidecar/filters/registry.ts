// The closed table of route filters: one protobuf oneof, one exhaustive switch. A new filter makes the compiler show
// this place. An empty phase is null, so that a request pays only for what its route says.

import type { RouteFilter } from '../../proto/gen/weft/policy/v1/route_pb.js';
import type { CompileError } from '../config/compile-match.ts';
import { reportUnknown } from '../config/compile-match.ts';
import { compileHeaderEdit } from './header-edit/compile.ts';
import type { CompiledHeaderEdit } from './header-edit/run.ts';
import { compileRedirect } from './redirect/compile.ts';
import type { CompiledRedirect } from './redirect/run.ts';
import { compileRewrite } from './rewrite/compile.ts';
import type { CompiledRewrite } from './rewrite/run.ts';

/** The filters of one rule. Order of running: redirect (answers), request headers, rewrite; response headers on the way back. */
export interface CompiledFilters {
  readonly redirect: CompiledRedirect | null;
  readonly requestHeaders: CompiledHeaderEdit | null;
  readonly rewrite: CompiledRewrite | null;
  readonly responseHeaders: CompiledHeaderEdit | null;
}

/** Compiles the filters of one rule. Each kind at most once, and a redirect excludes a rewrite, as in the Gateway API. */
export function compileFilters(filters: readonly RouteFilter[], path: string, errors: CompileError[]): CompiledFilters {
  let redirect: CompiledRedirect | null = null;
  let requestHeaders: CompiledHeaderEdit | null = null;
  let rewrite: CompiledRewrite | null = null;
  let responseHeaders: CompiledHeaderEdit | null = null;
  const seen = new Set<string>();
  filters.forEach((message, i) => {
    const at = `${path}[${i}]`;
    reportUnknown(message, at, errors);
    const filter = message.filter;
    if (filter.case === undefined) {
      errors.push({ path: at, message: 'no filter that is understood: written for a newer Weft, or empty' });
      return;
    }
    if (seen.has(filter.case))
      errors.push({ path: at, message: `second ${filter.case}: each filter at most once in a rule` });
    seen.add(filter.case);
    switch (filter.case) {
      case 'requestHeaders':
        requestHeaders = compileHeaderEdit(filter.value, `${at}.request_headers`, errors);
        break;
      case 'responseHeaders':
        responseHeaders = compileHeaderEdit(filter.value, `${at}.response_headers`, errors);
        break;
      case 'redirect':
        redirect = compileRedirect(filter.value, `${at}.redirect`, errors);
        break;
      case 'rewrite':
        rewrite = compileRewrite(filter.value, `${at}.rewrite`, errors);
        break;
      default:
        // A new case of the oneof does not compile here.
        filter satisfies never;
    }
  });
  if (seen.has('redirect') && seen.has('rewrite')) {
    errors.push({ path, message: 'redirect and rewrite exclude each other: a redirect never calls' });
  }
  return { redirect, requestHeaders, rewrite, responseHeaders };
}
