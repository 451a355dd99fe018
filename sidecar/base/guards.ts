// The names of all guards, as `weft_guard_total{guard}` has them: what ends a connection or a stream because of what its
// peer does, not because of what it says. Limits and reasons stand in limits.ts and in those of the codecs; the README
// lists each with its default.

/** One each; a guard without a name here does not compile. */
export const GUARDS = [
  'rapidReset',
  'continuation',
  'ping',
  'settings',
  'emptyData',
  'priority',
  'windowUpdate',
  'ignored',
  'unsent',
  'zeroWindow',
  'slowRead',
  'slowBody',
  'headTimeout',
  'detectTimeout',
  'keepalive',
  'connections',
  'handshakes',
  'connectionAge',
  'connectionRequests',
  'stopKeepAlive',
  'overload',
  'shed',
] as const;

/** A label's value: never a caller's. */
export type GuardName = (typeof GUARDS)[number];
