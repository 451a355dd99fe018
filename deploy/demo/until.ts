// Waiting for a fact with a bound: never for a time.

const POLL_MS = 20;

/** Polls until `fact` is not false, null or undefined, and returns it. Rejects after `boundMs` with what was awaited, or at once with what `fact` throws. */
export async function until<T>(
  what: string,
  boundMs: number,
  fact: () => T | false | null | undefined | Promise<T | false | null | undefined>,
): Promise<T> {
  const end = performance.now() + boundMs;
  for (;;) {
    const value = await fact();
    if (value !== false && value !== null && value !== undefined) return value;
    if (performance.now() > end) throw new Error(`not within ${boundMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
