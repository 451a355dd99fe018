// A timer for a moment that may be farther away than Node's timers reach, and by a clock that may be set meanwhile.

/** Node's timers hold 24.8 days; what is due later is looked at again then. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Calls `run` once it is `dueMs()` by `now`; never keeps the process alive. Gives what cancels it. */
export function whenDue(dueMs: () => number, now: () => number, run: () => void): () => void {
  let timer: NodeJS.Timeout;
  const arm = (): void => {
    timer = setTimeout(look, Math.min(Math.max(dueMs() - now(), 0), TIMER_MS_MAX));
    timer.unref();
  };
  const look = (): void => {
    if (now() >= dueMs()) run();
    else arm();
  };
  arm();
  return () => clearTimeout(timer);
}
