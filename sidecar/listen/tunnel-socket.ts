// The bytes inside a CONNECT as a connection of their own, so that the codecs serve a tunnel as they serve a socket.

import { ProxyError } from '../wire/error.ts';
import { type ByteConnection, guard, SILENT, type SocketEvents } from '../wire/socket.ts';
import type { HttpStream, StreamEvents } from '../wire/stream.ts';

/** Both faces: a stream's events on one side, a connection on the other. */
class TunnelSocket implements StreamEvents, ByteConnection {
  /** The stream's own socket gathers the writes of a turn, and bounds them. */
  readonly bufferedBytes = 0;
  readonly takenBytes = 0;
  events: SocketEvents = SILENT;
  private readonly stream: HttpStream;
  private localEnded = false;
  private remoteEnded = false;
  private closed = false;

  constructor(stream: HttpStream) {
    this.stream = stream;
  }

  get isClosed(): boolean {
    return this.closed;
  }

  write(piece: string | Uint8Array): boolean {
    if (this.closed || this.localEnded) return true;
    return this.stream.writeData(typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece, false);
  }

  pass(piece: Uint8Array): boolean {
    return this.write(piece);
  }

  writeCopy(bytes: Buffer, length: number): boolean {
    return this.write(Buffer.from(bytes.subarray(0, length)));
  }

  end(): void {
    if (this.closed || this.localEnded) return;
    this.localEnded = true;
    this.stream.writeEnd(null);
    this.closeIfOver();
  }

  destroy(error: Error | null = null): void {
    if (this.closed) return;
    this.closed = true;
    this.stream.reset(new ProxyError('cancelled', 'local', error?.message ?? 'the tunnel was closed'));
    queueMicrotask(() => this.tellClose(error));
  }

  destroySoon(): void {
    this.end();
    this.destroy();
  }

  pause(): void {
    this.stream.pause();
  }

  resume(): void {
    this.stream.resume();
  }

  guard(run: () => void): void {
    guard(this, run);
  }

  onHead(): void {}

  onData(chunk: Uint8Array, end: boolean): void {
    if (chunk.length > 0) this.guard(() => this.events.onBytes(chunk));
    if (end) this.onEnd();
  }

  onEnd(): void {
    if (this.remoteEnded || this.closed) return;
    this.remoteEnded = true;
    this.guard(() => this.events.onEnd());
    this.closeIfOver();
  }

  onDrain(): void {
    this.guard(() => this.events.onDrain());
  }

  onReset(error: ProxyError): void {
    if (this.closed) return;
    this.closed = true;
    this.tellClose(error);
  }

  private tellClose(error: Error | null): void {
    this.guard(() => this.events.onClose(error));
  }

  private closeIfOver(): void {
    if (!this.localEnded || !this.remoteEnded || this.closed) return;
    this.closed = true;
    queueMicrotask(() => this.tellClose(null));
  }
}

/** Takes over a stream whose CONNECT was answered. */
export function tunnelSocket(stream: HttpStream): ByteConnection {
  const tunnel = new TunnelSocket(stream);
  stream.events = tunnel;
  return tunnel;
}
