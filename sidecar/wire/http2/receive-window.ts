// The connection's receive window: credited on receipt, so that a stalled stream never stops its siblings, until all
// paused streams together hold too much; it grows with the bandwidth-delay product. And the streams we reset, whose late frames are ignored.

import type { ByteConnection } from '../socket.ts';
import { FRAME, SETTING, settingsFrame, wordFrame } from './frames.ts';
import * as limits from './limits.ts';

/** What a peer may send on the connection and on each stream, and what waits here for slow readers. */
export class ReceiveWindow {
  /** What each new stream may be sent before it is read. */
  streamBytes = limits.STREAM_WINDOW_BYTES;
  private readonly socket: ByteConnection;
  private bytes = limits.CONNECTION_WINDOW_BYTES;
  private left = limits.CONNECTION_WINDOW_BYTES;
  private unreported = 0;
  /** What waits for readers. */
  heldBytes = 0;
  private bestRate = 0;

  constructor(socket: ByteConnection) {
    this.socket = socket;
  }

  /** Whether a round trip is worth measuring. */
  get canGrow(): boolean {
    return this.streamBytes < limits.STREAM_WINDOW_BYTES_MAX;
  }

  /**
   * In a round trip of `ms`, `bytes` arrived. When they fill most of a stream's window, and faster than ever, the window
   * is what slows the sender: it doubles, as the bandwidth-delay product asks (as gRPC does). Returns by how much.
   */
  measured(bytes: number, ms: number): number {
    const rate = bytes / Math.max(ms, 0.001);
    if (rate < this.bestRate || bytes < this.streamBytes * limits.WINDOW_FULL_SHARE) return 0;
    this.bestRate = rate;
    const before = this.streamBytes;
    this.streamBytes = Math.min(before * 2, limits.STREAM_WINDOW_BYTES_MAX);
    if (this.streamBytes === before) return 0;
    this.socket.write(settingsFrame([SETTING.INITIAL_WINDOW_SIZE, this.streamBytes]));
    this.growConnection(Math.min(this.streamBytes * 4, limits.CONNECTION_WINDOW_BYTES_MAX));
    return this.streamBytes - before;
  }

  private growConnection(bytes: number): void {
    const more = bytes - this.bytes;
    if (more <= 0) return;
    this.bytes = bytes;
    this.left += more;
    this.socket.write(wordFrame(FRAME.WINDOW_UPDATE, 0, more));
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
    const before = Math.max(0, this.heldBytes - limits.HELD_BYTES_MAX);
    this.heldBytes += bytes;
    // What lies above the maximum is credited only when it is gone.
    const withheld = Math.max(0, this.heldBytes - limits.HELD_BYTES_MAX);
    if (withheld !== before) this.credit(before - withheld);
  }

  private credit(bytes: number): void {
    this.unreported += bytes;
    if (this.unreported < this.bytes / 2) return;
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
    if (this.ids.size <= limits.RESET_MEMORY_STREAMS) return;
    for (const oldest of this.ids) {
      this.ids.delete(oldest);
      break;
    }
  }
}
