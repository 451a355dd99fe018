// The PROXY protocol on the inbound port: where a policy says that connections in the clear begin with a header, it is read
// before anything else, and whoever sends none is refused, since an optional header is a way to choose one's own address.

import { LIMITS } from '../base/limits.ts';
import { WheelTimer } from '../base/timer-wheel.ts';
import { type ProxiedAddresses, type ProxyMistake, parseProxyHeader } from '../wire/proxy-protocol.ts';
import { type ByteConnection, SILENT } from '../wire/socket.ts';
import type { WorkerContext } from './context.ts';

/** Why a connection was refused at its header: label values. */
export type HeaderRefusal = ProxyMistake | 'timeout' | 'ended';

/**
 * Reads the header, which must be whole within `LIMITS.detectTimeoutMs`. `onRead` installs the connection's events, which then
 * hear what came behind it; after `onRefused` nobody hears anything.
 * @param onGone the connection went before either.
 */
export function readProxyHeader(
  context: Pick<WorkerContext, 'wheel'>,
  wire: ByteConnection,
  onRead: (addresses: ProxiedAddresses | null) => void,
  onRefused: (reason: HeaderRefusal) => void,
  onGone: () => void,
): void {
  let held: Uint8Array | null = null;
  const timer = new WheelTimer(() => wire.guard(() => refuse('timeout')));
  const stop = (): void => {
    context.wheel.cancel(timer);
    wire.events = SILENT;
  };
  const refuse = (reason: HeaderRefusal): void => {
    stop();
    onRefused(reason);
  };
  context.wheel.arm(timer, LIMITS.detectTimeoutMs);
  wire.events = {
    onBytes(chunk) {
      const bytes: Uint8Array = held === null ? chunk : Buffer.concat([held, chunk]);
      held = bytes;
      const header = parseProxyHeader(bytes);
      if (header === null) return;
      if ('mistake' in header) return refuse(header.mistake);
      stop();
      onRead(header.addresses);
      if (bytes.length > header.length && !wire.isClosed) wire.events.onBytes(bytes.subarray(header.length));
    },
    onDrain() {},
    onEnd: () => refuse('ended'),
    onClose() {
      context.wheel.cancel(timer);
      onGone();
    },
  };
}
