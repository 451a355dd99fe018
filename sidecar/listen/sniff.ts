// What a connection speaks, learned from its first bytes: HTTP/2 by its preface (prior knowledge, RFC 9113 §3.3),
// HTTP/1 by a method, TLS by its record type, or something else.

import { LIMITS } from '../base/limits.ts';
import type { ListenerConfig } from '../base/messages.ts';
import { WheelTimer } from '../base/timer-wheel.ts';
import { type ByteConnection, SILENT } from '../wire/socket.ts';
import type { WorkerContext } from './context.ts';

export type Spoken = 'http1' | 'http2' | 'tls' | 'other';

/** RFC 9113 §3.4. */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
/** RFC 8446 §5.1: a handshake record. */
export const TLS_HANDSHAKE = 0x16;

/** Null: too few bytes to tell. */
export function protocolOf(bytes: Uint8Array): Spoken | null {
  const first = bytes[0];
  if (first === undefined) return null;
  if (first === TLS_HANDSHAKE) return 'tls';
  // Empty lines before a request (RFC 9112 §2.2).
  if (first === 0x0d || first === 0x0a) return 'http1';
  // A method is a token (RFC 9110 §9.1); every registered one is upper-case letters and hyphens.
  if (first < 0x41 || first > 0x7a) return 'other';
  const length = Math.min(bytes.length, PREFACE.length);
  for (let i = 0; i < length; i++) if (bytes[i] !== PREFACE[i]) return 'http1';
  return length < PREFACE.length ? null : 'http2';
}

/**
 * Waits for the first bytes; `onKnown` installs the codec as `wire.events`, which then hears them. A connection that
 * says nothing is closed after the idle time, one that stops within its preface after `detectTimeoutMs`.
 */
export function sniff(
  context: Pick<WorkerContext, 'wheel' | 'guard'>,
  wire: ByteConnection,
  listener: ListenerConfig['kind'],
  onKnown: (spoken: Spoken) => void,
  onGone: () => void = () => {},
): void {
  let held: Uint8Array | null = null;
  const timer = new WheelTimer(() => {
    context.guard(listener, 'detectTimeout');
    wire.destroy();
  });
  context.wheel.arm(timer, LIMITS.streamIdleTimeoutMs);
  wire.events = {
    onBytes(chunk) {
      const bytes: Uint8Array = held === null ? chunk : Buffer.concat([held, chunk]);
      held = bytes;
      const spoken = protocolOf(bytes);
      context.wheel.arm(timer, LIMITS.detectTimeoutMs);
      if (spoken === null) return;
      context.wheel.cancel(timer);
      // Whoever installs no codec hears no more: else these bytes would come back here.
      wire.events = SILENT;
      onKnown(spoken);
      wire.events.onBytes(bytes);
    },
    onDrain() {},
    onEnd: () => wire.end(),
    onClose() {
      context.wheel.cancel(timer);
      onGone();
    },
  };
}
