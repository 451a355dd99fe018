// Load programs that Node runs, each its own process on the load's cores: told as JSON what to do, they answer with
// one line of JSON. Used where none of wrk, h2load and ghz does the job; each program says why.

import { fileURLToPath } from 'node:url';
import { type LoadResult, percentile } from './load.ts';
import { run } from './processes.ts';

/** The command line of a program of this folder, for `start` or `run`. */
export function programCommand(file: string, parameters: object): string[] {
  return [process.execPath, fileURLToPath(new URL(file, import.meta.url)), JSON.stringify(parameters)];
}

/** Runs a program to its end. */
export async function runProgram(file: string, parameters: object): Promise<LoadResult> {
  return JSON.parse(await run(programCommand(file, parameters))) as LoadResult;
}

/** In a program: what it is told. */
export function programParameters<T>(): T {
  return JSON.parse(process.argv[2] ?? '{}') as T;
}

/** In a program: the answer, from the ms that each successful request took. */
export function reportLoad(times: readonly number[], errors: number, seconds: number): void {
  const sorted = Float64Array.from(times).sort();
  const requests = times.length + errors;
  const result: LoadResult = {
    requests,
    requestsPerSecond: requests / seconds,
    p50Ms: percentile(sorted, 50),
    p99Ms: percentile(sorted, 99),
    errors,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
