// One sidecar's delta stream, without the transport: requests and index notices in, responses out. What it gets
// follows from the attested identity it was opened with; the `node` of its requests is never read.

import { create } from '@bufbuild/protobuf';
import { type Any, anyUnpack } from '@bufbuild/protobuf/wkt';
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import { RejectionSchema } from '../../proto/gen/weft/api/v1/api_pb.js';
import type { Index, IndexView } from '../index/index.ts';
import { type DeltaError, type DeltaOutcome, type DeltaResponse, DeltaSubscription } from './subscription.ts';

/** Types one stream may ask for: Weft's own are eleven; more is a client gone wrong. */
export const STREAM_TYPES_MAX = 32;

/** One resource that a sidecar refused, and why, in its own words. */
export interface RejectedResource {
  readonly typeUrl: string;
  /** Empty when the sidecar named none. */
  readonly name: string;
  readonly reason: string;
}

/** What a stream tells whoever watches over it, for status, logs and metrics. */
export interface StreamObserver {
  /** The sidecar took a response; `waitMs` since it was sent. */
  onAck(typeUrl: string, waitMs: number): void;
  /** The sidecar refused parts of a response; of those it holds what it had before. */
  onReject(typeUrl: string, error: DeltaError, rejected: readonly RejectedResource[]): void;
}

/** Refusals remembered for status, of one stream: more say nothing new. */
const REJECTIONS_MAX = 100;

export class DiscoveryStream {
  readonly spiffeId: string;
  readonly #view: IndexView;
  readonly #send: (response: DeltaDiscoveryResponse) => void;
  readonly #observer: StreamObserver;
  readonly #subscriptions = new Map<string, DeltaSubscription>();
  readonly #dirty = new Set<string>();
  readonly #now: () => number;
  /** When the response without an answer was sent, by type. */
  readonly #sentAtMs = new Map<string, number>();
  #rejections: readonly RejectedResource[] = [];
  #flushArmed = false;
  #closed = false;

  constructor(
    index: Index,
    spiffeId: string,
    send: (response: DeltaDiscoveryResponse) => void,
    observer: StreamObserver,
    now: () => number = () => performance.now(),
  ) {
    this.#now = now;
    this.spiffeId = spiffeId;
    this.#send = send;
    this.#observer = observer;
    this.#view = index.watch(spiffeId, (typeUrl) => this.#onChange(typeUrl));
  }

  /** Whether the sidecar has acknowledged everything it should have. */
  get inSync(): boolean {
    if (this.#dirty.size > 0) return false;
    for (const subscription of this.#subscriptions.values()) if (!subscription.settled) return false;
    return true;
  }

  /** What the sidecar refused and has not been sent anew. */
  get rejections(): readonly RejectedResource[] {
    return this.#rejections;
  }

  /** How many resources the sidecar should have, of the types it asked for. */
  get resourceCount(): number {
    let count = 0;
    for (const typeUrl of this.#subscriptions.keys()) count += this.#view.versions(typeUrl).size;
    return count;
  }

  /** For how long the oldest response has waited for its ACK; 0 when none does. */
  get unansweredMs(): number {
    let longest = 0;
    for (const sentAtMs of this.#sentAtMs.values()) longest = Math.max(longest, this.#now() - sentAtMs);
    return longest;
  }

  /** Takes one request. A sentence means: close the stream with RESOURCE_EXHAUSTED or INVALID_ARGUMENT and say this. */
  request(request: DeltaDiscoveryRequest): string | null {
    const { typeUrl } = request;
    if (typeUrl === '') return 'type_url is empty; a delta request names the type it speaks of';
    let subscription = this.#subscriptions.get(typeUrl);
    if (subscription === undefined) {
      if (this.#subscriptions.size >= STREAM_TYPES_MAX) return `more than ${STREAM_TYPES_MAX} types on one stream`;
      subscription = new DeltaSubscription(this.#view.versions(typeUrl));
      this.#subscriptions.set(typeUrl, subscription);
    }
    const detail = request.errorDetail;
    const outcome = subscription.request({
      subscribe: request.resourceNamesSubscribe,
      unsubscribe: request.resourceNamesUnsubscribe,
      initialVersions: new Map(Object.entries(request.initialResourceVersions)),
      nonce: request.responseNonce,
      error: detail === undefined ? null : { code: detail.code, message: detail.message },
    });
    if (outcome.kind === 'tooManyNames') return outcome.message;
    this.#answered(typeUrl, outcome, detail?.details ?? []);
    if (outcome.response !== null) this.#respond(typeUrl, outcome.response);
    return null;
  }

  /** An ACK clears what was refused of its type; a NACK names it anew. */
  #answered(typeUrl: string, outcome: DeltaOutcome, details: readonly Any[]): void {
    if (outcome.kind !== 'ack' && outcome.kind !== 'nack') return;
    const waitMs = this.#now() - (this.#sentAtMs.get(typeUrl) ?? this.#now());
    this.#sentAtMs.delete(typeUrl);
    this.#rejections = this.#rejections.filter((rejected) => rejected.typeUrl !== typeUrl);
    if (outcome.error === null) {
      this.#observer.onAck(typeUrl, waitMs);
      return;
    }
    const rejected = rejectedResources(typeUrl, outcome.error, details);
    this.#rejections = [...this.#rejections, ...rejected].slice(0, REJECTIONS_MAX);
    this.#observer.onReject(typeUrl, outcome.error, rejected);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#view.close();
  }

  /** Changes of one turn of the loop become one message a type. */
  #onChange(typeUrl: string): void {
    this.#dirty.add(typeUrl);
    if (this.#flushArmed) return;
    this.#flushArmed = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#flushArmed = false;
    if (this.#closed) return;
    const changed = [...this.#dirty];
    this.#dirty.clear();
    for (const typeUrl of changed) {
      const response = this.#subscriptions.get(typeUrl)?.update(this.#view.versions(typeUrl)) ?? null;
      if (response !== null) this.#respond(typeUrl, response);
    }
  }

  #respond(typeUrl: string, response: DeltaResponse): void {
    const resources = [];
    for (const { name, version } of response.resources) {
      const resource = this.#view.resource(typeUrl, name);
      if (resource === undefined) continue; // It left within this turn: its removal is in the next response.
      resources.push({ name, version, resource: { typeUrl, value: resource.bytes } });
    }
    const { nonce, removed } = response;
    this.#sentAtMs.set(typeUrl, this.#now());
    this.#send(create(DeltaDiscoveryResponseSchema, { typeUrl, nonce, resources, removedResources: [...removed] }));
  }
}

/** weft.api.v1.Rejection in `error_detail.details`, one a resource; the message alone where a client sends none. */
function rejectedResources(typeUrl: string, error: DeltaError, details: readonly Any[]): RejectedResource[] {
  const rejected: RejectedResource[] = [];
  for (const detail of details.slice(0, REJECTIONS_MAX)) {
    const one = unpack(detail);
    if (one !== undefined) rejected.push({ typeUrl, name: one.name, reason: one.reason });
  }
  return rejected.length > 0 ? rejected : [{ typeUrl, name: '', reason: error.message }];
}

/** Undefined for another type, and for bytes that do not decode. */
function unpack(detail: Any) {
  try {
    return anyUnpack(detail, RejectionSchema);
  } catch {
    return undefined;
  }
}
