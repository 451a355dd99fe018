// A reason not to start, or to stop, that an operator can do something about, with the exit code that tells scripts.

/** Carried up to `main`, which prints the message and ends with `exitCode` (proto/kit/exit.ts). */
export class StartError extends Error {
  readonly exitCode: number;

  constructor(exitCode: number, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}
