// TLS as mesh connections use it: 1.3 only, no resumption, one context for both roles, and a server that takes
// accepted sockets and says of every handshake how it ended, in words from a closed set.

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
 * No tickets: a resumed session would carry a certificate past its end, and past the removal of the root that it
 * was verified by. Mesh connections live long, so resumption would save little.
 */
const SECURE_OPTIONS = constants.SSL_OP_NO_TICKET;

/** Both protocols of the inbound port; HTTP/2 first, as sidecars ask for it. */
const ALPN_PROTOCOLS = ['h2', 'http/1.1'];

/** Key, chain and roots for TLS 1.3 in both roles. Throws when the PEM is not usable, or key and chain do not belong together. */
export function createMeshContext(material: TlsMaterial): SecureContext {
  return createSecureContext({
    key: material.privateKeyPem,
    cert: material.chainPem,
    ca: [...material.rootsPem],
    minVersion: 'TLSv1.3',
    secureOptions: SECURE_OPTIONS,
  });
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
  | 'spiffeId' // not exactly one, or not of SPIFFE's form
  | 'trustDomain'
  | 'plaintext'; // no port here allows it

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
  server.on('secureConnection', (socket) => options.onSecure(socket));
  server.on('tlsClientError', (error, socket) => options.onFailure(refused.get(error) ?? failureOf(error), socket));
  return server;
}

/** Hands an accepted socket to the server; what was read of it must have been put back (`unshift`). */
export function secure(server: Server, socket: Socket): void {
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
