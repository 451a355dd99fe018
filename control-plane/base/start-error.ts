// A reason not to start that an operator can do something about, with the exit code that says so to scripts.

/** Thrown while the program is built; `main` prints the message and ends with `exitCode` (proto/kit/exit.ts). */
export class StartError extends Error {
  readonly exitCode: number;

  constructor(exitCode: number, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}
