// A socket with no network behind it, for the codecs of Weft and of Node alike: a test plays the peer, and thousands of
// connections a second cost no port.

import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';

/** `push` what the peer sends, null for its FIN; `written` is what it received. Destroy it at the end. */
export class MemorySocket extends Duplex {
  readonly written: Buffer[] = [];
  bytesWritten = 0;
  /** After each write of the codec. */
  onWritten: () => void = () => {};

  constructor() {
    super({ allowHalfOpen: true });
    this.on('error', () => {});
  }

  /** As the codecs take it: they use of a socket what is here and no more. */
  get asSocket(): Socket {
    return this as unknown as Socket;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.written.push(chunk);
    this.bytesWritten += chunk.length;
    done();
    this.onWritten();
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  setTimeout(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  destroySoon(): void {
    this.destroy();
  }
}

/** Once everybody has dealt with what was pushed: one turn to hear of it, one to flush, one to hear of that. */
export async function dealtWith(): Promise<void> {
  await turn();
  await turn();
  await turn();
}
