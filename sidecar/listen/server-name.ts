// TLS that the application makes itself: it is not ended here but sent on, opaque, to the Service that its server name
// (SNI) says. What is refused is told by a TLS alert, which clients print, and counted by reason.

import { LIMITS } from '../base/limits.ts';
import { WheelTimer } from '../base/timer-wheel.ts';
import { findByServerName } from '../proxy/decide.ts';
import type { Origin } from '../proxy/origin.ts';
import { type HelloMistake, HelloReader, type ServerName } from '../wire/client-hello.ts';
import { ProxyError } from '../wire/error.ts';
import type { ByteConnection } from '../wire/socket.ts';
import { SILENT } from '../wire/socket.ts';
import { undecided } from './connection.ts';
import type { WorkerContext } from './context.ts';
import { refuseOpaque, relayOpaque } from './opaque.ts';

/** RFC 8446 §6: a fatal alert in a record of its own. */
const alert = (description: number): Buffer => Buffer.of(0x15, 3, 3, 0, 2, 2, description);
const DECODE_ERROR = alert(50);
const UNRECOGNIZED_NAME = alert(112);

type Unread = HelloMistake | 'timeout';

const WHY: Readonly<Record<Unread, string>> = {
  record: 'it does not begin with TLS handshake records',
  tooLarge: 'its ClientHello is larger than 16 KiB',
  notClientHello: 'its handshake does not begin with a ClientHello',
  malformed: 'the lengths in its ClientHello do not add up',
  serverName: 'its server name (SNI) is no single host name',
  noServerName: 'it names no server (SNI): clients send none when they dial an address instead of a name',
  timeout: `its ClientHello was not complete within ${LIMITS.detectTimeoutMs} ms`,
};

/** Takes over a connection whose first byte was one of TLS. `origin.service` is the only one that it may name, if set. */
export function serveTls(
  context: WorkerContext,
  origin: Origin,
  wire: ByteConnection,
  listener: 'outbound' | 'local',
): void {
  const untrack = context.track(undecided(listener, wire));
  const reader = new HelloReader();
  const chunks: Uint8Array[] = [];
  const timer = new WheelTimer(() => wire.guard(() => settle({ mistake: 'timeout' })));
  context.wheel.arm(timer, LIMITS.detectTimeoutMs);
  const settle = (found: ServerName | { readonly mistake: Unread }): void => {
    context.wheel.cancel(timer);
    untrack();
    wire.events = SILENT;
    decide(context, origin, wire, listener, found);
    for (const chunk of chunks) if (!wire.isClosed) wire.events.onBytes(chunk);
  };
  wire.events = {
    onBytes(chunk) {
      chunks.push(chunk);
      const found = reader.push(chunk);
      if (found !== null) settle(found);
    },
    onDrain() {},
    onEnd: () => settle({ mistake: 'malformed' }),
    onClose() {
      context.wheel.cancel(timer);
      untrack();
    },
  };
}

function decide(
  context: WorkerContext,
  origin: Origin,
  wire: ByteConnection,
  listener: 'outbound' | 'local',
  found: ServerName | { readonly mistake: Unread },
): void {
  const count = (outcome: string): void => context.series.counter('serverNames', listener, outcome).add(1);
  if ('mistake' in found) {
    count(found.mistake);
    const error = new ProxyError('noRoute', 'local', `a TLS connection was not sent on: ${WHY[found.mistake]}`);
    const isName = found.mistake === 'serverName' || found.mistake === 'noServerName';
    return refuseOpaque(context, origin, wire, '', error, isName ? UNRECOGNIZED_NAME : DECODE_ERROR);
  }
  const { name } = found;
  const target = findByServerName(context.snapshot, origin, name);
  count(target.outcome);
  if ('error' in target) refuseOpaque(context, origin, wire, name, target.error, UNRECOGNIZED_NAME);
  else relayOpaque(context, origin, wire, target.destination);
}
