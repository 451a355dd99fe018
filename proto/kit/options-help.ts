// The text of `--help`: options in two columns that fit a terminal, and what holds for the program as a whole.

import type { OptionSet } from './options.ts';

/** What `--help` says around the options. */
export interface ProgramHelp {
  /** What the program is, in a sentence or two. */
  readonly summary: string;
  /** Signals, exit codes, files: a paragraph each. */
  readonly notes: readonly string[];
}

/** Where the second column begins; a longer option stands on a line of its own. */
const COLUMN = 28;
/** Terminals of 80 columns wrap a little, and nobody else has to read a narrow page. */
const WIDTH = 100;

/** The whole page, ending in a newline. */
export function helpText(program: string, declared: OptionSet, { summary, notes }: ProgramHelp): string {
  const paragraphs = [
    `Usage: ${program} [options]`,
    summary,
    optionList(declared),
    ...notes,
    'Every option may also be set in the environment: --ready-file as WEFT_READY_FILE. The command line wins.',
  ];
  const pages = paragraphs.map((text) => (text.startsWith('  ') ? text : wrap(text, WIDTH).join('\n')));
  return `${pages.filter((text) => text !== '').join('\n\n')}\n`;
}

/** The options alone, in two columns, without a newline at the end. */
export function optionList(declared: OptionSet): string {
  const lines = Object.entries(declared).flatMap(([name, { value, help, many, shown }]) => {
    const left = `  --${kebab(name)}${value === '' ? '' : ` ${value}`}`;
    const extra = [many ? 'may be repeated' : '', shown === '' ? '' : `default ${shown}`].filter((text) => text !== '');
    const right = wrap(`${help}${extra.length === 0 ? '' : ` (${extra.join('; ')})`}`, WIDTH - COLUMN);
    const beside = left.length <= COLUMN - 2 ? right.shift() : undefined;
    return [
      beside === undefined ? left : left.padEnd(COLUMN) + beside,
      ...right.map((line) => ' '.repeat(COLUMN) + line),
    ];
  });
  return lines.join('\n');
}

/** `grpcPort` as `grpc-port`. */
export function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Lines of at most `width`, broken at spaces. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
