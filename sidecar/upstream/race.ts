// Several addresses of one name, dialled as RFC 8305 §5 asks: one begins after the other, none is given up while others
// try, and the first that connects is taken. Only TCP races: what TLS says afterwards is true of the server, not of the way.

import type { Socket } from 'node:net';
import { LIMITS } from '../base/limits.ts';

/** How a race ends: one of the two, once, and never inside the call that began it. */
export interface RaceEvents {
  /** `socket` is connected to `host`; nobody listens to it any more. The others are closed. */
  onConnected(socket: Socket, host: string): void;
  /** None did. The message has that of each address, in the order of the attempts. */
  onFailed(error: AggregateError): void;
}

interface Attempt {
  readonly host: string;
  readonly socket: Socket;
  readonly onError: (error: Error) => void;
  failure: Error | null;
}

/** One connection to whichever of several addresses answers first. How long that may take at all is the caller's to bound. */
export class Race {
  private readonly waiting: string[];
  private readonly dial: (host: string) => Socket;
  private readonly events: RaceEvents;
  private readonly attempts: Attempt[] = [];
  private timer: NodeJS.Timeout | undefined;
  private over = false;

  /**
   * @param hosts in the order of the attempts; those above `LIMITS.raceAddressesMax` are not tried.
   * @param dial begins to connect: the socket will say `connect` or `error`.
   */
  constructor(hosts: readonly string[], dial: (host: string) => Socket, events: RaceEvents) {
    this.waiting = hosts.slice(0, LIMITS.raceAddressesMax);
    this.dial = dial;
    this.events = events;
    this.begin();
  }

  /** What became of each attempt so far, for people. */
  report(): string {
    return this.attempts.map(({ host, failure }) => failure?.message ?? `${host} did not answer`).join('; ');
  }

  /** Nobody waits for it any more: no event follows, and every socket is closed. */
  close(): void {
    this.stop(null);
  }

  private begin(): void {
    clearTimeout(this.timer);
    const host = this.waiting.shift();
    if (host === undefined) return;
    const socket = this.dial(host);
    const attempt: Attempt = { host, socket, onError: (error) => this.lose(attempt, error), failure: null };
    this.attempts.push(attempt);
    socket.on('error', attempt.onError);
    socket.once('connect', () => this.win(attempt));
    if (this.waiting.length > 0) this.timer = setTimeout(() => this.begin(), LIMITS.nextAddressMs);
  }

  private win(attempt: Attempt): void {
    if (this.over) return;
    this.stop(attempt);
    attempt.socket.removeListener('error', attempt.onError);
    this.events.onConnected(attempt.socket, attempt.host);
  }

  private lose(attempt: Attempt, error: Error): void {
    if (this.over) return;
    attempt.failure = error;
    // An older one that fails says nothing of the newest, which keeps its time alone.
    if (attempt === this.attempts.at(-1)) this.begin();
    const failures = this.attempts.flatMap(({ failure }) => failure ?? []);
    if (failures.length < this.attempts.length) return;
    this.stop(null);
    this.events.onFailed(new AggregateError(failures, this.report()));
  }

  private stop(winner: Attempt | null): void {
    this.over = true;
    clearTimeout(this.timer);
    for (const attempt of this.attempts) if (attempt !== winner) attempt.socket.destroy();
  }
}
