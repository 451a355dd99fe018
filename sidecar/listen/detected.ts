// Ports of protocol DETECT on the receiver's side. Callers send each connection as a CONNECT, whatever it speaks; what is
// inside is found out here, where the Service's Authorization is applied: a caller's word on it would be worth nothing.

import { LIMITS } from '../base/limits.ts';
import { misdirected } from '../proxy/decide.ts';
import type { Origin } from '../proxy/origin.ts';
import { type ConnectHook, RequestServer } from '../proxy/serve.ts';
import type { ByteConnection } from '../wire/socket.ts';
import { Head } from '../wire/stream.ts';
import { serveConnection, undecided } from './connection.ts';
import type { WorkerContext } from './context.ts';
import { detect } from './detect.ts';
import type { InboundPort } from './inbound-port.ts';
import { admitOpaque } from './opaque.ts';
import { tunnelSocket } from './tunnel-socket.ts';

/** Takes the tunnels of such a port over; null for every other port, whose CONNECTs are requests. */
export function connectHook(context: WorkerContext, { own }: InboundPort, origin: Origin): ConnectHook | null {
  if (own.protocol !== 'detect') return null;
  return (stream, head) => {
    const refused = misdirected(context.snapshot, origin, head);
    if (refused !== null) return refused;
    stream.writeHead(Head.response(200, []), false);
    serveDetected(context, tunnelSocket(stream), origin);
    return null;
  };
}

/** Serves a connection as what its first bytes say it is. */
export function serveDetected(context: WorkerContext, wire: ByteConnection, origin: Origin): void {
  const untrack = context.track(undecided('inbound', wire));
  detect(
    context,
    wire,
    (detected) => {
      untrack();
      context.series.counter('detected', origin.service, detected).add(1);
      if (detected !== 'http1' && detected !== 'http2') {
        admitOpaque(context, { ...origin, spoken: 'tcp' }, wire);
        return;
      }
      const { accept } = new RequestServer(context, { ...origin, spoken: detected });
      const streamsMax = origin.peer === null ? LIMITS.strangerStreamsMax : LIMITS.peerStreamsMax;
      serveConnection(context, wire, detected, accept, { listener: 'inbound', scheme: 'http', streamsMax });
    },
    untrack,
  );
}
