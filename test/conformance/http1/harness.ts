// Runs bytes through one HTTP/1.1 connection of ours, in either role, without a network: what they are cut into is the
// test's choice, and everything that follows from them has happened when `settled` resolves.

import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { ProxyError } from '../../../sidecar/wire/error.ts';
import type { HeaderList } from '../../../sidecar/wire/headers.ts';
import { WireSocket } from '../../../sidecar/wire/socket.ts';
import type { Head, StreamEvents } from '../../../sidecar/wire/stream.ts';

/** Stands for a connected socket: keeps what is written, and reads nothing by itself. */
class MemorySocket extends Duplex {
  written = '';
  bytesWritten = 0;
  ended = false;

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.written += chunk.toString('latin1');
    this.bytesWritten += chunk.length;
    done();
  }

  override _final(done: () => void): void {
    this.ended = true;
    done();
  }

  setNoDelay(): void {}

  destroySoon(): void {
    this.end();
    this.destroy();
  }
}

/** A connection without a network. */
export interface Wire {
  readonly socket: WireSocket;
  /** Everything that our side wrote. */
  written(): string;
  /** Whether our side ended or dropped the connection. */
  isOver(): boolean;
  /** Delivers bytes as one read, or one read a byte. */
  deliver(text: string, cut: 'whole' | 'byte by byte'): Promise<void>;
  /** The peer's end. */
  fin(): Promise<void>;
  /** Resolves when what our side does by itself has happened. */
  settled(): Promise<void>;
}

/** Everything that was queued for this turn of the loop and the next has happened. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}

export function memoryWire(): Wire {
  const memory = new MemorySocket();
  const socket = new WireSocket(memory as unknown as Socket);
  return {
    socket,
    settled,
    written: () => memory.written,
    isOver: () => memory.ended || memory.destroyed,
    async deliver(text, cut) {
      const bytes = Buffer.from(text, 'latin1');
      const size = cut === 'whole' ? bytes.length : 1;
      for (let at = 0; at < bytes.length && !memory.destroyed; at += size) {
        socket.receive(Buffer.from(bytes.subarray(at, at + size)));
        // What a codec does outside of its own call comes before the next read.
        await null;
      }
      await settled();
    },
    async fin() {
      if (!memory.destroyed) socket.guard(() => socket.events.onEnd());
      await settled();
    },
  };
}

/** One message as a stream's owner hears it, in the words of the tables. */
export class Heard implements StreamEvents {
  head: Head | null = null;
  readonly interim: number[] = [];
  body = '';
  trailers: string[] = [];
  isEnded = false;
  error: ProxyError | null = null;
  private readonly onWhole: (heard: Heard) => void;

  /** `onWhole` is called at the message's end, or at the head of one that waits for its answer (CONNECT, Upgrade). */
  constructor(onWhole: (heard: Heard) => void = () => {}) {
    this.onWhole = onWhole;
  }

  onHead(head: Head, end: boolean): void {
    if (head.status > 0 && head.status < 200 && head.status !== 101) {
      this.interim.push(head.status);
      return;
    }
    this.head = head;
    if (end) this.isEnded = true;
    if (end || head.method === 'CONNECT' || head.protocol !== '') this.onWhole(this);
  }

  onData(chunk: Uint8Array, end: boolean): void {
    this.body += Buffer.from(chunk).toString('latin1');
    if (!end) return;
    this.isEnded = true;
    this.onWhole(this);
  }

  onEnd(trailers: HeaderList | null): void {
    this.trailers = linesOf(trailers ?? []);
    this.isEnded = true;
    this.onWhole(this);
  }

  onDrain(): void {}

  onReset(error: ProxyError): void {
    this.error = error;
  }
}

/** `name: value` of each field. */
export function linesOf(fields: HeaderList): string[] {
  const lines: string[] = [];
  for (let i = 0; i < fields.length; i += 2) lines.push(`${fields[i]}: ${fields[i + 1]}`);
  return lines;
}
