// Why a command could not do what it was asked, in words that say what to do, with its exit code.

/** Printed as one line on standard error; `exitCode` is one of proto/kit/exit.ts. */
export class CommandError extends Error {
  readonly exitCode: number;

  constructor(exitCode: number, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}
