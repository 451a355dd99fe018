// Callers that keep a connection busy and move next to nothing: bodies that trickle in, answers that nobody reads
// (Slowloris, CVE-2020-12604). Looked at every ten seconds for all connections together, so that no request pays for it.

import { LIMITS } from '../base/limits.ts';

const BODY_BYTES_MIN = (LIMITS.bodyBytesPerSecondMin * LIMITS.paceEveryMs) / 1_000;
const READ_BYTES_MIN = (LIMITS.readBytesPerSecondMin * LIMITS.paceEveryMs) / 1_000;
const SLOW_LOOKS = LIMITS.slowReadMs / LIMITS.paceEveryMs;

/** A connection's two directions. */
export interface Paced {
  /** Refuses requests whose bodies brought less than `bytesMin` since the last look; how many. */
  pace(bytesMin: number): number;
  /** Ends answers of which the caller's windows let out less than `bytesMin` at each of the last `looks` looks; how many. HTTP/1.1 has no windows. */
  dropStalled(bytesMin: number, looks: number): number;
  /** Bytes that wait for the caller to read. */
  readonly unreadBytes: number;
  /** Bytes that it has read, ever. */
  readonly takenBytes: number;
  destroy(): void;
}

/** One connection, look after look. */
export class Pace {
  private readonly connection: Paced;
  private takenBytes = 0;
  private slowLooks = 0;

  constructor(connection: Paced) {
    this.connection = connection;
  }

  /** Ends what is too slow; `onGuard` is told of each. */
  look(onGuard: (name: 'slowBody' | 'zeroWindow' | 'slowRead') => void): void {
    const { connection } = this;
    for (let slow = connection.pace(BODY_BYTES_MIN); slow > 0; slow--) onGuard('slowBody');
    for (let stalled = connection.dropStalled(READ_BYTES_MIN, SLOW_LOOKS); stalled > 0; stalled--)
      onGuard('zeroWindow');
    const taken = connection.takenBytes - this.takenBytes;
    this.takenBytes = connection.takenBytes;
    this.slowLooks = connection.unreadBytes > 0 && taken < READ_BYTES_MIN ? this.slowLooks + 1 : 0;
    if (this.slowLooks < SLOW_LOOKS) return;
    onGuard('slowRead');
    connection.destroy();
  }
}
