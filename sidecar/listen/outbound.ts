// The outbound port: applications' calls by Host, in HTTP/1 or HTTP/2, as an HTTP proxy (absolute form, CONNECT) or
// directly. A CONNECT to a Service is a redirected connection: its bytes are looked at again and every policy holds.

import { LIMITS } from '../base/limits.ts';
import type { ListenerConfig } from '../base/messages.ts';
import type { Destination } from '../config/snapshot.ts';
import { findHost, findPort, nameIn, portOf } from '../proxy/decide.ts';
import type { Origin } from '../proxy/origin.ts';
import { RequestServer } from '../proxy/serve.ts';
import { ProxyError } from '../wire/error.ts';
import { type ByteConnection, WireSocket } from '../wire/socket.ts';
import { Head, type HttpStream } from '../wire/stream.ts';
import { bindListener } from './bind.ts';
import { serveClear } from './connection.ts';
import type { Listener, WorkerContext } from './context.ts';
import { relayOpaque } from './opaque.ts';
import { serveTls } from './server-name.ts';
import { tunnelSocket } from './tunnel-socket.ts';

const OUTBOUND: Origin = { direction: 'outbound', service: '', port: 0, peer: null };

/** `--outbound-port`. */
export function openOutbound(context: WorkerContext, config: ListenerConfig): Promise<Listener> {
  const server = serverOf(context, OUTBOUND);
  return bindListener(context, config, (socket) => serveSniffed(context, new WireSocket(socket), server, 'outbound'));
}

/** `--local NAME=PORT`: one Service, whatever Host says. */
export function openLocal(context: WorkerContext, config: ListenerConfig): Promise<Listener> {
  const { service, servicePort } = config;
  const origin: Origin = { direction: 'outbound', service, port: servicePort, peer: null };
  const server = serverOf(context, origin);
  return bindListener(context, config, (socket) => {
    const wire = new WireSocket(socket);
    const opaque = opaqueOf(context, service, servicePort);
    if (opaque !== null) relayOpaque(context, origin, wire, opaque);
    else serveSniffed(context, wire, server, 'local');
  });
}

function serverOf(context: WorkerContext, origin: Origin): RequestServer {
  return new RequestServer(context, origin, null, (stream, head) => connect(context, stream, head));
}

/** The port as an opaque destination; null when it speaks HTTP or is not known. */
function opaqueOf(context: WorkerContext, service: string, port: number): Destination | null {
  const state = context.snapshot.services.get(service);
  if (state === undefined) return null;
  let found = portOf(state, port);
  // A Service that speaks nothing but TCP needs no port to be named.
  if (found === null) for (const destination of state.ports.values()) found ??= destination;
  return found?.protocol === 'tcp' ? found : null;
}

function serveSniffed(
  context: WorkerContext,
  wire: ByteConnection,
  server: RequestServer,
  listener: 'outbound' | 'local',
): void {
  // The own application, not a stranger: one connection carries all of its load.
  serveClear(context, wire, server.accept, {
    listener,
    scheme: 'http',
    streamsMax: LIMITS.peerStreamsMax,
    onTls: (secure) => serveTls(context, server.origin, secure, listener),
  });
}

/** CONNECT host:port. Null: the tunnel is open. Only Services of the mesh: this is no open proxy. */
function connect(context: WorkerContext, stream: HttpStream, head: Head): ProxyError | null {
  const { snapshot } = context;
  const found = findHost(snapshot, '', head.authority);
  // What a client of an HTTP proxy calls by its name in DNS.
  const service = found instanceof ProxyError ? snapshot.serverNames.get(nameIn(head.authority)) : found.service;
  if (service === undefined) return found as ProxyError;
  const port = findPort(snapshot, service, head.authority, context.outboundPort);
  if (port instanceof ProxyError) return port;
  const origin: Origin = { direction: 'outbound', service, port, peer: null };
  stream.writeHead(Head.response(200, []), false);
  const wire = tunnelSocket(stream);
  const opaque = opaqueOf(context, service, port);
  if (opaque !== null) relayOpaque(context, origin, wire, opaque);
  else serveSniffed(context, wire, serverOf(context, origin), 'outbound');
  return null;
}
