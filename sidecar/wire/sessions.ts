// TLS sessions to take up again with a server outside the mesh: half a handshake, and less of a round trip with 1.2. Not
// between sidecars: Node hands over a resumed session without checking the certificate's dates, the roots and
// revocations again, and mesh connections live so long that little would be won.

import type { TLSSocket } from 'node:tls';

/** Sessions kept for one endpoint's dials: OpenSSL's servers give two a connection, and a pool dials a few at once. */
const SESSIONS_MAX = 4;

/** For servers of one name and one set of roots; a change of either needs a new one. */
export class OutwardSessions {
  private readonly kept: Buffer[] = [];

  /** The newest, which is used once: a ticket shown twice would let an observer link the two connections (RFC 8446 §C.4). */
  take(): Buffer | undefined {
    return this.kept.pop();
  }

  /** Keeps what the server gives. Node emits a session only once the server's certificate has been verified. */
  collect(socket: TLSSocket): void {
    socket.on('session', (session: Buffer) => this.keep(session));
    socket.once('secureConnect', () => {
      // A 1.2 session goes by a name in the clear anyway, and its server gives no other for it.
      const again = socket.isSessionReused() && socket.getProtocol() === 'TLSv1.2' ? socket.getSession() : undefined;
      if (again !== undefined) this.keep(again);
    });
  }

  private keep(session: Buffer): void {
    if (this.kept.length >= SESSIONS_MAX) this.kept.shift();
    this.kept.push(session);
  }
}
