// The data-path workers as main sees them: started from what main holds, told what changed, and started again when
// they die, a bounded number of times. A worker that dies takes its connections with it and nothing else.

import { Worker } from 'node:worker_threads';
import { EXIT } from '../../proto/kit/exit.ts';
import type {
  ExplainQuery,
  FromWorker,
  HandshakesRefused,
  ListenerConfig,
  PeerRevoked,
  ResourceBytes,
  ResourceError,
  TelemetryRecord,
  ToWorker,
  WorkerIdentity,
  WorkerStart,
} from '../base/messages.ts';
import { StartError } from '../base/start-error.ts';

/** Restarts within {@link RESTART_WINDOW_MS}: more is a bug that a supervisor should see, with exit 70. */
export const RESTARTS_MAX = 5;
export const RESTART_WINDOW_MS = 60_000;

/** A worker is asked for a sign of life this often; one that misses so many in a row is ended and started anew. */
const PING_EVERY_MS = 2_000;
const PINGS_MISSED_MAX = 5;

/** An answer of a worker to admin; it answers in milliseconds unless its loop is blocked. */
const ANSWER_TIMEOUT_MS = 5_000;

/**
 * Heap of one worker. 1 GiB holds compiled config of tens of thousands of routes many times over (bodies are outside
 * the heap); a leak ends in a restart instead of the machine's memory. Young generation as Node's default.
 */
const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 1_024 } as const;

export type Removed = { readonly typeUrl: string; readonly name: string };

/** What the pool asks of and tells the rest of main. */
export interface PoolOwner {
  /** `workerData`, less what the pool adds. */
  readonly start: Omit<WorkerStart, 'workerIndex'>;
  readonly workers: number;
  /** The worker's file: source or bundle. */
  readonly entry: URL;
  /** Everything that is in force, for a worker that starts. */
  resources(): readonly ResourceBytes[];
  identity(): WorkerIdentity | null;
  onSeries(family: string, labels: readonly string[]): { readonly slot: number; readonly isOverflow: boolean };
  onTelemetry(records: readonly TelemetryRecord[], dropped: number): void;
  onContained(stack: string): void;
  /** Handshakes on the inbound port; at most one call a minute, reason and worker. */
  onRefused(refused: HandshakesRefused): void;
  /** Open connections ended because the peer was revoked. */
  onRevoked(revoked: PeerRevoked): void;
  /** A worker could not open a local port of a policy. */
  onPortLost(port: number, reason: string): void;
  /** What a worker that started refused of the config in force. */
  onRejected(errors: readonly ResourceError[]): void;
  /** A worker died; its counter column is to be retired before the next one starts. */
  onDeath(workerIndex: number, reason: string): void;
  /** It cannot go on: too many deaths, or an address was lost. */
  onFatal(error: StartError): void;
}

interface Waiting {
  readonly settle: (message: FromWorker | null) => void;
}

interface Member {
  readonly index: number;
  readonly thread: Worker;
  listening: boolean;
  /** It has compiled what it was started with. */
  applied: boolean;
  /** Answers awaited, by `type:number`. */
  readonly waiting: Map<string, Waiting>;
  failure: string;
  /** Signs of life that it owes. */
  pings: number;
}

/** All workers of this sidecar. */
export class WorkerPool {
  readonly #owner: PoolOwner;
  readonly #members: Member[] = [];
  #deathsAtMs: number[] = [];
  #sequence = 0;
  #stopping = false;
  #localPorts: readonly ListenerConfig[] = [];
  #onServing: (() => void)[] = [];

  constructor(owner: PoolOwner) {
    this.#owner = owner;
  }

  /** Starts every worker; resolves when all serve. Config and identity in force are sent first. */
  async start(): Promise<void> {
    for (let index = 0; index < this.#owner.workers; index++) this.#spawn(index);
    while (!this.serving && !this.#stopping) {
      await new Promise<void>((resolve) => this.#onServing.push(resolve));
    }
  }

  /** Whether every worker listens and has config. */
  get serving(): boolean {
    const { workers } = this.#owner;
    return this.#members.length === workers && this.#members.every((member) => member.listening && member.applied);
  }

  /** Hands changes to every worker; resolves when all have swapped, with what they refused, each resource once. */
  async apply(upserts: readonly ResourceBytes[], removed: readonly Removed[]): Promise<ResourceError[]> {
    const sequence = ++this.#sequence;
    const message: ToWorker = { type: 'resources', sequence, upserts, removed };
    const answers = await Promise.all(
      this.#members.map((member) => this.#ask(member, `applied:${sequence}`, message, 0)),
    );
    const errors = new Map<string, ResourceError>();
    for (const answer of answers) {
      if (answer?.type !== 'applied') continue; // It died: its successor gets everything that is in force.
      for (const error of answer.errors) errors.set(`${error.typeUrl} ${error.name}`, error);
    }
    return [...errors.values()];
  }

  /** What `localPorts` says, also to workers that start later. */
  setLocalPorts(listeners: readonly ListenerConfig[]): void {
    this.#localPorts = listeners;
    for (const { thread } of this.#members) thread.postMessage({ type: 'localPorts', listeners } satisfies ToWorker);
  }

  setIdentity(identity: WorkerIdentity): void {
    for (const member of this.#members) member.thread.postMessage({ type: 'identity', identity } satisfies ToWorker);
  }

  /** Tells all workers to forget series; resolves when none may add to their slots any more. */
  async forget(series: readonly { readonly family: string; readonly labels: readonly string[] }[]): Promise<void> {
    const request = ++this.#sequence;
    const message: ToWorker = { type: 'forget', request, series };
    await Promise.all(this.#members.map((member) => this.#ask(member, `forgot:${request}`, message, 0)));
  }

  /** The first worker's explanation; all compile the same config. Null when it does not answer in time. */
  async explain(query: ExplainQuery): Promise<unknown> {
    const request = ++this.#sequence;
    const member = this.#members[0];
    if (member === undefined) return null;
    const message: ToWorker = { type: 'explain', request, query };
    const answer = await this.#ask(member, `explained:${request}`, message, ANSWER_TIMEOUT_MS);
    return answer?.type === 'explained' ? answer.result : null;
  }

  /** Every worker's view, in the order of workers; null for one that does not answer in time. */
  async dump(): Promise<unknown[]> {
    const request = ++this.#sequence;
    const answers = await Promise.all(
      this.#members.map((m) => this.#ask(m, `dumped:${request}`, { type: 'dump', request }, ANSWER_TIMEOUT_MS)),
    );
    return answers.map((answer) => (answer?.type === 'dumped' ? answer.result : null));
  }

  /**
   * Stops accepting; resolves when every worker has finished its work, or `drainMs` are over, with how many workers
   * did not even end their connections by then.
   */
  async drain(drainMs: number): Promise<number> {
    this.#stopping = true;
    const message: ToWorker = { type: 'drain', drainMs };
    // A little more than the workers' own deadline, which ends connections in order.
    const answers = this.#members.map((member) => this.#ask(member, 'drained:0', message, drainMs + 1_000));
    return (await Promise.all(answers)).filter((answer) => answer === null).length;
  }

  /** Ends every thread at once. */
  async close(): Promise<void> {
    this.#stopping = true;
    this.#wake();
    await Promise.all(this.#members.map((member) => member.thread.terminate()));
  }

  #wake(): void {
    for (const wake of this.#onServing.splice(0)) wake();
  }

  #spawn(index: number): void {
    const workerData: WorkerStart = { ...this.#owner.start, workerIndex: index };
    const thread = new Worker(this.#owner.entry, {
      workerData,
      name: `weft-data-path-${index}`,
      resourceLimits: RESOURCE_LIMITS,
    });
    const member: Member = {
      index,
      thread,
      listening: false,
      applied: false,
      waiting: new Map(),
      failure: '',
      pings: 0,
    };
    this.#members[index] = member;
    thread.on('message', (message: FromWorker) => this.#hear(member, message));
    thread.on('error', (error: unknown) => {
      member.failure = error instanceof Error ? (error.stack ?? error.message) : String(error);
    });
    const watch = setInterval(() => this.#ping(member), PING_EVERY_MS);
    watch.unref();
    thread.on('exit', () => clearInterval(watch));
    thread.on('exit', (code) => this.#died(member, member.failure === '' ? `exit code ${code}` : member.failure));
    const identity = this.#owner.identity();
    if (identity !== null) thread.postMessage({ type: 'identity', identity } satisfies ToWorker);
    const upserts = this.#owner.resources();
    thread.postMessage({ type: 'resources', sequence: ++this.#sequence, upserts, removed: [] } satisfies ToWorker);
    thread.postMessage({ type: 'localPorts', listeners: this.#localPorts } satisfies ToWorker);
  }

  /** Counts questions, not time: a machine that slept is no reason to end a worker. */
  #ping(member: Member): void {
    if (!member.listening) return;
    if (member.pings >= PINGS_MISSED_MAX) {
      member.failure = `its event loop did not turn for ${(PINGS_MISSED_MAX * PING_EVERY_MS) / 1_000} s`;
      void member.thread.terminate();
      return;
    }
    member.pings++;
    member.thread.postMessage({ type: 'ping' } satisfies ToWorker);
  }

  #hear(member: Member, message: FromWorker): void {
    switch (message.type) {
      case 'listening':
        member.listening = true;
        this.#wake();
        return;
      case 'pong':
        member.pings = 0;
        return;
      case 'needSeries': {
        const found = this.#owner.onSeries(message.family, message.labels);
        member.thread.postMessage({ type: 'series', request: message.request, ...found } satisfies ToWorker);
        return;
      }
      case 'health':
        for (const other of this.#members) if (other !== member) other.thread.postMessage(message satisfies ToWorker);
        return;
      case 'telemetry':
        this.#owner.onTelemetry(message.records, message.dropped);
        return;
      case 'portLost':
        this.#owner.onPortLost(message.port, message.reason);
        return;
      case 'handshakesRefused':
        this.#owner.onRefused(message);
        return;
      case 'peerRevoked':
        this.#owner.onRevoked(message);
        return;
      case 'contained':
        this.#owner.onContained(message.stack);
        return;
      case 'applied':
        if (!member.applied) {
          member.applied = true;
          if (message.errors.length > 0) this.#owner.onRejected(message.errors);
          this.#wake();
        }
        member.waiting.get(`applied:${message.sequence}`)?.settle(message);
        return;
      case 'drained':
        member.waiting.get('drained:0')?.settle(message);
        return;
      case 'forgot':
      case 'explained':
      case 'dumped':
        member.waiting.get(`${message.type}:${message.request}`)?.settle(message);
        return;
    }
  }

  /** Sends and waits for the answer named `key`; null when the worker dies or `timeoutMs` (0: none) are over. */
  #ask(member: Member, key: string, message: ToWorker, timeoutMs: number): Promise<FromWorker | null> {
    return new Promise((resolve) => {
      const timer = timeoutMs > 0 ? setTimeout(() => settle(null), timeoutMs) : undefined;
      const settle = (answer: FromWorker | null): void => {
        clearTimeout(timer);
        member.waiting.delete(key);
        resolve(answer);
      };
      member.waiting.set(key, { settle });
      member.thread.postMessage(message);
    });
  }

  #died(member: Member, reason: string): void {
    for (const { settle } of [...member.waiting.values()]) settle(null);
    member.listening = false;
    if (this.#stopping) return;
    this.#owner.onDeath(member.index, reason);
    const nowMs = performance.now();
    this.#deathsAtMs = this.#deathsAtMs.filter((atMs) => nowMs - atMs < RESTART_WINDOW_MS);
    this.#deathsAtMs.push(nowMs);
    if (this.#deathsAtMs.length > RESTARTS_MAX) {
      const often = `${this.#deathsAtMs.length} times within ${RESTART_WINDOW_MS / 1_000} s`;
      this.#owner.onFatal(new StartError(EXIT.bug, `data-path workers died ${often}; the last one of: ${reason}`));
      return;
    }
    this.#spawn(member.index);
  }
}
