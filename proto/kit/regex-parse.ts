// Parses the safe subset of RE2's syntax into a tree. Whatever RE2 and JavaScript read differently, or what needs
// backtracking, is an error with its position and what to write instead.

/** First and last code point, both included. */
export type Range = readonly [from: number, to: number];

/** The syntax tree. */
export type Node =
  | { readonly kind: 'chars'; readonly ranges: readonly Range[] }
  | { readonly kind: 'start' }
  | { readonly kind: 'end' }
  | { readonly kind: 'sequence'; readonly items: readonly Node[] }
  | { readonly kind: 'choice'; readonly items: readonly Node[] }
  | { readonly kind: 'repeat'; readonly item: Node; readonly min: number; readonly max: number };

/** A mistake in a pattern: where (0-based, in UTF-16 units), what, and how to fix it. */
export interface RegexError {
  readonly position: number;
  readonly message: string;
  readonly fix: string;
}

/** The tree, or the first mistake. */
export type ParseResult =
  | { readonly node: Node; readonly error: null }
  | { readonly node: null; readonly error: RegexError };

/** Longest pattern, in UTF-16 units: policies hold a path or header value, not a program. */
const PATTERN_CHARS_MAX = 1_024;
/** RE2's own bound of {m,n}. */
const REPEAT_MAX = 1_000;
/** Groups in groups; bounds the recursion. */
const DEPTH_MAX = 100;
const POINT_MAX = 0x10ffff;

const DIGIT: readonly Range[] = [[48, 57]];
const WORD: readonly Range[] = [
  [48, 57],
  [65, 90],
  [95, 95],
  [97, 122],
];
/** RE2's `\s`, ASCII only: tab, line feed, form feed, carriage return, space. */
const SPACE: readonly Range[] = [
  [9, 10],
  [12, 13],
  [32, 32],
];
const ALL: readonly Range[] = [[0, POINT_MAX]];
const NOT_LINE_FEED = invert([[10, 10]]);
const CONTROLS: ReadonlyMap<string, number> = new Map([
  ['n', 10],
  ['t', 9],
  ['r', 13],
  ['f', 12],
  ['v', 11],
  ['a', 7],
]);

/** Parses `source`; see `compileRegex` for the grammar. */
export function parsePattern(source: string): ParseResult {
  if (source.length > PATTERN_CHARS_MAX) {
    const error = {
      position: PATTERN_CHARS_MAX,
      message: `the pattern is longer than ${PATTERN_CHARS_MAX} characters`,
      fix: 'split it in several matches',
    };
    return { node: null, error };
  }
  try {
    return { node: new Parser(source).parse(), error: null };
  } catch (thrown) {
    if (thrown instanceof Mistake) return { node: null, error: thrown.error };
    throw thrown;
  }
}

/** Unwinds the parser; never leaves this file. */
class Mistake extends Error {
  readonly error: RegexError;

  constructor(position: number, message: string, fix: string) {
    super(message);
    this.error = { position, message, fix };
  }
}

class Parser {
  private readonly source: string;
  private at = 0;
  private depth = 0;
  private ignoreCase = false;
  private dot = NOT_LINE_FEED;

  constructor(source: string) {
    this.source = source;
  }

  parse(): Node {
    const flags = /^\(\?([is]+)\)/.exec(this.source);
    if (flags !== null) {
      this.at = flags[0].length;
      this.ignoreCase = (flags[1] as string).includes('i');
      if ((flags[1] as string).includes('s')) this.dot = ALL;
    }
    const node = this.choice();
    if (this.at < this.source.length)
      throw new Mistake(this.at, 'a ")" closes no group', 'write \\) for the character, or open the group');
    return node;
  }

  private choice(): Node {
    const items = [this.sequence()];
    while (this.take('|')) items.push(this.sequence());
    return items.length === 1 ? (items[0] as Node) : { kind: 'choice', items };
  }

  private sequence(): Node {
    const items: Node[] = [];
    while (this.at < this.source.length && this.peek() !== '|' && this.peek() !== ')') items.push(this.repeated());
    return { kind: 'sequence', items };
  }

  private repeated(): Node {
    const item = this.atom();
    const bounds = this.bounds();
    if (bounds === null) return item;
    // A lazy `?` changes which text a group takes, never whether the whole matches.
    this.take('?');
    const again = this.at;
    if (this.bounds() !== null)
      throw new Mistake(again, 'two repetitions follow each other', 'put the inner one in a group: (?:a*)+');
    return { kind: 'repeat', item, ...bounds };
  }

  private bounds(): { min: number; max: number } | null {
    if (this.take('*')) return { min: 0, max: Number.POSITIVE_INFINITY };
    if (this.take('+')) return { min: 1, max: Number.POSITIVE_INFINITY };
    if (this.take('?')) return { min: 0, max: 1 };
    if (this.peek() !== '{') return null;
    const found = /^\{(\d{1,5})(,(\d{0,5}))?\}/.exec(this.source.slice(this.at, this.at + 16));
    if (found === null)
      throw new Mistake(this.at, 'a "{" does not begin a count', 'write {2}, {2,} or {2,5}, or \\{ for the character');
    const min = Number(found[1]);
    const max = found[2] === undefined ? min : found[3] === '' ? Number.POSITIVE_INFINITY : Number(found[3]);
    if (min > REPEAT_MAX || (max > REPEAT_MAX && max !== Number.POSITIVE_INFINITY) || min > max) {
      throw new Mistake(this.at, 'a count is out of order or above 1000', 'write {m,n} with m <= n <= 1000');
    }
    this.at += found[0].length;
    return { min, max };
  }

  private atom(): Node {
    const begin = this.at;
    const char = this.next();
    switch (char) {
      case '.':
        return { kind: 'chars', ranges: this.dot };
      case '^':
        return { kind: 'start' };
      case '$':
        return { kind: 'end' };
      case '(':
        return this.group(begin);
      case '[':
        return { kind: 'chars', ranges: this.bracket(begin) };
      case '\\':
        return this.escape(begin);
      case '*':
      case '+':
      case '?':
      case '{':
        throw new Mistake(begin, `nothing to repeat before "${char}"`, `write \\${char} for the character`);
      default:
        return this.chars([single(char.codePointAt(0) as number)]);
    }
  }

  private group(begin: number): Node {
    if (this.take('?')) {
      const kind = /^(?::|P?<[A-Za-z_]\w*>)/.exec(this.source.slice(this.at));
      if (kind === null) {
        const look = /^<?[=!]/.test(this.source.slice(this.at));
        if (look)
          throw new Mistake(
            begin,
            'lookahead and lookbehind are not supported: they need backtracking',
            'use a second match, or an inverted one',
          );
        throw new Mistake(
          begin,
          'this kind of group is not supported',
          'use (...), (?:...) or (?P<name>...); flags (?i) and (?s) only at the very start',
        );
      }
      this.at += kind[0].length;
    }
    this.depth += 1;
    if (this.depth > DEPTH_MAX)
      throw new Mistake(begin, `groups are nested more than ${DEPTH_MAX} deep`, 'remove groups that do nothing');
    const node = this.choice();
    this.depth -= 1;
    if (!this.take(')')) throw new Mistake(begin, 'a group is not closed', 'add ")", or write \\( for the character');
    return node;
  }

  private escape(begin: number): Node {
    if (this.take('A')) return { kind: 'start' };
    if (this.take('z')) return { kind: 'end' };
    const char = this.peek();
    if (/^[1-9]$/.test(char))
      throw new Mistake(
        begin,
        'back-references are not supported: they need backtracking',
        'repeat the expression itself',
      );
    if (char === 'b' || char === 'B')
      throw new Mistake(
        begin,
        'word boundaries are not supported',
        'name the characters around the word, such as [^a-z]',
      );
    return this.chars(this.escapedSet(begin));
  }

  /** What follows a backslash, in and outside brackets. */
  private escapedSet(begin: number): readonly Range[] {
    if (this.at >= this.source.length)
      throw new Mistake(begin, 'the pattern ends in a backslash', 'write \\\\ for the character');
    const char = this.next();
    switch (char) {
      case 'd':
        return DIGIT;
      case 'D':
        return invert(DIGIT);
      case 'w':
        return WORD;
      case 'W':
        return invert(WORD);
      case 's':
        return SPACE;
      case 'S':
        return invert(SPACE);
      case 'x':
        return [single(this.hex(begin))];
    }
    const control = CONTROLS.get(char);
    if (control !== undefined) return [single(control)];
    if (/[A-Za-z0-9]/.test(char))
      throw new Mistake(
        begin,
        `\\${char} is not supported`,
        'use \\d \\w \\s, \\n \\t \\r, \\xHH, or a class in brackets',
      );
    return [single(char.codePointAt(0) as number)];
  }

  private hex(begin: number): number {
    const found = /^(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})/.exec(this.source.slice(this.at, this.at + 8));
    const point = Number.parseInt(found?.[1] ?? found?.[2] ?? '', 16);
    if (found === null || point > POINT_MAX)
      throw new Mistake(begin, '\\x names no character', 'write \\x41 or \\x{1F600}');
    this.at += found[0].length;
    return point;
  }

  private bracket(begin: number): readonly Range[] {
    const inverted = this.take('^');
    const ranges: Range[] = [];
    const first = this.at;
    while (this.at === first || this.peek() !== ']') {
      if (this.at >= this.source.length)
        throw new Mistake(begin, 'a class is not closed', 'add "]", or write \\[ for the character');
      const start = this.at;
      const from = this.member();
      if (this.peek() !== '-' || this.source[this.at + 1] === ']' || this.at + 1 >= this.source.length) {
        ranges.push(...from);
        continue;
      }
      this.at += 1;
      const to = this.member();
      const low = from[0] as Range;
      const high = to[0] as Range;
      if (from.length > 1 || to.length > 1 || low[0] !== low[1] || high[0] !== high[1] || low[0] > high[0]) {
        throw new Mistake(
          start,
          'a range in a class has no order',
          'write the lower character first, and - at the end for the character',
        );
      }
      ranges.push([low[0], high[0]]);
    }
    this.at += 1;
    const folded = this.fold(ranges);
    return inverted ? invert(folded) : folded;
  }

  private member(): readonly Range[] {
    const begin = this.at;
    if (this.source.startsWith('[:', begin))
      throw new Mistake(begin, 'named classes are not supported', 'write the characters, such as a-z0-9');
    return this.take('\\') ? this.escapedSet(begin) : [single(this.next().codePointAt(0) as number)];
  }

  private chars(ranges: readonly Range[]): Node {
    return { kind: 'chars', ranges: this.fold(ranges) };
  }

  /** With (?i), adds the other case of every ASCII letter. */
  private fold(ranges: readonly Range[]): readonly Range[] {
    if (!this.ignoreCase) return ranges;
    const folded = [...ranges];
    for (const [from, to] of ranges) {
      if (Math.max(from, 65) <= Math.min(to, 90)) folded.push([Math.max(from, 65) + 32, Math.min(to, 90) + 32]);
      if (Math.max(from, 97) <= Math.min(to, 122)) folded.push([Math.max(from, 97) - 32, Math.min(to, 122) - 32]);
    }
    return folded;
  }

  private peek(): string {
    return this.source[this.at] ?? '';
  }

  private take(char: string): boolean {
    if (this.source[this.at] !== char) return false;
    this.at += 1;
    return true;
  }

  /** The next whole character; the caller has seen that there is one. */
  private next(): string {
    const char = String.fromCodePoint(this.source.codePointAt(this.at) ?? 0);
    this.at += char.length;
    return char;
  }
}

function single(point: number): Range {
  return [point, point];
}

function invert(ranges: readonly Range[]): readonly Range[] {
  const inverted: Range[] = [];
  let from = 0;
  for (const [low, high] of [...ranges].sort((a, b) => a[0] - b[0])) {
    if (low > from) inverted.push([from, low - 1]);
    from = Math.max(from, high + 1);
  }
  if (from <= POINT_MAX) inverted.push([from, POINT_MAX]);
  return inverted;
}
