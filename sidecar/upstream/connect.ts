// From an endpoint's address to a connection that carries streams: TCP or TLS, then the codec that the Service
// declares. The one place that knows both pools and codecs.

import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type SecureContext, type TLSSocket } from 'node:tls';
import { authority } from '../../proto/kit/bind-error.ts';
import { uriName } from '../../proto/kit/san.ts';
import type { GuardName } from '../base/guards.ts';
import { LIMITS } from '../base/limits.ts';
import type { LivePeers } from '../identity/revoked.ts';
import { ProxyError } from '../wire/error.ts';
import { Http1ClientConnection } from '../wire/http1/client.ts';
import { Http2ClientConnection } from '../wire/http2/client.ts';
import { KEEPALIVE_MS, MESH_KEEPALIVE_MS } from '../wire/http2/limits.ts';
import type { OutwardSessions } from '../wire/sessions.ts';
import { WireSocket } from '../wire/socket.ts';
import { type HandshakeFacts, handshakeFacts } from '../wire/tls.ts';
import { OpaqueStream } from './opaque.ts';
import type { Connect, ConnectionObserver } from './pool.ts';

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
  /** An address of the other family and the same name, dialled when `host` refuses or does not answer at once; left out: none. */
  alternate?: string;
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

/** How a pool dials `address`. */
export function connectorTo(address: EndpointAddress, heard: DialObserver = NOBODY): Connect {
  return (observer) => dial(address, observer, heard);
}

/** As those of listeners: see listen/bind.ts. Half-open: a peer may end its side and still read. */
const SOCKET_OPTIONS = {
  allowHalfOpen: true,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: LIMITS.keepAliveIdleMs,
} as const;

function dial(address: EndpointAddress, observer: ConnectionObserver, heard: DialObserver): () => void {
  let wire: WireSocket | null = null;
  const socket = open(address);
  let settled = false;
  const fail = (error: ProxyError): void => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    socket.destroy();
    observer.onGone(error);
  };
  // Dialling is rare beside requests, so a plain timer is fine here.
  const timer = setTimeout(() => {
    const detail = `connection to ${whereIs(address)} timed out after ${address.connectTimeoutMs} ms; is a network policy blocking the port?`;
    fail(new ProxyError('connectTimeout', 'upstream', detail, 'yes'));
  }, address.connectTimeoutMs);
  const onError = (error: NodeJS.ErrnoException): void => {
    // Whatever fails behind the system call fails in the handshake: a clear connection is settled by then.
    const isConnect = error.syscall === 'connect' || error instanceof AggregateError;
    const kind = isConnect ? 'connectFailed' : 'tlsFailed';
    const detail = `connection to ${whereIs(address)} failed: ${messageOf(error)}`;
    fail(new ProxyError(kind, 'upstream', detail, 'yes', error));
  };
  socket.on('error', onError);
  socket.once(address.tls === null ? 'connect' : 'secureConnect', () => {
    if (settled) return;
    if (address.tls !== null) heard.onHandshake(handshakeFacts(socket as TLSSocket));
    const wrong = verifyPeer(address, socket);
    if (wrong !== null) {
      fail(new ProxyError('tlsFailed', 'upstream', `${whereIs(address)} ${wrong}`, 'yes'));
      return;
    }
    settled = true;
    clearTimeout(timer);
    socket.removeListener('error', onError);
    wire = new WireSocket(socket);
    attach(address, wire, observer, heard);
  });
  return () => {
    settled = true;
    clearTimeout(timer);
    socket.destroy();
  };
}

function open(address: EndpointAddress): Socket {
  const options = { ...destination(address), ...SOCKET_OPTIONS };
  if (address.tls === null) return connectTcp(options);
  const { context, serverName, alpn, verify, sessions } = address.tls;
  const session = sessions?.take();
  const socket = connectTls({
    ...options,
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

/** One address, or two of which the second is tried after `LIMITS.nextAddressMs` (RFC 8305, as far as Node goes: it gives the first up then). */
function destination({ host, port, alternate, path }: EndpointAddress) {
  if (path !== undefined) return { path };
  if (alternate === undefined) return { host, port };
  const both = [host, alternate].map((one) => ({ address: one, family: isIP(one) }));
  return {
    // A name that is never asked for: `lookup` has its addresses.
    host: 'both.families.invalid',
    port,
    lookup: (_name: string, _options: unknown, done: LookupDone) => done(null, both),
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: LIMITS.nextAddressMs,
  };
}

type LookupDone = (error: null, addresses: { readonly address: string; readonly family: number }[]) => void;

/** What went wrong, with each address where there were two. */
function messageOf(error: NodeJS.ErrnoException): string {
  return error instanceof AggregateError ? error.errors.map(({ message }: Error) => message).join('; ') : error.message;
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
