// The connection's receive window: credited on receipt, so that a stalled stream never stops its siblings, until all
// paused streams together hold too much. And the streams we reset, whose late frames are ignored.

import type { ByteConnection } from '../socket.ts';
import { FRAME, wordFrame } from './frames.ts';
import { CONNECTION_WINDOW_BYTES, HELD_BYTES_MAX, RESET_MEMORY_STREAMS } from './limits.ts';

/** What a peer may send on the connection, and what waits here for slow readers. */
export class ReceiveWindow {
  private readonly socket: ByteConnection;
  private left = CONNECTION_WINDOW_BYTES;
  private unreported = 0;
  /** What waits for readers. */
  heldBytes = 0;

  constructor(socket: ByteConnection) {
    this.socket = socket;
  }

  /** DATA of `bytes` arrived, padding included; false: the peer exceeded the window (FLOW_CONTROL_ERROR). */
  take(bytes: number): boolean {
    this.left -= bytes;
    if (this.left < 0) return false;
    if (bytes > 0) this.credit(bytes);
    return true;
  }

  /** `bytes` more wait in a paused stream; negative when they wait no longer. */
  hold(bytes: number): void {
    const before = Math.max(0, this.heldBytes - HELD_BYTES_MAX);
    this.heldBytes += bytes;
    // What lies above the maximum is credited only when it is gone.
    const withheld = Math.max(0, this.heldBytes - HELD_BYTES_MAX);
    if (withheld !== before) this.credit(before - withheld);
  }

  private credit(bytes: number): void {
    this.unreported += bytes;
    if (this.unreported < CONNECTION_WINDOW_BYTES / 2) return;
    this.socket.write(wordFrame(FRAME.WINDOW_UPDATE, 0, this.unreported));
    this.left += this.unreported;
    this.unreported = 0;
  }
}

/** The last streams we reset. */
export class ResetMemory {
  private readonly ids = new Set<number>();

  has(id: number): boolean {
    return this.ids.has(id);
  }

  add(id: number): void {
    this.ids.add(id);
    if (this.ids.size <= RESET_MEMORY_STREAMS) return;
    for (const oldest of this.ids) {
      this.ids.delete(oldest);
      break;
    }
  }
}
