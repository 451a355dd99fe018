// TLS as mesh connections use it: 1.3 only, no resumption, one context for both roles, and a server that takes
// accepted sockets and says of every handshake how it ended, in words from a closed set. And TLS towards servers
// outside the mesh, where 1.2 is still met.

import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import { createSecureContext, createServer, type SecureContext, type Server, type TLSSocket } from 'node:tls';

/** What both roles present and trust. PEM. */
export interface TlsMaterial {
  readonly privateKeyPem: string;
  /** Leaf first, without the root. */
  readonly chainPem: string;
  readonly rootsPem: readonly string[];
}

/**
 * No resumption: Node tells nothing of the peer's certificate on a resumed connection but what the session remembers, so
 * one would carry a certificate past its end, past the removal of its root, and past its revocation. Without tickets
 * TLS 1.3 falls back to sessions in the server's cache, and Node keeps none. Mesh connections live long, so that
 * little would be saved; towards servers outside the mesh see wire/sessions.ts.
 */
const SECURE_OPTIONS = constants.SSL_OP_NO_TICKET;

/**
 * Key exchange in the order of preference: first the hybrid of X25519 and ML-KEM-768 (draft-ietf-tls-ecdhe-mlkem), so that
 * what is recorded today is not read by the quantum computer of a later day; then what peers without it have. A peer
 * of the mesh takes the first; the fallback costs no round trip, since both shares are sent at once.
 */
const GROUPS = 'X25519MLKEM768:X25519:P-256';

/** All of TLS 1.3 that Node has: authenticated encryption only (RFC 8446 §B.4), 256 bits first, which Grover's algorithm halves. */
const CIPHERS_1_3 = 'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256';

/** Of TLS 1.2 the ones with forward secrecy and authenticated encryption (RFC 9325 §4.2, Mozilla's intermediate list less finite-field DH). */
const CIPHERS_1_2 =
  'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305';

/** The oldest version towards a server outside the mesh. */
export type OutwardVersion = 'TLSv1.2' | 'TLSv1.3';

/** Both protocols of the inbound port; HTTP/2 first, as sidecars ask for it. */
const ALPN_PROTOCOLS = ['h2', 'http/1.1'];

/** Key, chain and roots for TLS 1.3 in both roles. Throws when the PEM is not usable, or key and chain do not belong together. */
export function createMeshContext(material: TlsMaterial): SecureContext {
  return createSecureContext({
    key: material.privateKeyPem,
    cert: material.chainPem,
    ca: [...material.rootsPem],
    minVersion: 'TLSv1.3',
    ciphers: CIPHERS_1_3,
    ecdhCurve: GROUPS,
    secureOptions: SECURE_OPTIONS,
  });
}

/**
 * Trust alone, towards servers that are verified by name. Throws when the PEM is not usable.
 * @param rootsPem empty: the public roots.
 */
export function createOutwardContext(rootsPem: string, minVersion: OutwardVersion): SecureContext {
  const ciphers = minVersion === 'TLSv1.3' ? CIPHERS_1_3 : `${CIPHERS_1_3}:${CIPHERS_1_2}`;
  return createSecureContext({ minVersion, ciphers, ecdhCurve: GROUPS, ...(rootsPem === '' ? {} : { ca: rootsPem }) });
}

/** What a handshake as client agreed on; a closed set, as these are label values. */
export interface HandshakeFacts {
  readonly version: 'TLSv1.3' | 'TLSv1.2';
  readonly group: 'X25519MLKEM768' | 'X25519' | 'P-256' | 'other';
  readonly resumed: boolean;
}

/** Asked of a client's socket that is secure; servers are not told the group by Node. */
export function handshakeFacts(socket: TLSSocket): HandshakeFacts {
  const info = socket.getEphemeralKeyInfo();
  return {
    version: socket.getProtocol() === 'TLSv1.3' ? 'TLSv1.3' : 'TLSv1.2',
    group: groupOf(info !== null && 'name' in info ? (info.name ?? '') : ''),
    resumed: socket.isSessionReused(),
  };
}

function groupOf(name: string): HandshakeFacts['group'] {
  if (name === 'X25519MLKEM768' || name === 'X25519') return name;
  return name === 'prime256v1' ? 'P-256' : 'other';
}

/** Why a handshake failed. A closed set: these are label values. */
export type HandshakeFailure =
  | 'timeout'
  | 'closed' // the peer left, or its network did
  | 'protocol' // not TLS, an older version, or nothing in common
  | 'alpn' // neither h2 nor http/1.1 was offered
  | 'noIdentity' // this sidecar has no certificate yet
  | 'serverName' // none, or one that no application here answers to
  | 'noCertificate'
  | 'untrusted' // not signed by a root of this mesh
  | 'expired' // or not valid yet
  | 'authority' // a certificate that may sign others names nobody (X509-SVID §5.2)
  | 'spiffeId' // not exactly one, or not of SPIFFE's form
  | 'trustDomain'
  | 'revoked' // the certificate, or its identity
  | 'plaintext' // no port here allows it
  | 'proxyHeader'; // in the clear without the PROXY header that the port asks for

/** What a TLS server asks and tells. */
export interface MeshServerOptions {
  readonly handshakeTimeoutMs: number;
  /** The context for a server name (SNI), or why there is none. Asked for each handshake, so that a new identity holds for the next connection. */
  contextFor(serverName: string): SecureContext | HandshakeFailure;
  /** A handshake is complete; what the peer showed, if anything, is still to be judged by `certificateFailure`. */
  onSecure(socket: TLSSocket): void;
  /** @param socket its peer's address may be known no longer. */
  onFailure(reason: HandshakeFailure, socket: TLSSocket): void;
}

/** A TLS server without a port of its own: it is handed accepted sockets (`emit('connection', socket)`). Client certificates are asked for, and required by who calls `certificateFailure`. */
export function createMeshServer(options: MeshServerOptions): Server {
  const refused = new WeakMap<Error, HandshakeFailure>();
  const server = createServer({
    allowHalfOpen: true,
    minVersion: 'TLSv1.3',
    ciphers: CIPHERS_1_3,
    ecdhCurve: GROUPS,
    secureOptions: SECURE_OPTIONS,
    handshakeTimeout: options.handshakeTimeoutMs,
    ALPNProtocols: ALPN_PROTOCOLS,
    requestCert: true,
    // Which ports demand a certificate follows from the server name, which Node does not know when it sets this.
    rejectUnauthorized: false,
    SNICallback: (serverName, done) => {
      const context = options.contextFor(serverName);
      if (typeof context !== 'string') return done(null, context);
      const error = new Error(`handshake refused: ${context}`);
      refused.set(error, context);
      done(error);
    },
  });
  server.on('secureConnection', (socket) => {
    socket.allowHalfOpen = true;
    options.onSecure(socket);
  });
  server.on('tlsClientError', (error, socket) => options.onFailure(refused.get(error) ?? failureOf(error), socket));
  return server;
}

/** Hands an accepted socket to the server; what was read of it must have been put back (`unshift`). */
export function secure(server: Server, socket: Socket): void {
  // Who ends its side within the handshake cannot complete it, and would hold its place until the timeout.
  socket.allowHalfOpen = false;
  server.emit('connection', socket);
}

/** What is wrong with the chain that the client showed, or null. To be asked once the handshake is complete. */
export function certificateFailure(socket: TLSSocket): HandshakeFailure | null {
  if (socket.getPeerX509Certificate() === undefined) return 'noCertificate';
  if (socket.authorized) return null;
  const code = String(socket.authorizationError);
  return code.startsWith('CERT_HAS_EXPIRED') || code.startsWith('CERT_NOT_YET_VALID') ? 'expired' : 'untrusted';
}

function failureOf(error: NodeJS.ErrnoException): HandshakeFailure {
  switch (error.code) {
    case 'ERR_TLS_HANDSHAKE_TIMEOUT':
      return 'timeout';
    case 'ECONNRESET':
    case 'EPIPE':
      return 'closed';
    case 'ERR_SSL_NO_APPLICATION_PROTOCOL':
      return 'alpn';
    default:
      // No server name: the default context has no certificate, so nothing can be agreed on.
      return error.code === 'ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM' || error.code === 'ERR_SSL_NO_SHARED_CIPHER'
        ? 'serverName'
        : 'protocol';
  }
}
