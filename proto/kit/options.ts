// The options of both programs: declared once with their defaults and reasons, read from the command line or the
// environment, and refused all together, so that an operator mends a start script in one round.

import { isIP } from 'node:net';
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { parseDuration, spellDuration } from './duration.ts';
import { EXIT } from './exit.ts';
import { nearest } from './nearest.ts';
import { helpText, kebab, type ProgramHelp } from './options-help.ts';

/** One option. The parser returns the value, or throws an Error that says what is wrong with the text and what to write. */
export interface Option<T> {
  readonly parse: (text: string) => T;
  /** The value without the option. */
  readonly fallback: T;
  /** What the value is, for `--help`: `PORT`, `FILE`; empty for a flag. */
  readonly value: string;
  /** For `--help`: what it is, with the default's reason where it is not plain. */
  readonly help: string;
  /** The default in words, for `--help`: `15001`, `30s`, `off`; empty: there is none to show. */
  readonly shown: string;
  /** May be given again; the texts are parsed one by one and `T` is a list of them. */
  readonly many: boolean;
}

/** The declared options of one program; names in camelCase, on the command line `--kebab-case`. */
export type OptionSet = Readonly<Record<string, Option<unknown>>>;

export type OptionValues<S extends OptionSet> = {
  readonly [K in keyof S]: S[K] extends Option<infer T> ? T : never;
};

/** Values, or every mistake as one line each, or the text of `--help`. */
export type ParsedOptions<S extends OptionSet> =
  | { readonly kind: 'values'; readonly values: OptionValues<S> }
  | { readonly kind: 'mistakes'; readonly mistakes: readonly string[] }
  | { readonly kind: 'help'; readonly text: string };

/** An option with one value. `shown`: the default in words, where it does not say itself what it means. */
export function option<T>(
  value: string,
  help: string,
  fallback: T,
  parse: (text: string) => T,
  shown: string = fallback === null ? '' : String(fallback),
): Option<T> {
  return { parse, fallback, value, help, shown, many: false };
}

/** A duration in milliseconds, written with its unit: `30s`, `1h30m`; at least `msMin`. */
export function durationOption(help: string, fallbackMs: number, msMin = 0): Option<number> {
  const parse = (text: string): number => {
    const parsed = parseDuration(text);
    if (parsed.error !== null) throw new Error(parsed.error);
    if (parsed.ms < msMin) throw new Error(`${text} is too short; write at least ${spellDuration(msMin)}`);
    return parsed.ms;
  };
  return option('DURATION', help, fallbackMs, parse, spellDuration(fallbackMs));
}

/** An option that may be repeated; in the environment its values are separated by commas. */
export function repeated<T>(value: string, help: string, parse: (text: string) => T): Option<readonly T[]> {
  // `readOptions` collects what `parse` gives; the type says what the caller gets.
  return {
    parse: parse as unknown as (text: string) => readonly T[],
    fallback: [],
    value,
    help,
    shown: '',
    many: true,
  };
}

/** A switch: present or not; in the environment `1` or `true`. */
export function flag(help: string): Option<boolean> {
  return {
    parse: (text) => oneOf({ 1: true, true: true, 0: false, false: false }, text),
    fallback: false,
    value: '',
    help,
    shown: 'off',
    many: false,
  };
}

/** Reads `argv` (without node and script). A command-line value wins over `WEFT_<NAME>` of the environment. */
export function readOptions<S extends OptionSet>(
  program: string,
  declared: S,
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  help: ProgramHelp = { summary: '', notes: [] },
): ParsedOptions<S> {
  const mistakes: string[] = [];
  const config: NonNullable<ParseArgsConfig['options']> = { help: { type: 'boolean', short: 'h' } };
  for (const [name, one] of Object.entries(declared)) {
    config[kebab(name)] = { type: one.value === '' ? 'boolean' : 'string', multiple: true };
  }
  const parsed = parseArgs({ args: [...argv], options: config, strict: false, allowPositionals: true });
  if (parsed.values.help === true) return { kind: 'help', text: helpText(program, declared, help) };
  for (const extra of parsed.positionals) mistakes.push(`${extra}: not an option; see ${program} --help`);
  for (const given of Object.keys(parsed.values)) {
    if (given in config) continue;
    const close = nearest(given, Object.keys(config));
    const fix = close === undefined ? `see ${program} --help` : `did you mean --${close}?`;
    mistakes.push(`--${given}: no such option; ${fix}`);
  }
  const values: Record<string, unknown> = {};
  for (const [name, one] of Object.entries(declared)) {
    const given = parsed.values[kebab(name)] as (string | boolean)[] | undefined;
    const fromEnvironment = environment[`WEFT_${kebab(name).replaceAll('-', '_').toUpperCase()}`];
    const label = given === undefined ? `WEFT_${kebab(name).replaceAll('-', '_').toUpperCase()}` : `--${kebab(name)}`;
    // Node takes the next option for the value of one that has none.
    if (one.value !== '' && given?.some((text) => text === true || String(text).startsWith('--'))) {
      mistakes.push(`${label}: needs a value, ${one.value}`);
      continue;
    }
    const texts = given?.map(String) ?? environmentTexts(fromEnvironment, one.many);
    values[name] = parseAll(label, one, texts, mistakes);
  }
  if (mistakes.length > 0) return { kind: 'mistakes', mistakes };
  return { kind: 'values', values: values as OptionValues<S> };
}

/** `readOptions` for a program's `main`: prints help or mistakes and ends the process (0, or 64). */
export function optionsOrExit<S extends OptionSet>(program: string, declared: S, help?: ProgramHelp): OptionValues<S> {
  const parsed = readOptions(program, declared, process.argv.slice(2), process.env, help);
  if (parsed.kind === 'values') return parsed.values;
  if (parsed.kind === 'help') {
    process.stdout.write(parsed.text);
    process.exit(EXIT.ok);
  }
  for (const mistake of parsed.mistakes) process.stderr.write(`${program}: ${mistake}\n`);
  process.exit(EXIT.commandLine);
}

/** A TCP port; 0 lets the system choose. */
export function parsePort(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65535) throw new Error(`${text} is not a port; write 0 to 65535`);
  return Number(text);
}

/** A whole number between `min` and `max`. */
export function parseCount(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new Error(`${text} is not a whole number from ${min} to ${max}`);
    }
    return value;
  };
}

/** An IPv4 or IPv6 address; a name could mean another one tomorrow. */
export function parseAddress(text: string): string {
  if (isIP(text) === 0) throw new Error(`${text} is not an IPv4 or IPv6 address`);
  return text;
}

/** Any text but the empty one. */
export function parseText(text: string): string {
  if (text === '') throw new Error('is empty');
  return text;
}

/** One of the keys of `choices`, as its value. */
export function oneOf<T>(choices: Readonly<Record<string, T>>, text: string): T {
  if (Object.hasOwn(choices, text)) return choices[text] as T;
  throw new Error(`${text} is none of ${Object.keys(choices).join(', ')}`);
}

function environmentTexts(text: string | undefined, many: boolean): string[] | undefined {
  if (text === undefined || text === '') return undefined;
  return many ? text.split(',') : [text];
}

function parseAll(label: string, one: Option<unknown>, texts: string[] | undefined, mistakes: string[]): unknown {
  if (texts === undefined) return one.fallback;
  if (!one.many && texts.length > 1) mistakes.push(`${label}: given ${texts.length} times; give it once`);
  const values: unknown[] = [];
  for (const text of texts) {
    try {
      values.push(one.parse(text));
    } catch (error) {
      mistakes.push(`${label}: ${(error as Error).message}`);
    }
  }
  return one.many ? values : values[0];
}
