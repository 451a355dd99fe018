// What messages under way hold in this thread: the figure that the overload ladder goes by, because it rises and falls
// with the load, as a process's resident memory does not.

/** Bytes held now: everything that keeps a part of a message adds what it takes and subtracts what it gives. */
export class HeldBytes {
  bytes = 0;
  /** Above it whoever collects a whole body gives up; set by the overload ladder. */
  maxBytes = Number.POSITIVE_INFINITY;
  private alarmBytes = Number.POSITIVE_INFINITY;
  private ring: (() => void) | null = null;

  /** @param bytes negative: given back. */
  add(bytes: number): void {
    this.bytes += bytes;
    if (this.bytes > this.alarmBytes) this.alarm();
  }

  /** Whether nothing more should be collected. */
  get isFull(): boolean {
    return this.bytes > this.maxBytes;
  }

  /** Calls `ring` once, as soon as more than `bytes` are held; it replaces what was set before. */
  alarmAbove(bytes: number, ring: () => void): void {
    this.alarmBytes = bytes;
    this.ring = ring;
  }

  private alarm(): void {
    this.alarmBytes = Number.POSITIVE_INFINITY;
    this.ring?.();
  }
}

/** This thread's. */
export const threadHeld = new HeldBytes();

/** Chunks of a body that must be whole before it is read, counted while they wait. */
export class HeldChunks {
  /** Of the chunks that are kept. */
  bytes = 0;
  private chunks: Uint8Array[] = [];

  push(chunk: Uint8Array): void {
    this.chunks.push(chunk);
    this.bytes += chunk.length;
    threadHeld.add(chunk.length);
  }

  /** All of them as one piece, not kept any longer. */
  take(): Uint8Array {
    const [only] = this.chunks;
    const whole = this.chunks.length === 1 && only !== undefined ? only : Buffer.concat(this.chunks);
    this.drop();
    return whole;
  }

  drop(): void {
    threadHeld.add(-this.bytes);
    this.bytes = 0;
    if (this.chunks.length > 0) this.chunks = [];
  }
}
