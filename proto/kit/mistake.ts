// How both programs speak of a bad value: the control plane shows message and fix beside the file and line, the sidecar
// puts both into the one text of a rejection.

/** What is wrong with a value, and what to write instead. */
export interface Mistake {
  readonly message: string;
  readonly fix: string;
}

/** Both in one line. */
export function mistakeText({ message, fix }: Mistake): string {
  return `${message}: ${fix}`;
}

/** A value as messages show it: escaped, and cut so that a long one cannot flood a log. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text);
}
