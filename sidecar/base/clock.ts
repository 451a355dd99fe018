// Time as a value that can be handed in. The data path asks for the time several times per request, so the real
// clock reads the operating system once per turn of the event loop and serves the rest from a field.

/** Where time comes from; state machines take one so that tests decide what time it is. */
export interface Clock {
  /** Milliseconds from an arbitrary start, never going back. Compare only with values of the same thread. */
  nowMs(): number;
}

let cachedMs = -1;

function forget(): void {
  cachedMs = -1;
}

/**
 * The clock of this thread: monotonic, read at most once per turn of the loop, so never older than the turn.
 * Not for measuring work inside one turn.
 */
export const threadClock: Clock = {
  nowMs(): number {
    if (cachedMs < 0) {
      cachedMs = performance.now();
      setImmediate(forget);
    }
    return cachedMs;
  },
};
