// Log lines and spans on their way from a worker to main: gathered, bounded. What does not fit is
// dropped and counted, because a slow log must never slow requests.

import { LIMITS } from '../base/limits.ts';
import type { FromWorker, TelemetryRecord } from '../base/messages.ts';
import { type TimerWheel, WheelTimer } from '../base/timer-wheel.ts';

/** What a record may be late. Each message wakes main, which costs a quiet request more than its record: ten a second are enough for people. */
const FLUSH_MS = 100;
/** Records that are sent without waiting: a busy log goes in messages of this size. */
const FLUSH_RECORDS = LIMITS.telemetryRecordsMax / 4;

export class TelemetryBuffer {
  private records: TelemetryRecord[] = [];
  private dropped = 0;
  private denialSecond = 0;
  private denialLines = 0;
  private readonly wheel: TimerWheel;
  private readonly post: (message: FromWorker) => void;
  private readonly timer: WheelTimer;
  private isDue = false;
  private readonly flushNow = (): void => this.flush();

  constructor(wheel: TimerWheel, post: (message: FromWorker) => void) {
    this.wheel = wheel;
    this.post = post;
    this.timer = new WheelTimer(() => this.flush());
  }

  add(record: TelemetryRecord): void {
    if (this.records.length >= LIMITS.telemetryRecordsMax) this.dropped++;
    else this.records.push(record);
    // Once a turn at most, so that what overflows is what main could not have taken in this turn either.
    if (this.records.length < FLUSH_RECORDS) {
      if (!this.timer.armed) this.wheel.arm(this.timer, FLUSH_MS);
    } else if (!this.isDue) {
      this.isDue = true;
      setImmediate(this.flushNow);
    }
  }

  /** Whether one more line about a denied request may be written this second where no access log is wanted. */
  takeDenialLine(nowMs: number): boolean {
    const second = Math.floor(nowMs / 1_000);
    if (second !== this.denialSecond) {
      this.denialSecond = second;
      this.denialLines = 0;
    }
    return this.denialLines++ < LIMITS.denialLinesPerSecond;
  }

  /** Sends what there is; the last call before the worker ends. */
  flush(): void {
    this.wheel.cancel(this.timer);
    this.isDue = false;
    if (this.records.length === 0 && this.dropped === 0) return;
    const { records, dropped } = this;
    this.records = [];
    this.dropped = 0;
    this.post({ type: 'telemetry', records, dropped });
  }
}
