// Regular expressions of policies run on input that strangers choose, so they must not be able to take
// exponential time (ReDoS). A subset of RE2's syntax compiles to a Thompson NFA, run as a lazily built DFA: time
// is linear in the input whatever the pattern. Features that need backtracking do not exist here.

import { parsePattern, type RegexError } from './regex-parse.ts';
import { ACCEPT, assemble, CHARS, END, type Program, SPLIT, START } from './regex-program.ts';

/** States kept before the cache is emptied: bounds the memory of a hostile pattern and input, not the time. */
const STATES_MAX = 512;

/** A compiled pattern. */
export interface Regex {
  readonly source: string;
  /** Whether the whole of `text` matches (RE2's FullMatch). Time is at most linear in `text` times the program's size. */
  test(text: string): boolean;
  /** Whether some text that begins with `start` can match. */
  canBegin(start: string): boolean;
}

/** The pattern, or the first mistake in it. */
export type RegexResult =
  | { readonly regex: Regex; readonly error: null }
  | { readonly regex: null; readonly error: RegexError };

/**
 * Compiles `source`, at most 1,024 characters and 1,000 instructions: literals, `.` (not line feed), classes,
 * `\d \w \s` and their opposites, `\xHH`, `\x{H}`, groups, alternation, `* + ? {m,n}` up to 1,000, the anchors
 * `^ $ \A \z`, and a leading `(?i)` (ASCII letters) or `(?s)`. Lookaround, back-references and `\b` give an error
 * that says what to write instead (github.com/google/re2/wiki/Syntax).
 */
export function compileRegex(source: string): RegexResult {
  const parsed = parsePattern(source);
  if (parsed.error !== null) return { regex: null, error: parsed.error };
  const program = assemble(parsed.node);
  if (program === null) {
    const error = {
      position: 0,
      message: 'the pattern is too large',
      fix: 'use smaller {m,n} counts or split it in several matches',
    };
    return { regex: null, error };
  }
  return { regex: new LazyDfa(source, program), error: null };
}

/** One DFA state: the program counters alive after some prefix. */
interface State {
  readonly counters: readonly number[];
  readonly atStart: boolean;
  /** Next state by character class; undefined while not computed. */
  readonly next: (State | undefined)[];
  /** Whether the text may end here; null while not computed. */
  accepts: boolean | null;
}

class LazyDfa implements Regex {
  readonly source: string;
  private readonly program: Program;
  private readonly states = new Map<string, State>();
  private readonly marks: Uint32Array;
  private generation = 0;

  constructor(source: string, program: Program) {
    this.source = source;
    this.program = program;
    this.marks = new Uint32Array(program.ops.length);
  }

  test(text: string): boolean {
    const state = this.run(text);
    if (state.counters.length === 0) return false;
    state.accepts ??= this.closure(state.counters, state.atStart, true).some((at) => this.program.ops[at] === ACCEPT);
    return state.accepts;
  }

  canBegin(start: string): boolean {
    return this.run(start).counters.length > 0;
  }

  /** The state after `text`; one without counters as soon as nothing can match any more. */
  private run(text: string): State {
    let state = this.intern(this.closure([0], true, false), true);
    for (let i = 0; i < text.length; i += 1) {
      let point = text.charCodeAt(i);
      if (point >= 0xd800 && point < 0xdc00) {
        point = text.codePointAt(i) as number;
        if (point > 0xffff) i += 1;
      }
      const kind = this.program.classOf(point);
      state = state.next[kind] ?? this.step(state, kind);
      if (state.counters.length === 0) break;
    }
    return state;
  }

  private step(state: State, kind: number): State {
    const { ops, targets, sets } = this.program;
    const seeds: number[] = [];
    for (const at of state.counters) {
      if (ops[at] === CHARS && (sets[targets[at] as number] as Uint8Array)[kind] === 1) seeds.push(at + 1);
    }
    const next = this.intern(this.closure(seeds, false, false), false);
    state.next[kind] = next;
    return next;
  }

  /** Every counter reachable without reading, in order. END is passed only when the text ends here. */
  private closure(seeds: readonly number[], atStart: boolean, atEnd: boolean): number[] {
    const { ops, targets, others } = this.program;
    this.generation = (this.generation + 1) >>> 0;
    if (this.generation === 0) {
      this.marks.fill(0);
      this.generation = 1;
    }
    const found: number[] = [];
    const work = [...seeds];
    for (let at = work.pop(); at !== undefined; at = work.pop()) {
      if (this.marks[at] === this.generation) continue;
      this.marks[at] = this.generation;
      const op = ops[at];
      if (op === SPLIT) work.push(others[at] as number, targets[at] as number);
      else if (op === START) {
        if (atStart) work.push(at + 1);
      } else {
        if (op === END && atEnd) work.push(at + 1);
        found.push(at);
      }
    }
    return found.sort((a, b) => a - b);
  }

  private intern(counters: number[], atStart: boolean): State {
    const key = `${atStart ? '^' : ''}${counters.join()}`;
    const known = this.states.get(key);
    if (known !== undefined) return known;
    if (this.states.size >= STATES_MAX) {
      // Links between forgotten states must go too, or they would keep all of them alive.
      for (const old of this.states.values()) old.next.length = 0;
      this.states.clear();
    }
    const state: State = { counters, atStart, next: [], accepts: null };
    this.states.set(key, state);
    return state;
  }
}
