// What a connection to a port of protocol DETECT speaks, decided within bounds: HTTP by its preface or its first line,
// and opaque whatever else comes, or does not come. What is decided here is judged in filters/authorization: an opaque
// connection has no method and no path, which lets no rule that asks for them in and none that forbids them be passed by.

import { LIMITS } from '../base/limits.ts';
import { WheelTimer } from '../base/timer-wheel.ts';
import { type ByteConnection, SILENT } from '../wire/socket.ts';
import type { WorkerContext } from './context.ts';
import { PREFACE, TLS_HANDSHAKE } from './sniff.ts';

/** `other` and `timeout` are opaque, and so is `tls`, which is not ended here. */
export type Detected = 'http1' | 'http2' | 'tls' | 'other' | 'timeout';

const LF = 0x0a;
const CR = 0x0d;

/**
 * A line that some server might take for a request, if not by the grammar of RFC 9112 §3: the codec then refuses it, while
 * an opaque stream would carry it past every rule that looks at requests.
 */
const REQUEST_LINE = /^[!-~]+[ \t].*HTTP\/\d/is;
/** The beginning of a request line that is longer than what is looked at. */
const LONG_REQUEST = /^[A-Z][A-Z-]*[ \t]+(?:\/|\*|https?:)/i;

/**
 * What these first bytes are; null: too few to tell. Of more than `LIMITS.detectBytesMax` no more is looked at.
 * @param last whether no more will come.
 */
export function detectProtocol(bytes: Uint8Array, last = false): Detected | null {
  const length = Math.min(bytes.length, LIMITS.detectBytesMax);
  if (length === 0) return last ? 'other' : null;
  if (bytes[0] === TLS_HANDSHAKE) return 'tls';
  let same = 0;
  while (same < length && same < PREFACE.length && bytes[same] === PREFACE[same]) same++;
  if (same === PREFACE.length) return 'http2';
  const final = last || length === LIMITS.detectBytesMax;
  if (same === length && !final) return null;
  // RFC 9112 §2.2: servers may skip empty lines before a request.
  let start = 0;
  while (start < length && (bytes[start] === CR || bytes[start] === LF)) start++;
  let end = start;
  while (end < length && bytes[end] !== LF) {
    if (isBinary(bytes[end] as number)) return 'other';
    end++;
  }
  if (end === length && !final) return null;
  const line = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');
  return REQUEST_LINE.test(line) || (end === LIMITS.detectBytesMax && LONG_REQUEST.test(line)) ? 'http1' : 'other';
}

/** A control that no line of text holds. Bytes above ASCII may be a path that somebody forgot to encode. */
function isBinary(byte: number): boolean {
  return byte < 0x20 && byte !== CR && byte !== 0x09;
}

/**
 * Reads until it is known what `wire` speaks, at most `LIMITS.detectBytesMax` and for at most `LIMITS.detectTimeoutMs`.
 * `onKnown` installs its events, which then hear what was read, by reference.
 * @param onGone the connection went before that.
 */
export function detect(
  context: Pick<WorkerContext, 'wheel'>,
  wire: ByteConnection,
  onKnown: (detected: Detected) => void,
  onGone: () => void,
): void {
  const chunks: Uint8Array[] = [];
  let seen: Uint8Array = Buffer.alloc(0);
  const timer = new WheelTimer(() => wire.guard(() => settle('timeout')));
  context.wheel.arm(timer, LIMITS.detectTimeoutMs);
  const settle = (detected: Detected): void => {
    context.wheel.cancel(timer);
    // Whoever installs no events hears no more: else these bytes would come back here.
    wire.events = SILENT;
    onKnown(detected);
    for (const chunk of chunks) if (!wire.isClosed) wire.events.onBytes(chunk);
  };
  wire.events = {
    onBytes(chunk) {
      chunks.push(chunk);
      const room = LIMITS.detectBytesMax - seen.length;
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk.subarray(0, room)]);
      const detected = detectProtocol(seen);
      if (detected !== null) settle(detected);
    },
    onDrain() {},
    onEnd() {
      settle(detectProtocol(seen, true) ?? 'other');
      if (!wire.isClosed) wire.events.onEnd();
    },
    onClose() {
      context.wheel.cancel(timer);
      onGone();
    },
  };
}
