// A header block out of HEADERS and CONTINUATION (RFC 9113 §4.3, §6.2, §6.10), without its padding and priority.

import type { GuardName } from '../../base/guards.ts';
import * as frames from './frames.ts';
import { FLAG } from './frames.ts';
import * as limits from './limits.ts';
import { FRAMING, type Rejection } from './reject.ts';

/** What the reader of blocks needs of its connection. */
export interface BlockHost {
  /** A whole block in `bytes[from, to)`; `flags` of its HEADERS. */
  onBlock(id: number, flags: number, bytes: Uint8Array, from: number, to: number): void;
  /** A connection error. */
  fail(rejection: Rejection): void;
  /** The block is larger than any that we would take. */
  calm(name: GuardName): void;
}

/** Gathers one connection's header blocks. */
export class HeaderBlocks {
  /** Stream of the block under way; 0: none. */
  openId = 0;
  private readonly host: BlockHost;
  private flags = 0;
  private parts: Uint8Array[] = [];
  private bytes = 0;

  constructor(host: BlockHost) {
    this.host = host;
  }

  onHeaders(flags: number, id: number, bytes: Uint8Array, from: number, to: number): void {
    if (id === 0) return this.host.fail(FRAMING.headersZero);
    if ((flags & (FLAG.PADDED | FLAG.PRIORITY)) === 0 && (flags & FLAG.END_HEADERS) !== 0)
      return this.host.onBlock(id, flags, bytes, from, to);
    const fragment = this.fragment(flags, id, bytes.subarray(from, to));
    if (fragment === null) return;
    if ((flags & FLAG.END_HEADERS) !== 0) return this.host.onBlock(id, flags, fragment, 0, fragment.length);
    this.openId = id;
    this.flags = flags;
    this.parts = [fragment];
    this.bytes = fragment.length;
  }

  onContinuation(flags: number, id: number, payload: Uint8Array): void {
    if (this.openId === 0) return this.host.fail(FRAMING.noBlock);
    this.parts.push(payload);
    this.bytes += payload.length;
    if (this.parts.length > limits.CONTINUATIONS_MAX + 1 || this.bytes > limits.HEADER_BLOCK_BYTES_MAX) {
      this.host.calm('continuation');
      return;
    }
    if ((flags & FLAG.END_HEADERS) === 0) return;
    const whole = Buffer.concat(this.parts);
    this.parts = [];
    this.openId = 0;
    this.host.onBlock(id, this.flags, whole, 0, whole.length);
  }

  /** The payload without padding and priority; null: the connection has failed. */
  private fragment(flags: number, id: number, payload: Uint8Array): Uint8Array | null {
    const hasPriority = (flags & FLAG.PRIORITY) !== 0;
    if (payload.length < ((flags & FLAG.PADDED) !== 0 ? 1 : 0) + (hasPriority ? 5 : 0)) {
      this.host.fail(FRAMING.tooShort);
      return null;
    }
    const fragment = frames.withoutPadding(flags, payload);
    if (fragment === null || (hasPriority && fragment.length < 5)) {
      this.host.fail(FRAMING.padding);
      return null;
    }
    if (!hasPriority) return fragment;
    if ((frames.readUint32(fragment, 0) & 0x7fffffff) !== id) return fragment.subarray(5);
    this.host.fail(FRAMING.selfDependency);
    return null;
  }
}
