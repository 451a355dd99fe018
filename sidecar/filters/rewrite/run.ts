// HOT: what goes upstream instead of what came. Also the path part of a redirect, which speaks the same words.

import type { Head } from '../../wire/stream.ts';

/** `full` replaces the path; `prefix` replaces what the rule matched. The query stays. */
export interface CompiledPathRewrite {
  readonly kind: 'full' | 'prefix';
  /** For `prefix` without a trailing slash. */
  readonly text: string;
}

/** Null parts stay as they were. */
export interface CompiledRewrite {
  readonly host: string | null;
  readonly path: CompiledPathRewrite | null;
}

/**
 * The path with its query after the rewrite.
 * @param prefixLength characters of `path` that the route's prefix matched; 0 for "everything".
 */
export function rewritePath(rewrite: CompiledPathRewrite, path: string, prefixLength: number): string {
  if (rewrite.kind === 'full') {
    const query = path.indexOf('?');
    return query < 0 ? rewrite.text : rewrite.text + path.slice(query);
  }
  const rest = path.slice(prefixLength);
  // `/a` -> `/` on `/a?x`: the root must not become empty.
  if (rewrite.text === '' && !rest.startsWith('/')) return `/${rest}`;
  return rewrite.text + rest;
}

/** Changes the head in place. A path that is not in origin form (`*`, CONNECT) stays. */
export function applyRewrite(rewrite: CompiledRewrite, head: Head, prefixLength: number): void {
  if (rewrite.host !== null) head.authority = rewrite.host;
  if (rewrite.path !== null && head.path.startsWith('/'))
    head.path = rewritePath(rewrite.path, head.path, prefixLength);
}
