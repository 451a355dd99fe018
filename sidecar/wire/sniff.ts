// Which HTTP a client speaks in the clear: HTTP/2 with prior knowledge begins with its preface (RFC 9113 §3.3), and
// everything else is for the HTTP/1.1 parser to judge.

import type { SocketEvents, WireSocket } from './socket.ts';

/** As far as no HTTP/1.1 request line can follow it. */
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n', 'latin1');

/**
 * Reads the first bytes and then calls `found`, which must give the socket its codec; the codec then gets those bytes.
 * A client that says nothing for `timeoutMs` is disconnected. `gone` is called, once, if the connection ends before.
 */
export function detectHttp(
  socket: WireSocket,
  timeoutMs: number,
  found: (protocol: 'http1' | 'http2') => void,
  gone: () => void,
): void {
  socket.events = new Detector(socket, timeoutMs, found, gone);
}

class Detector implements SocketEvents {
  private readonly socket: WireSocket;
  private readonly found: (protocol: 'http1' | 'http2') => void;
  private readonly gone: () => void;
  private readonly timer: NodeJS.Timeout;
  private matched = 0;

  constructor(socket: WireSocket, timeoutMs: number, found: (protocol: 'http1' | 'http2') => void, gone: () => void) {
    this.socket = socket;
    this.found = found;
    this.gone = gone;
    this.timer = setTimeout(() => socket.destroy(), timeoutMs);
    this.timer.unref();
  }

  onBytes(chunk: Uint8Array): void {
    const before = this.matched;
    let at = 0;
    while (this.matched < PREFACE.length && at < chunk.length && chunk[at] === PREFACE[this.matched]) {
      at++;
      this.matched++;
    }
    // All of it fits so far: the next chunk decides.
    if (at === chunk.length && this.matched < PREFACE.length) return;
    clearTimeout(this.timer);
    const { socket } = this;
    this.found(this.matched === PREFACE.length ? 'http2' : 'http1');
    // What was held back equals the preface's beginning. The codec may end the connection at the first bytes.
    if (before > 0) socket.events.onBytes(PREFACE.subarray(0, before));
    if (!socket.isClosed) socket.events.onBytes(chunk);
  }

  onDrain(): void {}

  onEnd(): void {
    this.socket.end();
  }

  onClose(): void {
    clearTimeout(this.timer);
    this.gone();
  }
}
