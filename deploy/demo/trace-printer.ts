// Prints the tree of each trace once it is quiet: what `npm start` shows of the calls that people make.

import { formatTree, type Span, spanTree } from './spans.ts';

/** No span for so long: the sidecars export every 200 ms, and the last may come a second after the first. */
const QUIET_MS = 1_000;
/** A terminal is no place for load; more traces than these in a second are counted only. */
const PRINTED_PER_S_MAX = 3;
const WAITING_MAX = 1_000;

/** Collects spans by trace. */
export class TracePrinter {
  private readonly print: (text: string) => void;
  private readonly waiting = new Map<string, { spans: Span[]; timer: NodeJS.Timeout }>();
  private second = 0;
  private printed = 0;
  private skipped = 0;

  constructor(print: (text: string) => void) {
    this.print = print;
  }

  add(spans: readonly Span[]): void {
    for (const span of spans) {
      const known = this.waiting.get(span.traceId);
      if (known !== undefined) {
        known.spans.push(span);
        known.timer.refresh();
      } else if (this.waiting.size < WAITING_MAX) {
        const timer = setTimeout(() => this.show(span.traceId), QUIET_MS);
        timer.unref();
        this.waiting.set(span.traceId, { spans: [span], timer });
      } else this.skipped++;
    }
  }

  private show(traceId: string): void {
    const trace = this.waiting.get(traceId);
    this.waiting.delete(traceId);
    if (trace === undefined) return;
    const second = Math.floor(performance.now() / 1_000);
    if (second !== this.second) {
      if (this.skipped > 0) this.print(`(${this.skipped} more traces)`);
      this.second = second;
      this.printed = 0;
      this.skipped = 0;
    }
    if (this.printed++ >= PRINTED_PER_S_MAX) this.skipped++;
    else this.print(`trace ${traceId}\n${formatTree(spanTree(trace.spans))}\n`);
  }
}
