// From an endpoint's address to a connection that carries streams: TCP or TLS, then the codec that the Service
// declares. The one place that knows both pools and codecs.

import { connect as connectTcp, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type SecureContext, type TLSSocket } from 'node:tls';
import { authority } from '../../proto/kit/bind-error.ts';
import { uriName } from '../../proto/kit/san.ts';
import type { GuardName } from '../base/guards.ts';
import { LIMITS } from '../base/limits.ts';
import type { LivePeers } from '../identity/revoked.ts';
import { type ErrorKind, ProxyError } from '../wire/error.ts';
import { Http1ClientConnection } from '../wire/http1/client.ts';
import { Http2ClientConnection } from '../wire/http2/client.ts';
import { KEEPALIVE_MS, MESH_KEEPALIVE_MS } from '../wire/http2/limits.ts';
import type { OutwardSessions } from '../wire/sessions.ts';
import { WireSocket } from '../wire/socket.ts';
import { type HandshakeFacts, handshakeFacts } from '../wire/tls.ts';
import { OpaqueStream } from './opaque.ts';
import type { Connect, ConnectionObserver } from './pool.ts';
import { Race } from './race.ts';

/** TLS towards one endpoint. The peer is always verified: by the context's roots, and by `verify` where a mesh identity is due. */
export interface EndpointTls {
  context: SecureContext;
  /** SNI; between sidecars `port.service.namespace`. */
  serverName: string;
  alpn: 'h2' | 'http/1.1';
  /** Says what is wrong with the peer's certificate (DER), or null. Null: the name must match `serverName`, as on the web. */
  verify: ((certificate: Buffer) => string | null) | null;
  /** Where a mesh peer is held while it is connected; null: not of the mesh. */
  peers: LivePeers | null;
  /** Of this endpoint's earlier connections; null: none is taken up again. */
  sessions: OutwardSessions | null;
}

/** Hears what happens on the connections of an endpoint. */
export interface DialObserver {
  /** A message broke HTTP; the reason is a label. */
  onMalformed(reason: string): void;
  /** A guard ended the connection: a flood, or no answer to a PING. The name is a label. */
  onGuard(name: GuardName): void;
  /** TLS is agreed on, before the peer is verified. */
  onHandshake(facts: HandshakeFacts): void;
}

const NOBODY: DialObserver = { onMalformed() {}, onGuard() {}, onHandshake() {} };

export interface EndpointAddress {
  /** IPv4 or IPv6. */
  host: string;
  port: number;
  /** Other addresses of the same name, in the order in which they are dialled when `host` fails or does not answer at once; left out or empty: none. */
  alternates?: readonly string[];
  /** A unix socket, dialled in place of host and port. */
  path?: string;
  /** `tcp`: opaque, one stream a connection. */
  protocol: 'http1' | 'http2' | 'tcp';
  tls: EndpointTls | null;
  /** `tcp` in the clear: version of the PROXY header that it begins with; 0 by default: none. */
  sendProxy?: 0 | 1 | 2;
  /** To an established connection, TLS included; 1 s by default (Linkerd). */
  connectTimeoutMs: number;
}

/**
 * How a pool dials `address`.
 * @param onAlternate hears which of the alternates a connection has gone to.
 */
export function connectorTo(
  address: EndpointAddress,
  heard: DialObserver = NOBODY,
  onAlternate: (host: string) => void = () => {},
): Connect {
  return (observer) => {
    const dial = new Dial(address, observer, heard, onAlternate);
    return () => dial.abandon();
  };
}

/** As those of listeners: see listen/bind.ts. Half-open: a peer may end its side and still read. */
const SOCKET_OPTIONS = {
  allowHalfOpen: true,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: LIMITS.keepAliveIdleMs,
} as const;

/** The making of one connection: it becomes ready or it is gone, once. */
class Dial {
  private readonly address: EndpointAddress;
  private readonly observer: ConnectionObserver;
  private readonly heard: DialObserver;
  private readonly timer: NodeJS.Timeout;
  /** While it is open which of several addresses it will be. */
  private race: Race | null = null;
  private socket: Socket | null = null;
  /** For people; of several addresses the first, until one has won. */
  private where: string;
  private settled = false;

  constructor(
    address: EndpointAddress,
    observer: ConnectionObserver,
    heard: DialObserver,
    onAlternate: (host: string) => void,
  ) {
    this.address = address;
    this.observer = observer;
    this.heard = heard;
    this.where = whereIs(address);
    // Dialling is rare beside requests, so a plain timer is fine here.
    this.timer = setTimeout(() => this.onTimeout(), address.connectTimeoutMs);
    if (address.alternates === undefined || address.alternates.length === 0) this.follow(open(address));
    else this.race = this.begin([address.host, ...address.alternates], onAlternate);
  }

  abandon(): void {
    this.settled = true;
    clearTimeout(this.timer);
    this.race?.close();
    this.socket?.destroy();
  }

  private begin(hosts: readonly string[], onAlternate: (host: string) => void): Race {
    const { port, tls } = this.address;
    return new Race(hosts, (host) => connectTcp({ host, port, ...SOCKET_OPTIONS }), {
      onConnected: (socket, host) => {
        this.race = null;
        this.where = authority(host, port);
        if (host !== hosts[0]) onAlternate(host);
        // The host is the name that the certificate must have where no server name is given.
        if (tls !== null) this.follow(openTls(tls, { socket, host }));
        else this.establish(socket);
      },
      onFailed: (error) => this.fail('connectFailed', `connection to ${this.where} failed: ${error.message}`, error),
    });
  }

  private follow(socket: Socket): void {
    this.socket = socket;
    socket.on('error', this.onError);
    socket.once(this.address.tls === null ? 'connect' : 'secureConnect', () => this.establish(socket));
  }

  private establish(socket: Socket): void {
    if (this.settled) return;
    this.socket = socket;
    const { address, heard } = this;
    if (address.tls !== null) heard.onHandshake(handshakeFacts(socket as TLSSocket));
    const wrong = verifyPeer(address, socket);
    if (wrong !== null) {
      this.fail('tlsFailed', `${this.where} ${wrong}`);
      return;
    }
    this.settled = true;
    clearTimeout(this.timer);
    socket.removeListener('error', this.onError);
    attach(address, new WireSocket(socket), this.observer, heard);
  }

  private readonly onError = (error: NodeJS.ErrnoException): void => {
    // Whatever fails behind the system call fails in the handshake: a clear connection is settled by then.
    const kind = error.syscall === 'connect' ? 'connectFailed' : 'tlsFailed';
    this.fail(kind, `connection to ${this.where} failed: ${error.message}`, error);
  };

  private onTimeout(): void {
    const tried = this.race === null ? '' : ` (${this.race.report()})`;
    const detail = `connection to ${this.where} timed out after ${this.address.connectTimeoutMs} ms${tried}; is a network policy blocking the port?`;
    this.fail('connectTimeout', detail);
  }

  private fail(kind: ErrorKind, detail: string, cause: Error | null = null): void {
    if (this.settled) return;
    this.abandon();
    this.observer.onGone(new ProxyError(kind, 'upstream', detail, 'yes', cause));
  }
}

/** To the one address there is. */
function open({ host, port, path, tls }: EndpointAddress): Socket {
  const options = { ...(path === undefined ? { host, port } : { path }), ...SOCKET_OPTIONS };
  return tls === null ? connectTcp(options) : openTls(tls, options);
}

/** @param over where to connect, or the connected socket. */
function openTls({ context, serverName, alpn, verify, sessions }: EndpointTls, over: ConnectionOptions): TLSSocket {
  const session = sessions?.take();
  const socket = connectTls({
    ...over,
    secureContext: context,
    servername: serverName,
    ALPNProtocols: [alpn],
    // A mesh peer proves a SPIFFE id, not a DNS name: `verify` replaces the name check, never the chain check.
    ...(verify === null ? {} : { checkServerIdentity: () => undefined }),
    ...(session === undefined ? {} : { session }),
  });
  sessions?.collect(socket);
  return socket;
}

/** As people read it. */
export function whereIs({ host, port, path }: Pick<EndpointAddress, 'host' | 'port' | 'path'>): string {
  return path === undefined ? authority(host, port) : `unix:${path}`;
}

function verifyPeer(address: EndpointAddress, socket: Socket): string | null {
  if (address.tls === null) return null;
  const secure = socket as TLSSocket;
  // A web server without ALPN speaks HTTP/1.1 (RFC 7301 §3.2); HTTP/2 must have been agreed (RFC 9113 §3.2).
  const agreed = secure.alpnProtocol === address.tls.alpn || (!secure.alpnProtocol && address.tls.alpn === 'http/1.1');
  if (!agreed) return `did not agree to ALPN ${address.tls.alpn}; does it speak that protocol?`;
  if (address.tls.verify === null) return null;
  const certificate = secure.getPeerX509Certificate();
  // X509-SVID §5.2: whoever may sign others names nobody.
  if (certificate?.ca === true) return 'showed the certificate of an authority; that of a workload must be a leaf';
  const raw = certificate?.raw ?? Buffer.alloc(0);
  const wrong = address.tls.verify(raw);
  const { peers } = address.tls;
  if (wrong !== null || peers === null || certificate === undefined) return wrong;
  const peer = { serial: certificate.serialNumber, spiffeId: uriName(raw) ?? '' };
  const revoked = peers.refusal(peer);
  if (revoked !== null) return revoked;
  const release = peers.hold({ ...peer, side: 'outbound', end: (error) => void secure.destroy(error) });
  secure.once('close', release);
  return null;
}

function attach(address: EndpointAddress, wire: WireSocket, observer: ConnectionObserver, heard: DialObserver): void {
  if (address.protocol === 'http2') {
    const connection = new Http2ClientConnection(wire, {
      onClose: () => observer.onGone(null),
      onRoom: () => observer.onRoom(),
      onMalformed: (reason) => heard.onMalformed(reason),
      onGuard: (name) => heard.onGuard(name),
      // A mesh identity is checked: the peer is a sidecar, which minds no PING.
      keepaliveMs: address.tls !== null && address.tls.verify !== null ? MESH_KEEPALIVE_MS : KEEPALIVE_MS,
    });
    observer.onReady({
      get hasRoom() {
        return connection.hasRoom;
      },
      get activeStreams() {
        return connection.activeStreams;
      },
      open: (events) => connection.open(events),
      close: () => connection.close(),
    });
    return;
  }
  if (address.protocol === 'tcp') {
    attachOpaque(wire, observer, address.tls === null ? (address.sendProxy ?? 0) : 0);
    return;
  }
  let closing = false;
  const connection = new Http1ClientConnection(wire, {
    onClose: () => observer.onGone(null),
    onMalformed: (reason) => heard.onMalformed(reason),
    onIdle: () => {
      if (closing) wire.end();
      else observer.onRoom();
    },
  });
  observer.onReady({
    get hasRoom() {
      return !closing && connection.idle;
    },
    get activeStreams() {
      return connection.idle ? 0 : 1;
    },
    open: (events) => (connection.idle ? connection.open(events) : null),
    close: () => {
      closing = true;
      if (connection.idle) wire.end();
    },
  });
}

/** One stream, which takes the connection with it. */
function attachOpaque(wire: WireSocket, observer: ConnectionObserver, sendProxy: 0 | 1 | 2): void {
  let taken = false;
  wire.socket.once('close', () => observer.onGone(null));
  observer.onReady({
    get hasRoom() {
      return !taken && !wire.isClosed;
    },
    get activeStreams() {
      return taken ? 1 : 0;
    },
    open: (events) => {
      taken = true;
      return new OpaqueStream(wire, events, sendProxy);
    },
    close: () => {
      if (!taken) wire.destroy();
    },
  });
}
