// Why an address could not be had, in one sentence for both programs: what wanted it, where, and what to do.

/** What failed to listen. */
export interface BindAttempt {
  /** As people know the port: `outbound`, `api`, `local:orders`. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** The options that choose another port and another address: `--api-port`, `--api-host`. */
  readonly option: string;
  readonly hostOption: string;
}

/** Causes by the code of the system, wherever it stands in the error, and whether port or address is to blame. */
const CAUSES: readonly (readonly [RegExp, string, 'option' | 'hostOption'])[] = [
  [/EADDRINUSE/, 'is in use by another process; stop that one', 'option'],
  [/EACCES/, 'may not be bound by this user; ports below 1024 need a capability', 'option'],
  [/EADDRNOTAVAIL/, 'is not an address of this machine; see `ip address`', 'hostOption'],
  [/EAFNOSUPPORT/, 'is of a family that this machine does not speak', 'hostOption'],
];

/** The sentence. `error` may be grpc-js's, whose message holds the system's code in its midst. */
export function bindFailure(attempt: BindAttempt, error: Error): string {
  const { name, host, port } = attempt;
  const code = (error as NodeJS.ErrnoException).code;
  const said = `${typeof code === 'string' ? code : ''} ${error.message}`;
  const cause = CAUSES.find(([pattern]) => pattern.test(said));
  const [, why, blamed] = cause ?? ['', `cannot be bound (${error.message})`, 'option' as const];
  return `${name} port ${authority(host, port)} ${why}, or choose another with ${attempt[blamed]}`;
}

/** `host:port`, with the brackets of an IPv6 address. */
export function authority(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
