// Durations as policies write them. The proto3 JSON form ("1.5s") and the units people type ("250ms", "1h30m") mean
// the same in both programs.

/** Longest accepted, in ms: 365 days. Above it a number is a mistake, and timers overflow. */
const DURATION_MS_MAX = 365 * 86_400_000;

const UNIT_MS: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);

/** A parsed duration or why not; the message says how to fix it. */
export type DurationResult =
  | { readonly ms: number; readonly error: null }
  | { readonly ms: null; readonly error: string };

/**
 * Milliseconds of `text`: one or more of number and unit, largest unit first, without spaces ("15s", "1.5s",
 * "250ms", "1h30m"). At most 9 decimals (proto3 JSON mapping of Duration); negative ones are refused.
 */
export function parseDuration(text: string): DurationResult {
  // Longer than any duration that makes sense; bounds the work.
  if (text.length === 0 || text.length > 64) return refuse(text);
  const part = /(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d)/y;
  let ms = 0;
  let smallest = Number.POSITIVE_INFINITY;
  while (part.lastIndex < text.length) {
    const found = part.exec(text);
    if (found === null) return refuse(text);
    const unitMs = UNIT_MS.get(found[2] as string) as number;
    if (unitMs >= smallest) return refuse(text);
    smallest = unitMs;
    ms += Number(found[1]) * unitMs;
  }
  if (ms > DURATION_MS_MAX) return { ms: null, error: `duration ${JSON.stringify(text)} is longer than 365 days` };
  // A nanosecond is the finest proto3 can say; rounding to it hides the error of decimal fractions.
  return { ms: Math.round(ms * 1e6) / 1e6, error: null };
}

/** The proto3 JSON form of `ms`, 0 or more: "1.5s". What `parseDuration` reads back to the same number. */
export function formatDuration(ms: number): string {
  const nanos = Math.round((ms % 1_000) * 1e6);
  const seconds = Math.floor(ms / 1_000) + Math.floor(nanos / 1e9);
  const fraction = String(nanos % 1e9)
    .padStart(9, '0')
    .replace(/0+$/, '');
  return fraction === '' ? `${seconds}s` : `${seconds}.${fraction}s`;
}

/** How people write `ms`, 0 or more: "24h", "1h30m", "30s", "250ms". What `parseDuration` reads back to the same number. */
export function spellDuration(ms: number): string {
  let rest = ms;
  let text = '';
  for (const [unit, unitMs] of UNITS_SPELT) {
    const whole = Math.floor(rest / unitMs);
    if (whole > 0) text += `${whole}${unit}`;
    rest -= whole * unitMs;
  }
  return text === '' || rest > 0 ? `${text}${rest}ms` : text;
}

/** Hours are the largest: "24h" says more plainly than "1d" what a clock must show. */
const UNITS_SPELT = [
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
] as const;

function refuse(text: string): DurationResult {
  const shown = text.length > 64 ? `${text.slice(0, 64)}...` : text;
  return {
    ms: null,
    error: `${JSON.stringify(shown)} is not a duration; write a number and a unit, such as 250ms, 1.5s or 1h30m`,
  };
}
