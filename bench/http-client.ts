// The HTTP/1.1 client of the load programs that Node runs (handshakes, idle connections, latency at a fixed rate): as
// little as answers with a content length need, so that the load costs less than what it measures.

import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, type SecureContext } from 'node:tls';

/** Where to connect, and as whom. */
export interface ClientTarget {
  /** On loopback. */
  readonly port: number;
  /** SNI; null: in the clear. */
  readonly sni: string | null;
  /** PEM of the client's key and chain; null: no client certificate. */
  readonly identity: { readonly key: string; readonly chain: string } | null;
}

/** What the load programs send; `close`: the last request of its connection. */
export function requestText(path: string, close = false): string {
  return `GET ${path} HTTP/1.1\r\nhost: echo\r\n${close ? 'connection: close\r\n' : ''}\r\n`;
}

const HEAD_END = '\r\n\r\n';

/** One connection with at most one request under way. */
export class ClientConnection {
  readonly socket: Socket;
  private head = '';
  /** Bytes of the body that are still to come; -1: the head is not whole yet. */
  private left = -1;
  private status = 0;
  private done: ((status: number) => void) | null = null;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => this.take(chunk));
    socket.on('error', () => {});
    socket.on('close', () => this.finish(0));
  }

  /** Sends a request; `done` is told the status once the answer is whole, or 0 when the connection broke before. */
  ask(request: string, done: (status: number) => void): void {
    this.done = done;
    if (this.socket.destroyed) this.finish(0);
    else this.socket.write(request, 'latin1');
  }

  private take(chunk: Buffer): void {
    if (this.left >= 0) this.left -= chunk.length;
    else {
      this.head += chunk.toString('latin1');
      const end = this.head.indexOf(HEAD_END);
      if (end < 0) return;
      this.status = Number(this.head.slice(9, 12));
      const length = /\r\ncontent-length: *(\d+)/i.exec(this.head.slice(0, end));
      this.left = Number(length?.[1] ?? 0) - (this.head.length - end - HEAD_END.length);
    }
    if (this.left > 0) return;
    this.head = '';
    this.left = -1;
    this.finish(this.status);
  }

  private finish(status: number): void {
    const { done } = this;
    this.done = null;
    done?.(status);
  }
}

/** Makes connections to one target: TLS 1.3 without resumption, over X25519 whatever a proxy would prefer. */
export function connector({ port, sni, identity }: ClientTarget): () => ClientConnection {
  if (sni === null) return () => new ClientConnection(connectTcp({ port, host: '127.0.0.1', noDelay: true }));
  const certificate = identity === null ? {} : { key: identity.key, cert: identity.chain };
  // Made once: reading keys for each connection would cost more than a handshake.
  const secureContext: SecureContext = createSecureContext({
    ...certificate,
    minVersion: 'TLSv1.3',
    ecdhCurve: 'X25519',
  });
  return () => {
    // What the proxy shows is not looked at: its own work is measured.
    const options = { secureContext, servername: sni, ALPNProtocols: ['http/1.1'], rejectUnauthorized: false };
    return new ClientConnection(connectTls({ port, host: '127.0.0.1', ...options }));
  };
}
