// From an accepted connection to request streams: the codec, its limits, its counters, and its part in a drain. The
// same for every listener; who the peer is was decided before.

import { LIMITS } from '../base/limits.ts';
import type { ListenerConfig } from '../base/messages.ts';
import { serveHttp1 } from '../wire/http1/server.ts';
import { KEEPALIVE_MS, MESH_KEEPALIVE_MS } from '../wire/http2/limits.ts';
import { Http2ServerConnection, serveHttp2 } from '../wire/http2/server.ts';
import type { ByteConnection } from '../wire/socket.ts';
import type { StreamAcceptor } from '../wire/stream.ts';
import { ConnectionLife } from './connection-life.ts';
import type { Accepted, WorkerContext } from './context.ts';
import { Pace } from './pace.ts';
import { type Spoken, sniff } from './sniff.ts';

/** What a listener decides for a connection. */
export interface ConnectionSettings {
  readonly listener: ListenerConfig['kind'];
  /** `https` behind TLS. */
  readonly scheme: 'http' | 'https';
  /** HTTP/2 streams at once: LIMITS.peerStreamsMax or strangerStreamsMax. */
  readonly streamsMax: number;
  /** Takes a connection over that begins with TLS; left out: that is a mistake of the caller's. */
  readonly onTls?: (wire: ByteConnection) => void;
}

/** As `serveConnection`, for a connection in the clear whose first bytes say which HTTP it is; anything else is counted and closed. */
export function serveClear(
  context: WorkerContext,
  wire: ByteConnection,
  accept: StreamAcceptor,
  settings: ConnectionSettings,
): void {
  const { listener } = settings;
  const untrack = context.track(undecided(listener, wire));
  const known = (spoken: Spoken): void => {
    untrack();
    if (spoken === 'http1' || spoken === 'http2') return serveConnection(context, wire, spoken, accept, settings);
    if (spoken === 'tls' && settings.onTls !== undefined) return settings.onTls(wire);
    context.series.counter('malformed', listener, spoken === 'tls' ? 'tlsInsteadOfHttp' : 'notHttp').add(1);
    wire.destroy();
  };
  sniff(context, wire, listener, known, untrack);
}

/** A connection that has said nothing yet: a drain may end it, since nothing was asked. */
export function undecided(listener: ListenerConfig['kind'], wire: ByteConnection): Accepted {
  return { listener, heldBytes: 0, isIdle: true, look() {}, drain: () => wire.end(), destroy: () => wire.destroy() };
}

/** Gives the connection its codec; each of its requests goes to `accept`. */
export function serveConnection(
  context: WorkerContext,
  wire: ByteConnection,
  protocol: 'http1' | 'http2',
  accept: StreamAcceptor,
  settings: ConnectionSettings,
): void {
  const { listener, scheme, streamsMax } = settings;
  const isPeer = listener === 'inbound' && streamsMax === LIMITS.peerStreamsMax;
  const life = new ConnectionLife(context, listener, () => connection.drain());
  const counted: StreamAcceptor = (stream) => {
    life.onRequest(protocol);
    return accept(stream);
  };
  const onClose = (): void => untrack();
  const onMalformed = (reason: string): void => context.series.counter('malformed', listener, reason).add(1);
  const connection =
    protocol === 'http2'
      ? serveHttp2(wire, counted, {
          scheme,
          wheel: context.wheel,
          maxConcurrentStreams: streamsMax,
          keepaliveMs: isPeer ? MESH_KEEPALIVE_MS : KEEPALIVE_MS,
          onMalformed,
          onGuard: (name) => context.guard(listener, name),
          onClose,
        })
      : serveHttp1(wire, counted, {
          scheme,
          wheel: context.wheel,
          // Clients of models do not half-close, and an answer that nobody reads costs money.
          finCancels: listener === 'ai',
          onMalformed,
          onClose,
        });
  const pace = new Pace({
    pace: (bytesMin) => connection.pace(bytesMin, listener === 'inbound' && !isPeer),
    dropStalled: (bytesMin, looks) =>
      connection instanceof Http2ServerConnection ? connection.dropStalled(bytesMin, looks) : 0,
    get unreadBytes() {
      return wire.bufferedBytes;
    },
    get takenBytes() {
      return wire.takenBytes;
    },
    destroy: () => wire.destroy(),
  });
  const untrack = context.track({
    listener,
    get heldBytes() {
      return wire.bufferedBytes + connection.heldBytes;
    },
    get isIdle() {
      return connection.activeStreams === 0;
    },
    look: () => pace.look((name) => context.guard(listener, name)),
    drain: () => connection.drain(),
    destroy: () => wire.destroy(),
  });
  if (context.isDraining(listener)) connection.drain();
}
