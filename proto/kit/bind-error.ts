// Why an address could not be had, in one sentence for both programs: what wanted it, where, and what to do.

/** What failed to listen. */
export interface BindAttempt {
  /** As people know the port: `outbound`, `api`, `local:orders`. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** The option that chooses another port: `--api-port`. */
  readonly option: string;
}

/** Causes by the code of the system, wherever it stands in the error. */
const CAUSES: readonly (readonly [RegExp, string])[] = [
  [/EADDRINUSE/, 'is in use by another process; stop that one'],
  [/EACCES/, 'may not be bound by this user; ports below 1024 need a capability'],
  [/EADDRNOTAVAIL/, 'is not an address of this machine; see `ip address`'],
  [/ENOTFOUND|EAI_/, 'is not an address, and no name that resolves'],
];

/** The sentence. `error` may be grpc-js's, whose message holds the system's code in its midst. */
export function bindFailure({ name, host, port, option }: BindAttempt, error: Error): string {
  const code = (error as NodeJS.ErrnoException).code;
  const said = `${typeof code === 'string' ? code : ''} ${error.message}`;
  const why = CAUSES.find(([pattern]) => pattern.test(said))?.[1] ?? `cannot be bound (${error.message})`;
  return `${name} port ${authority(host, port)} ${why}, or choose another with ${option}`;
}

/** `host:port`, with the brackets of an IPv6 address. */
export function authority(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
