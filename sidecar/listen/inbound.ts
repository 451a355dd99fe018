// Where calls from other sidecars arrive: mutual TLS, the application chosen by server name, the caller known by
// SPIFFE id. What a request may do is decided later, in proxy/serve.ts; here it is decided who may speak at all.

import type { Socket } from 'node:net';
import type { TLSSocket, Server as TlsServer } from 'node:tls';
import { LIMITS } from '../base/limits.ts';
import type { ListenerConfig } from '../base/messages.ts';
import { WheelTimer } from '../base/timer-wheel.ts';
import type { PeerIdentity } from '../filters/authorization/run.ts';
import type { Origin } from '../proxy/origin.ts';
import { RequestServer } from '../proxy/serve.ts';
import type { ProxiedAddresses } from '../wire/proxy-protocol.ts';
import { addressesOf, WireSocket } from '../wire/socket.ts';
import { certificateFailure, createMeshServer, type HandshakeFailure, secure } from '../wire/tls.ts';
import { bindListener } from './bind.ts';
import { serveClear, serveConnection, undecided } from './connection.ts';
import type { Listener, OpenListener, WorkerContext } from './context.ts';
import { connectHook, serveDetected } from './detected.ts';
import { HandshakeGate } from './handshake-gate.ts';
import { type InboundPort, peerOf, plaintextPort, portOf } from './inbound-port.ts';
import { admitOpaque } from './opaque.ts';
import { readProxyHeader } from './proxy-header.ts';
import { RefusalLog } from './refusal-log.ts';

/** The first byte of a TLS handshake record (RFC 8446 §5.1); no HTTP begins with it. */
const TLS_HANDSHAKE = 0x16;

/** Opens the inbound listener. Answers handshakes once there is an identity, and refuses them until then. */
export const openInbound: OpenListener = (context, config) => new Inbound(context).listen(config);

class Inbound {
  private readonly context: WorkerContext;
  private readonly tls: TlsServer;
  private readonly refusals: RefusalLog;
  private readonly gate: HandshakeGate;

  constructor(context: WorkerContext) {
    this.context = context;
    this.refusals = new RefusalLog(context.wheel, (refusals) => context.tellRefusals(refusals));
    const { series } = context;
    this.gate = new HandshakeGate(
      { inProgressMax: LIMITS.handshakesMax, perSecond: LIMITS.handshakesPerSecond },
      context.clock,
      context.wheel,
      {
        onActive: (change) => series.counter('handshakesActive').add(change),
        onDelayed: () => series.counter('handshakesDelayed').add(1),
      },
    );
    this.tls = createMeshServer({
      handshakeTimeoutMs: LIMITS.handshakeTimeoutMs,
      contextFor: (serverName) => {
        if (context.identity === null) return 'noIdentity';
        return portOf(context.snapshot, serverName) === null ? 'serverName' : context.identity.secureContext;
      },
      onSecure: (socket) => {
        this.gate.leave();
        this.onSecure(socket);
      },
      onFailure: (reason, socket) => {
        this.gate.leave();
        this.count(reason, socket);
      },
    });
  }

  listen(config: ListenerConfig): Promise<Listener> {
    return bindListener(this.context, config, (socket) => this.onSocket(socket));
  }

  private onSocket(socket: Socket): void {
    if (plaintextPort(this.context.snapshot) === null) this.shake(socket);
    else this.sniff(socket);
  }

  /** Begins the handshake, now or in its turn. */
  private shake(socket: Socket): void {
    // Nobody else listens until it begins.
    const onError = (): void => {};
    socket.on('error', onError);
    const entered = this.gate.enter(() => {
      socket.removeListener('error', onError);
      secure(this.tls, socket);
    });
    if (entered) return;
    this.context.guard('inbound', 'handshakes');
    socket.destroy();
  }

  /** Slow path: only while one port is OFF. The first byte says whether TLS begins here. */
  private sniff(socket: Socket): void {
    const timer = new WheelTimer(() => {
      this.context.guard('inbound', 'detectTimeout');
      socket.destroy();
    });
    this.context.wheel.arm(timer, LIMITS.detectTimeoutMs);
    const onError = (): void => {};
    socket.on('error', onError);
    socket.once('close', () => this.context.wheel.cancel(timer));
    socket.once('readable', () => {
      this.context.wheel.cancel(timer);
      const chunk: Buffer | null = socket.read();
      if (chunk === null) return void socket.destroy();
      socket.unshift(chunk);
      socket.removeListener('error', onError);
      if (chunk[0] === TLS_HANDSHAKE) return this.shake(socket);
      const port = plaintextPort(this.context.snapshot);
      if (port === null) return this.refuse(socket, 'plaintext');
      this.serve(socket, port, null, null);
    });
  }

  private onSecure(socket: TLSSocket): void {
    // Asked again: the configuration may have changed during the handshake.
    const port = portOf(this.context.snapshot, socket.servername || '');
    if (port === null) return this.refuse(socket, 'serverName');
    const peer = this.identify(socket);
    // Who is revoked is not let in as nobody either.
    if (typeof peer === 'string' && (port.own.tls === 'mutual' || peer === 'revoked')) return this.refuse(socket, peer);
    this.serve(socket, port, typeof peer === 'string' ? null : peer, socket.alpnProtocol || 'http/1.1');
  }

  private identify(socket: TLSSocket): PeerIdentity | HandshakeFailure {
    const failure = certificateFailure(socket);
    if (failure !== null) return failure;
    const certificate = socket.getPeerX509Certificate();
    if (certificate?.ca === true) return 'authority';
    const peer = peerOf(certificate?.raw ?? Buffer.alloc(0), this.context.start.trustDomain);
    if (typeof peer === 'string' || certificate === undefined) return peer;
    const { peers } = this.context;
    const shown = { serial: certificate.serialNumber, spiffeId: peer.spiffeId };
    if (peers.refusal(shown) !== null) return 'revoked';
    const release = peers.hold({ ...shown, side: 'inbound', end: (error) => void socket.destroy(error) });
    socket.once('close', release);
    return peer;
  }

  /** @param alpn null: in the clear, where the first bytes tell. */
  private serve(socket: Socket, port: InboundPort, peer: PeerIdentity | null, alpn: string | null): void {
    const addresses = (): ProxiedAddresses | null => addressesOf(socket, 'accepted');
    const origin: Origin = { direction: 'inbound', service: port.service, port: port.own.port, peer, addresses };
    const wire = new WireSocket(socket);
    if (alpn === null && port.own.acceptProxy === true) this.serveProxied(socket, wire, port, origin);
    else this.serveWire(wire, port, origin, alpn);
  }

  /** What is said of the caller's address is taken from its PROXY header, which must be there. */
  private serveProxied(socket: Socket, wire: WireSocket, port: InboundPort, origin: Origin): void {
    const untrack = this.context.track(undecided('inbound', wire));
    readProxyHeader(
      this.context,
      wire,
      (proxied) => {
        untrack();
        this.serveWire(wire, port, { ...origin, proxied, addresses: () => proxied }, null);
      },
      (reason) => {
        untrack();
        this.context.series.counter('proxyHeaders', port.service, reason).add(1);
        this.refuse(socket, 'proxyHeader');
      },
      untrack,
    );
  }

  private serveWire(wire: WireSocket, port: InboundPort, origin: Origin, alpn: string | null): void {
    const { peer } = origin;
    const settings = {
      listener: 'inbound' as const,
      scheme: alpn === null ? ('http' as const) : ('https' as const),
      streamsMax: peer === null ? LIMITS.strangerStreamsMax : LIMITS.peerStreamsMax,
    };
    const { accept } = new RequestServer(this.context, origin, null, connectHook(this.context, port, origin));
    if (alpn !== null) serveConnection(this.context, wire, alpn === 'h2' ? 'http2' : 'http1', accept, settings);
    else if (port.own.protocol === 'tcp') admitOpaque(this.context, origin, wire);
    else if (port.own.protocol === 'detect') serveDetected(this.context, wire, origin);
    else serveClear(this.context, wire, accept, settings);
  }

  private refuse(socket: Socket, reason: HandshakeFailure): void {
    this.count(reason, socket);
    socket.on('error', () => {});
    socket.destroy();
  }

  private count(reason: HandshakeFailure, socket: Socket): void {
    this.refusals.note(reason, socket.remoteAddress ?? '');
    this.context.series.counter('handshakes', reason).add(1);
  }
}
