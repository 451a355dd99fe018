// One sidecar's delta stream, without the transport: requests and index notices in, responses out. What it gets
// follows from the attested identity it was opened with; the `node` of its requests is never read.

import { create } from '@bufbuild/protobuf';
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js';
import type { Index, IndexView } from '../index/index.ts';
import { type DeltaError, type DeltaResponse, DeltaSubscription } from './subscription.ts';

/** Types one stream may ask for: Weft's own are nine; more is a client gone wrong. */
export const STREAM_TYPES_MAX = 32;

/** What a stream tells whoever watches over it, for status, logs and metrics. */
export interface StreamObserver {
  /** The sidecar refused a response; the resources it holds are those from before. */
  onReject(typeUrl: string, error: DeltaError): void;
}

export class DiscoveryStream {
  readonly spiffeId: string;
  readonly #view: IndexView;
  readonly #send: (response: DeltaDiscoveryResponse) => void;
  readonly #observer: StreamObserver;
  readonly #subscriptions = new Map<string, DeltaSubscription>();
  readonly #dirty = new Set<string>();
  #flushArmed = false;
  #closed = false;

  constructor(
    index: Index,
    spiffeId: string,
    send: (response: DeltaDiscoveryResponse) => void,
    observer: StreamObserver,
  ) {
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
    if (outcome.error !== null) this.#observer.onReject(typeUrl, outcome.error);
    if (outcome.response !== null) this.#respond(typeUrl, outcome.response);
    return null;
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
    this.#send(create(DeltaDiscoveryResponseSchema, { typeUrl, nonce, resources, removedResources: [...removed] }));
  }
}
