// What a response says about when to come back (RFC 9110 §10.2.3). Slow path: only responses that are to be tried again
// are asked.

/** RFC 9110 §5.6.7, the form that senders must use; the two obsolete ones are taken for nothing said. */
const IMF_FIXDATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;
const SECONDS = /^\d{1,10}$/;

/**
 * Milliseconds that a `Retry-After` asks to wait; 0: none, one that is over, or one that does not parse.
 * @param unixMs now, for a date.
 */
export function retryAfterMs(value: string | undefined, unixMs: number): number {
  if (value === undefined) return 0;
  if (SECONDS.test(value)) return Number(value) * 1000;
  const dateMs = IMF_FIXDATE.test(value) ? Date.parse(value) : Number.NaN;
  return dateMs > unixMs ? dateMs - unixMs : 0;
}
