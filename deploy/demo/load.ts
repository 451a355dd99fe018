// Open-loop load: requests leave on schedule whether or not earlier ones were answered, so that a stall shows as what
// it is. The client counts; nobody's metrics are taken for it.

import { Agent, type IncomingMessage, request } from 'node:http';

/** What to send. */
export interface LoadOptions {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Requests in a second; 200 in the tour. */
  readonly ratePerS: number;
  /** Requests in all; the load goes on beyond them until `stopWhen` says so. */
  readonly requests: number;
  /** Asked before each request once `requests` were sent; default: at once. */
  readonly stopWhen?: () => boolean;
  /** Longer than any retry the mesh may make; a request that takes longer failed. */
  readonly timeoutMs: number;
  /** At most this many wait for an answer; more count as failed, because they cannot be sent. */
  readonly outstandingMax: number;
}

/** One request, in the order of sending. */
export interface Sample {
  /** When it was sent, by `performance.now()`. */
  readonly sentMs: number;
  /** Until the whole answer, or the failure. */
  readonly tookMs: number;
  /** 0: no whole answer. */
  readonly status: number;
  readonly body: string;
  /** Empty: answered 2xx. */
  readonly failure: string;
}

/** Everything that was sent, once each. */
export interface LoadResult {
  readonly samples: readonly Sample[];
  readonly failed: number;
  /** Failures by cause. */
  readonly causes: ReadonlyMap<string, number>;
  /** How far behind its schedule the latest request left: what our own process cost. */
  readonly lateMsMax: number;
}

/** Load under way: what has been answered, and the end. */
export interface Load {
  readonly samples: readonly Sample[];
  readonly done: Promise<LoadResult>;
}

/** Starts at once. */
export function startLoad(options: LoadOptions): Load {
  const agent = new Agent({ keepAlive: true, maxSockets: options.outstandingMax });
  const samples: Sample[] = [];
  const started = performance.now();
  const gapMs = 1_000 / options.ratePerS;
  const { promise, resolve } = Promise.withResolvers<LoadResult>();
  let sent = 0;
  let lateMsMax = 0;
  let stopped = false;

  const finish = () => {
    agent.destroy();
    resolve(summarize(samples, lateMsMax));
  };
  const tick = () => {
    const now = performance.now();
    // A timer that fires late sends everything that is due: the schedule is kept, not the gap.
    while (!stopped && started + sent * gapMs <= now) {
      if (sent >= options.requests && (options.stopWhen?.() ?? true)) {
        stopped = true;
        break;
      }
      lateMsMax = Math.max(lateMsMax, now - (started + sent * gapMs));
      sent++;
      send(options, agent, sent - 1 - samples.length >= options.outstandingMax, (sample) => {
        samples.push(sample);
        if (stopped && samples.length === sent) finish();
      });
    }
    if (!stopped) setTimeout(tick, Math.max(0, started + sent * gapMs - performance.now()));
    else if (samples.length === sent) finish();
  };
  tick();
  return { samples, done: promise };
}

function send(options: LoadOptions, agent: Agent, full: boolean, done: (sample: Sample) => void): void {
  const sentMs = performance.now();
  let ended = false;
  const end = (status: number, body: string, failure: string) => {
    if (ended) return;
    ended = true;
    done({ sentMs, tookMs: performance.now() - sentMs, status, body, failure });
  };
  if (full) return end(0, '', `${options.outstandingMax} requests unanswered`);
  const { host, port, path, headers } = options;
  const call = request(
    { host, port, path, headers, agent, timeout: options.timeoutMs },
    (response: IncomingMessage) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', (error) => end(0, '', `answer cut: ${error.message}`));
      response.on('end', () => {
        const status = response.statusCode ?? 0;
        const good = status >= 200 && status < 300;
        const body = Buffer.concat(chunks).toString();
        end(status, body, good ? '' : `status ${status}: ${body.slice(0, 200)}`);
      });
    },
  );
  call.on('timeout', () => call.destroy(new Error(`no answer within ${options.timeoutMs} ms`)));
  call.on('error', (error: NodeJS.ErrnoException) => end(0, '', error.code ?? error.message));
  call.end();
}

function summarize(samples: readonly Sample[], lateMsMax: number): LoadResult {
  const causes = new Map<string, number>();
  for (const { failure } of samples) if (failure !== '') causes.set(failure, (causes.get(failure) ?? 0) + 1);
  const failed = [...causes.values()].reduce((sum, count) => sum + count, 0);
  return { samples, failed, causes, lateMsMax };
}

/** `1,000 requests, 0 failed, p99 7 ms`, with causes where there are failures. */
export function describeLoad({ samples, failed, causes, lateMsMax }: LoadResult): string {
  const times = samples.map((sample) => sample.tookMs).sort((a, b) => a - b);
  const p99 = times[Math.ceil(times.length * 0.99) - 1] ?? 0;
  const why = failed === 0 ? '' : ` (${[...causes].map(([cause, count]) => `${count} × ${cause}`).join(', ')})`;
  const late = lateMsMax > 100 ? `, sent up to ${Math.round(lateMsMax)} ms late` : '';
  return `${samples.length.toLocaleString('en-US')} requests, ${failed} failed${why}, p99 ${Math.round(p99)} ms${late}`;
}
