// The safe regex agrees with RegExp where both mean the same, refuses what is unsafe, and stays linear.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileRegex } from '../../../proto/kit/regex.ts';

function matches(source: string, text: string): boolean {
  const { regex, error } = compileRegex(source);
  expect(error).toBeNull();
  return (regex as NonNullable<typeof regex>).test(text);
}

test.each([
  ['', '', true],
  ['', 'a', false],
  ['a', 'a', true],
  ['a', 'ba', false],
  ['a|b', 'b', true],
  ['a|', '', true],
  ['(a|ab)(c|bcd)', 'abcd', true],
  ['a*', 'aaaa', true],
  ['a+', '', false],
  ['a?b', 'b', true],
  ['a{2}', 'aaa', false],
  ['a{2,}', 'aaaaa', true],
  ['a{0}', '', true],
  ['a{1,3}', 'aaaa', false],
  ['.', '\n', false],
  ['(?s).', '\n', true],
  ['^a$', 'a', true],
  ['a^', 'a', false],
  ['$a', 'a', false],
  ['^*a', 'a', true],
  ['(^|x)a', 'xa', true],
  ['^$', '', true],
  ['$^', '', true],
  ['\\A/v\\d+\\z', '/v12', true],
  ['[^/]+', 'a/b', false],
  ['[]a]', ']', true],
  ['[a-]', '-', true],
  ['[\\d-]', '-', true],
  ['[^\\w]', '-', true],
  ['\\W', 'a', false],
  ['(?i)ab[c-e]', 'ABD', true],
  ['(?i)[^a]', 'A', false],
  ['\\x41\\x{1F600}', 'A😀', true],
  ['.', '😀', true],
  ['[😀-😂]', '😁', true],
  ['(?P<id>\\d+)-(?<x>a)', '12-a', true],
  ['(a*)*', 'aaa', true],
  ['(a*)+b', 'b', true],
  ['(?:a??)b', 'ab', true],
  ['\\.', 'x', false],
  ['\\/a\\-', '/a-', true],
  ['a{2}?', 'aa', true],
  ['(|a)+', 'aa', true],
])('%s on %j: %s', (source, text, expected) => {
  expect(matches(source, text)).toBe(expected);
});

test.each([
  ['(?=a)', 0, 'lookahead'],
  ['a(?<!b)', 1, 'lookahead'],
  ['(a)\\1', 3, 'back-references'],
  ['\\bx', 0, 'word boundaries'],
  ['*a', 0, 'nothing to repeat'],
  ['a**', 2, 'two repetitions'],
  ['a*+', 2, 'two repetitions'],
  ['(a', 0, 'not closed'],
  ['a)', 1, 'closes no group'],
  ['[a', 0, 'not closed'],
  ['[b-a]', 1, 'no order'],
  ['[\\d-z]', 1, 'no order'],
  ['a{', 1, 'count'],
  ['a{3,2}', 1, 'out of order'],
  ['a{1001}', 1, 'out of order'],
  ['a\\', 1, 'ends in a backslash'],
  ['\\p', 0, 'not supported'],
  ['a(?i)b', 1, 'kind of group'],
  ['[[:alpha:]]', 1, 'named classes'],
  ['\\x{110000}', 0, 'no character'],
  ['(?', 0, 'kind of group'],
  ['[\\', 1, 'ends in a backslash'],
  ['[a-', 0, 'not closed'],
  ['a'.repeat(1_025), 1_024, 'longer'],
  [`${'('.repeat(101)}${')'.repeat(101)}`, 100, 'nested'],
  ['(a{100}){100}', 0, 'too large'],
  ['((((){1000}){1000}){1000}){1000}', 0, 'too large'],
])('%s is refused at %i: %s', (source, position, message) => {
  const { error } = compileRegex(source);
  expect(error).toMatchObject({ position, message: expect.stringContaining(message), fix: expect.stringMatching(/./) });
});

/** Patterns that mean the same to RegExp with the flag `u`, over an alphabet small enough to hit. */
const pattern = fc.letrec<{ node: string; atom: string }>((tie) => ({
  atom: fc.oneof(
    { maxDepth: 2 },
    {
      weight: 6,
      arbitrary: fc.constantFrom('a', 'b', 'c', '.', '[ab]', '[^a]', '\\w', '\\d', '[a-c1]', '\\W', '^', '$'),
    },
    { weight: 3, arbitrary: tie('node').map((inner) => `(?:${inner})`) },
  ),
  node: fc
    .array(
      fc.array(fc.tuple(tie('atom'), fc.constantFrom('', '', '', '*', '+', '?', '{2}', '{0,2}', '{1,}', '*?')), {
        maxLength: 3,
      }),
      { minLength: 1, maxLength: 2 },
    )
    .map((choices) => choices.map((items) => items.map(quantified).join('')).join('|')),
})).node;

/** RegExp with `u` refuses to repeat an anchor itself, so that goes in a group. */
function quantified([atom, times]: [string, string]): string {
  return times !== '' && (atom === '^' || atom === '$') ? `(?:${atom})${times}` : atom + times;
}

test('agrees with RegExp on random patterns and texts', () => {
  const text = fc
    .array(fc.constantFrom('a', 'b', 'c', '1', '-', '😀'), { maxLength: 5 })
    .map((chars) => chars.join(''));
  // Never longer: the reference backtracks, and a long search mostly finds patterns on which it does not end.
  const seconds = 2;
  let hits = 0;
  fc.assert(
    fc.property(pattern, fc.array(text, { minLength: 1, maxLength: 8 }), (source, texts) => {
      const { regex, error } = compileRegex(source);
      if (error !== null) throw new Error(`${source}: ${error.message}`);
      const reference = new RegExp(`^(?:${source})$`, 'u');
      for (const one of texts) {
        const expected = reference.test(one);
        if (expected) hits += 1;
        if (regex.test(one) !== expected)
          throw new Error(`${source} on ${JSON.stringify(one)}: RegExp says ${expected}`);
      }
    }),
    { numRuns: 1_000_000, interruptAfterTimeLimit: seconds * 1_000, markInterruptAsFailure: false },
  );
  expect(hits).toBeGreaterThan(100);
}, 600_000);

test('any text is a pattern or an error, never a throw', () => {
  const soup = fc
    .array(fc.constantFrom(...'ab()[]{}*+?|\\^$.-,:<>=!P01xdi\u{1F600}'), { maxLength: 20 })
    .map((chars) => chars.join(''));
  fc.assert(
    fc.property(soup, (source) => {
      const { regex, error } = compileRegex(source);
      if (error === null) regex.test('ab01');
      else expect(error.position).toBeLessThanOrEqual(source.length);
    }),
    { numRuns: 5_000 },
  );
});

describe('CVE class 10: linear time', () => {
  test.each([
    ['(a+)+', 'a'],
    ['(a|aa)+', 'a'],
    ['(.*a){20}', 'a'],
    ['(a?){50}a{50}', 'a'],
    ['(a|b)*a(a|b){30}', 'ab'],
  ])('%s', (source, unit) => {
    const { regex } = compileRegex(source);
    // RegExp would take longer than the universe has; a linear engine takes milliseconds, and the limit is far above.
    const startMs = performance.now();
    expect(regex?.test(`${unit.repeat(10_000)}!`)).toBe(false);
    expect(performance.now() - startMs).toBeLessThan(5_000);
  });
});
