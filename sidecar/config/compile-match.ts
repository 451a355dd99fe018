// What every compile function shares: errors with paths instead of exceptions, the regex engine handed in, and the
// messages that several policies contain.

import type { StringMatch } from '../../proto/gen/weft/policy/v1/metadata_pb.js';
import type { Mistake } from '../../proto/kit/mistake.ts';
import { mistakeText } from '../../proto/kit/mistake.ts';
import type { PathPart } from '../../proto/kit/path.ts';
import { pathMistake } from '../../proto/kit/path.ts';
import { compileRegex as compilePattern } from '../../proto/kit/regex.ts';
import type { CompiledStringMatch, RegexMatcher, StringMatchKind } from '../filters/string-match.ts';

/** Which part of a value each literal comparison names. */
export const LITERAL_PARTS: Readonly<Partial<Record<StringMatchKind, PathPart>>> = {
  exact: 'whole',
  prefix: 'start',
  suffix: 'end',
};

/** One mistake: where (`rules[0].matches[1].path`) and what, with a fix where there is one. */
export interface CompileError {
  readonly path: string;
  readonly message: string;
}

/** Turns RE2 syntax into a linear-time matcher of whole values, or says what is wrong with the expression. */
export type RegexCompiler = (source: string) => RegexMatcher | { readonly error: string };

/** The mesh's own engine: RE2 syntax, linear time. */
export const linearRegex: RegexCompiler = (source) => {
  const { regex, error } = compilePattern(source);
  return regex ?? { error: `position ${error.position}: ${error.message}; ${error.fix}` };
};

/** Longest regular expression, in characters: what the policy schema allows. */
const REGEX_LENGTH_MAX = 1024;

/** Reports fields that a newer schema has and this program does not know; says whether there were any. */
export function reportUnknown(
  message: { readonly $unknown?: readonly { readonly no: number }[] | undefined },
  path: string,
  errors: CompileError[],
): boolean {
  const unknown = message.$unknown;
  if (unknown === undefined || unknown.length === 0) return false;
  const numbers = unknown.map((field) => field.no).join(', ');
  errors.push({ path, message: `unknown field number ${numbers}: written for a newer Weft; upgrade this sidecar` });
  return true;
}

/** Compiles a regular expression; null after reporting why it cannot be. */
export function compileRegex(
  source: string,
  path: string,
  regex: RegexCompiler,
  errors: CompileError[],
): RegexMatcher | null {
  if (source.length === 0 || source.length > REGEX_LENGTH_MAX) {
    errors.push({ path, message: `regular expression must have 1 to ${REGEX_LENGTH_MAX} characters` });
    return null;
  }
  const compiled = regex(source);
  if ('error' in compiled) {
    errors.push({ path, message: compiled.error });
    return null;
  }
  return compiled;
}

/** Compiles a StringMatch; null after reporting: unset, an unknown case or field, an empty prefix or suffix, a bad regex. */
export function compileStringMatch(
  match: StringMatch | undefined,
  path: string,
  regex: RegexCompiler,
  errors: CompileError[],
): CompiledStringMatch | null {
  if (match === undefined) {
    errors.push({ path, message: 'says nothing: set exact, prefix, suffix, regex or present' });
    return null;
  }
  if (reportUnknown(match, path, errors)) return null;
  const { case: kind, value } = match.match;
  switch (kind) {
    case 'exact':
      return { kind, text: value, regex: null };
    case 'prefix':
    case 'suffix':
      if (value !== '') return { kind, text: value, regex: null };
      errors.push({ path: `${path}.${kind}`, message: `empty ${kind} matches everything: use present` });
      return null;
    case 'regex': {
      const compiled = compileRegex(value, `${path}.regex`, regex, errors);
      return compiled === null ? null : { kind, text: value, regex: compiled };
    }
    case 'present':
      if (value) return { kind, text: '', regex: null };
      errors.push({ path: `${path}.present`, message: 'must be true: absence cannot be matched' });
      return null;
    default:
      errors.push({ path, message: 'says nothing: set exact, prefix, suffix, regex or present' });
      return null;
  }
}

/** Reports a literal path, or the beginning or end of one, that no normalized request path can have. */
export function checkPath(value: string, part: PathPart, path: string, errors: CompileError[]): void {
  report(pathMistake(value, part), path, errors);
}

/** Adds a mistake of the grammar that both programs share; null is none. */
export function report(mistake: Mistake | null, path: string, errors: CompileError[]): void {
  if (mistake !== null) errors.push({ path, message: mistakeText(mistake) });
}
