// A timer for a moment of the wall clock. Node's timers count the time that the machine was awake, and hold 24.8 days: one
// that is set for a half-life would come half a day late on a laptop that slept that long, when the certificate is over.

/** How often the clock is looked at: a machine that wakes up is a minute late at most. */
const LOOK_EVERY_MS = 60_000;

/** Calls `run` once it is `dueMs()` by `now` (Unix milliseconds); never keeps the process alive. Gives what cancels it. */
export function whenDue(dueMs: () => number, now: () => number, run: () => void): () => void {
  let timer: NodeJS.Timeout;
  const arm = (): void => {
    timer = setTimeout(look, Math.min(Math.max(dueMs() - now(), 0), LOOK_EVERY_MS));
    timer.unref();
  };
  const look = (): void => {
    if (now() >= dueMs()) run();
    else arm();
  };
  arm();
  return () => clearTimeout(timer);
}
