// What a rule asks of requests: words that no request can have make a rule that never matches.
import type { NamedMatch, RouteMatch, RouteRule } from '../../proto/gen/weft/policy/v1/route_pb.js';
import { headerNameMistake, headerValueMistake, queryNameMistake } from '../../proto/kit/http-words.ts';
import { grpcNameMistake } from '../../proto/kit/path.ts';
import type { Report } from './check.ts';
import { checkPath, checkPathRegex, checkRegex, note } from './check.ts';
import type { Resource } from './resource.ts';

/** @param path of the rule, e.g. `spec.rules[0]`. */
export function checkMatches(route: Resource<'Route'>, rule: RouteRule, path: string, report: Report): void {
  rule.matches.forEach((match, i) => {
    checkMatch(route, match, `${path}.matches[${i}]`, report);
  });
}

function checkMatch(route: Resource<'Route'>, match: RouteMatch, at: string, report: Report): void {
  const { path, headers, query, grpc } = match;
  if (path?.match.case === 'regex') checkPathRegex(route, `${at}.path.regex`, path.match.value, report);
  // What does not begin with a slash breaks a rule of the schema.
  else if (path?.match.value?.startsWith('/'))
    checkPath(route, `${at}.path.${path.match.case}`, path.match.value, 'whole', report);
  headers.forEach((header, i) => {
    if (header.name !== '') note(route, `${at}.headers[${i}].name`, headerNameMistake(header.name, 'match'), report);
    checkHeaderValue(route, header, `${at}.headers[${i}].value`, report);
  });
  query.forEach(({ name, value }, i) => {
    note(route, `${at}.query[${i}].name`, queryNameMistake(name), report);
    if (value?.match.case === 'regex') checkRegex(route, `${at}.query[${i}].value.regex`, value.match.value, report);
  });
  checkTwice(route, headers, (name) => name.toLowerCase(), `${at}.headers`, report);
  checkTwice(route, query, (name) => name, `${at}.query`, report);
  if (!grpc) return;
  note(route, `${at}.grpc.service`, grpcNameMistake(grpc.service, 'service'), report);
  note(route, `${at}.grpc.method`, grpcNameMistake(grpc.method, 'method'), report);
}

function checkHeaderValue(route: Resource<'Route'>, { value }: NamedMatch, at: string, report: Report): void {
  const match = value?.match;
  if (match?.case === 'regex') checkRegex(route, `${at}.regex`, match.value, report);
  if (match?.case === 'exact') note(route, `${at}.exact`, headerValueMistake(match.value, 'whole'), report);
  if (match?.case === 'prefix') note(route, `${at}.prefix`, headerValueMistake(match.value, 'start'), report);
  if (match?.case === 'suffix') note(route, `${at}.suffix`, headerValueMistake(match.value, 'end'), report);
}

/** All of what a match says must hold: one name with two values holds for no request. */
function checkTwice(
  route: Resource<'Route'>,
  list: readonly NamedMatch[],
  fold: (name: string) => string,
  at: string,
  report: Report,
): void {
  const first = new Map<string, number>();
  list.forEach(({ name, value }, i) => {
    if (value?.match.case !== 'exact') return;
    const other = first.get(fold(name));
    first.set(fold(name), other ?? i);
    if (other === undefined) return;
    const known = list[other]?.value?.match.value;
    if (known === value.match.value) report(route, `${at}[${i}]`, `the same as [${other}]`, 'remove one of the two');
    else
      report(
        route,
        `${at}[${i}]`,
        `${name} cannot be "${known}" and "${value.match.value}" at once`,
        'write a match for each value; any of them is enough',
      );
  });
}
