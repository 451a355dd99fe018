// How policies compare one string: compiled once to a fixed shape, run without allocating. Shared by routes (path,
// headers, query) and authorization (paths), so that the same words mean the same everywhere.

/** A compiled regular expression; `test` must match the whole value and run in linear time (CVE class: ReDoS). */
export interface RegexMatcher {
  test(value: string): boolean;
}

/** How a string is compared; the cases of `weft.policy.v1.StringMatch`. */
export type StringMatchKind = 'exact' | 'prefix' | 'suffix' | 'regex' | 'present';

/** One compiled comparison. `text` is empty for `present`; `regex` is set for `regex` alone. */
export interface CompiledStringMatch {
  readonly kind: StringMatchKind;
  readonly text: string;
  readonly regex: RegexMatcher | null;
}

/** Whether `value` matches; an absent value (undefined) matches nothing. */
export function matchString(match: CompiledStringMatch, value: string | undefined): boolean {
  if (value === undefined) return false;
  switch (match.kind) {
    case 'exact':
      return value === match.text;
    case 'prefix':
      return value.startsWith(match.text);
    case 'suffix':
      return value.endsWith(match.text);
    case 'regex':
      return match.regex?.test(value) ?? false;
    case 'present':
      return true;
  }
}
