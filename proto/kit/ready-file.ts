// The ready file: how a program tells whoever started it that it serves, and on which ports. Written whole or not at
// all, so that a reader who sees the file can use it.

import { renameSync, rmSync, writeFileSync } from 'node:fs';

/** What the file holds, as JSON. Ports by the names that the program's documentation gives them. */
export interface Ready {
  readonly pid: number;
  readonly ports: Readonly<Record<string, number>>;
}

/** Writes the file by rename. Throws an Error that says what to do. */
export function writeReadyFile(path: string, ports: Readonly<Record<string, number>>): void {
  const ready: Ready = { pid: process.pid, ports };
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, `${JSON.stringify(ready)}\n`);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    const { code } = error as NodeJS.ErrnoException;
    throw new Error(
      `--ready-file ${path} cannot be written (${code}); is its directory there, and is it no directory?`,
    );
  }
}

/** Takes the file away when the program ends; one that is gone already is fine. */
export function removeReadyFile(path: string): void {
  rmSync(path, { force: true });
}
