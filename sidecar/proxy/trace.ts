// HOT: W3C trace context (Trace Context §3). Every request carries one on; whether it is recorded is decided once,
// by whoever began the trace. Ids need to be unique, not secret: they come from a pool of random bytes.

import { randomFillSync } from 'node:crypto';
import type { HeaderList } from '../wire/headers.ts';
import { headerValues, removeHeader, setHeader } from '../wire/headers.ts';

/** Bytes of randomness drawn at once. */
const POOL_BYTES = 8192;
const pool = Buffer.alloc(POOL_BYTES);
let poolHex = '';
let used = 0;

/** `digits` lower-case hex digits at random, an even number; never all zeros for practical purposes. */
function randomHex(digits: number): string {
  if (used + digits > poolHex.length) {
    randomFillSync(pool);
    poolHex = pool.toString('hex');
    used = 0;
  }
  used += digits;
  return poolHex.slice(used - digits, used);
}

/** `version-traceid-parentid-flags`; version ff and ids of zeros are not valid (§3.2.2). Only a later version may have more behind the flags. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:$|-)/;
/** Characters of version 00, which has nothing behind the flags. */
const LENGTH_00 = 55;

/** The trace that a request belongs to. */
export interface Trace {
  readonly traceId: string;
  /** Of this sidecar's span. */
  readonly spanId: string;
  /** Empty: the trace begins here. */
  readonly parentSpanId: string;
  readonly sampled: boolean;
}

/**
 * Reads the caller's trace context, or begins one, and writes the one that goes upstream.
 * @param share of new traces that are sampled, 0 to 1. @param random in [0, 1).
 */
export function continueTrace(headers: HeaderList, share: number, random: number): Trace {
  // Two of them, joined here, are none: nobody knows which is meant.
  const sent = headerValues(headers, 'traceparent');
  const isLong = sent?.startsWith('00') === true && sent.length > LENGTH_00;
  const parent = sent === undefined || isLong ? null : TRACEPARENT.exec(sent);
  const spanId = randomHex(16);
  if (parent === null) {
    const traceId = randomHex(32);
    const sampled = random < share;
    const own = `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`;
    if (sent === undefined) headers.push('traceparent', own);
    else {
      // A state without a valid parent belongs to nothing (§3.3).
      removeHeader(headers, 'tracestate');
      setHeader(headers, 'traceparent', own);
    }
    return { traceId, spanId, parentSpanId: '', sampled };
  }
  const traceId = parent[1] as string;
  // Sampled, and random (Level 2 §3.2.2.5.2), which says something of the trace id; other flags mean nothing yet.
  const flags = Number.parseInt(parent[3] as string, 16) & 3;
  setHeader(headers, 'traceparent', `00-${traceId}-${spanId}-0${flags}`);
  return { traceId, spanId, parentSpanId: parent[2] as string, sampled: (flags & 1) === 1 };
}
