// Long work between requests: runs a generator for at most two milliseconds, then lets the event loop turn.

/** So that a change of configuration delays no request by more than a few milliseconds (DESIGN: 2 ms a slice). */
export const SLICE_MS = 2;

/** How many slices a piece of work took, for a test to see that it was cut. */
export interface SliceCount {
  slices: number;
}

/** Runs `steps` to its end in slices; resolves with what it returns. */
export async function runInSlices<T>(steps: Generator<void, T>, count: SliceCount): Promise<T> {
  for (;;) {
    count.slices++;
    const endMs = performance.now() + SLICE_MS;
    do {
      const { done, value } = steps.next();
      if (done === true) return value;
    } while (performance.now() < endMs);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
