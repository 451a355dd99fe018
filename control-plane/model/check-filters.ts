// The filters of one rule: what the sidecar would refuse, and what would never run.
import type {
  HeaderEdit,
  PathRewrite,
  Redirect,
  RouteFilter,
  RouteRule,
} from '../../proto/gen/weft/policy/v1/route_pb.js';
import { hostMistake, parseAuthority } from '../../proto/kit/host.ts';
import { headerNameMistake, headerValueMistake } from '../../proto/kit/http-words.ts';
import { rewritePathMistake } from '../../proto/kit/path.ts';
import type { Report } from './check.ts';
import { note } from './check.ts';
import { joinPath } from './field-path.ts';
import type { Resource } from './resource.ts';

/** @param path of the rule, e.g. `spec.rules[0]`. */
export function checkFilters(route: Resource<'Route'>, rule: RouteRule, path: string, report: Report): void {
  const first = new Map<string, number>();
  rule.filters.forEach(({ filter }, i) => {
    if (filter.case === undefined) return;
    const at = `${path}.filters[${i}].${filter.case}`;
    const other = first.get(filter.case);
    if (other !== undefined)
      report(
        route,
        at,
        `filters[${other}] is a ${filter.case} too`,
        'put both into one: each filter at most once in a rule',
      );
    first.set(filter.case, other ?? i);
    checkFilter(route, rule, filter, at, report);
  });
  if (!first.has('redirect')) return;
  // The redirect answers before anything else runs.
  for (const kind of ['requestHeaders', 'responseHeaders', 'rewrite']) {
    const i = first.get(kind);
    if (i === undefined) continue;
    report(
      route,
      `${path}.filters[${i}].${kind}`,
      'never runs, since the rule redirects',
      `remove ${kind}, or redirect`,
    );
  }
  if (rule.backends.length > 0)
    report(route, `${path}.backends`, 'never called, since the rule redirects', 'remove backends, or redirect');
}

function checkFilter(
  route: Resource<'Route'>,
  rule: RouteRule,
  filter: RouteFilter['filter'],
  at: string,
  report: Report,
): void {
  switch (filter.case) {
    case 'requestHeaders':
    case 'responseHeaders':
      checkEdit(route, filter.value, at, report);
      return;
    case 'redirect':
      checkRedirect(route, filter.value, at, report);
      checkRewrite(route, rule, filter.value, at, report);
      return;
    case 'rewrite':
      if (filter.value.host === '' && !filter.value.path)
        report(route, at, 'changes nothing', 'add `host` or `path`, or remove it');
      checkRewrite(route, rule, filter.value, at, report);
  }
}

function checkEdit(route: Resource<'Route'>, edit: HeaderEdit, at: string, report: Report): void {
  const { set, add, remove } = edit;
  if (Object.keys(set).length + Object.keys(add).length + remove.length === 0)
    report(route, at, 'changes nothing', 'add `set`, `add` or `remove`');
  const changed = new Map<string, 'set' | 'add'>();
  for (const [field, fields] of [
    ['set', set],
    ['add', add],
  ] as const) {
    const seen = new Map<string, string>();
    for (const [name, value] of Object.entries(fields)) {
      const path = joinPath(`${at}.${field}`, name);
      const lower = name.toLowerCase();
      const mistake = headerNameMistake(name, 'edit');
      note(route, path, mistake, report);
      note(route, path, headerValueMistake(value), report);
      const twin = seen.get(lower);
      if (twin !== undefined) report(route, path, `"${twin}" is the same header`, 'keep one of the two');
      seen.set(lower, name);
      if (mistake === null) changed.set(lower, changed.get(lower) ?? field);
    }
  }
  const removed = new Map<string, number>();
  remove.forEach((name, i) => {
    const path = `${at}.remove[${i}]`;
    const lower = name.toLowerCase();
    note(route, path, headerNameMistake(name, 'edit'), report);
    const twin = removed.get(lower);
    if (twin !== undefined) report(route, path, `the same as remove[${twin}]`, 'remove one of the two');
    removed.set(lower, i);
    const by = changed.get(lower);
    if (by === undefined) return;
    const fix = by === 'set' ? 'leave it out here: `set` replaces what was there' : 'use `set` instead of both';
    report(route, path, `${name} is removed before \`${by}\` writes it`, fix);
  });
}

function checkRedirect(route: Resource<'Route'>, redirect: Redirect, at: string, report: Report): void {
  const { scheme, host, port } = redirect;
  if (scheme !== '' && scheme !== 'http' && scheme !== 'https') {
    const lower = scheme.toLowerCase().replace(/:?\/*$/, '');
    const fix = lower === 'http' || lower === 'https' ? `write \`${lower}\`` : 'write `http` or `https`';
    report(route, `${at}.scheme`, `there is no redirect to "${scheme}"`, fix);
  }
  if (port !== 0 && host !== '' && parseAuthority(host)?.port)
    report(route, `${at}.port`, 'host has a port already', 'keep one of the two');
}

function checkRewrite(
  route: Resource<'Route'>,
  rule: RouteRule,
  to: { readonly host: string; readonly path?: PathRewrite | undefined },
  at: string,
  report: Report,
): void {
  if (to.host !== '') note(route, `${at}.host`, hostMistake(to.host), report);
  const rewrite = to.path?.rewrite;
  if (rewrite?.case === undefined) return;
  const path = `${at}.path.${rewrite.case}`;
  // What does not begin with a slash breaks a rule of the schema.
  if (rewrite.value.startsWith('/')) note(route, path, rewritePathMistake(rewrite.value), report);
  const prefixed = rule.matches.length > 0 && rule.matches.every((match) => match.path?.match.case === 'prefix');
  if (rewrite.case === 'prefix' && !prefixed)
    report(route, path, 'there is no matched prefix to replace', 'match path.prefix, or use path.full');
}
