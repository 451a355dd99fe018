// What one delta xDS stream knows about one resource type. All protocol rules (nonces, wildcard, ACK, NACK, names that
// do not exist yet) are decided here without I/O, so that each is a row in a test; the stream loop only moves bytes.
// Source: xDS protocol, "Incremental xDS", and envoy/service/discovery/v3/discovery.proto.

/** The resources of one type that this stream's client may see: name to version. Replaced whole, never changed. */
export type ResourceVersions = ReadonlyMap<string, string>;

/** The fields of a DeltaDiscoveryRequest that matter here, as plain data. */
export interface DeltaRequest {
  readonly subscribe: readonly string[];
  readonly unsubscribe: readonly string[];
  /** Versions the client kept from an earlier stream; read only on the first request of this type. */
  readonly initialVersions: ReadonlyMap<string, string>;
  /** Empty on the first request and on requests that only change names. */
  readonly nonce: string;
  /** Set when the client refused the response that `nonce` names. */
  readonly error: DeltaError | null;
}

/** google.rpc.Status of a NACK: a gRPC code and the client's words. */
export interface DeltaError {
  readonly code: number;
  readonly message: string;
}

/** What to send: the names to fill in with bytes, the names that are gone or never were, and the nonce to put on it. */
export interface DeltaResponse {
  readonly nonce: string;
  /** In name order, without duplicates (a duplicate would be a reason to NACK). */
  readonly resources: readonly { readonly name: string; readonly version: string }[];
  readonly removed: readonly string[];
}

/** What a request turned out to be; `response` is non-null when it has to be answered now. */
export interface DeltaOutcome {
  /** `initial` and `update` carry names only; `stale` named a nonce that is not the one outstanding. */
  readonly kind: 'initial' | 'update' | 'ack' | 'nack' | 'stale';
  /** The client's reason, for status and logs; only with `nack`. */
  readonly error: DeltaError | null;
  readonly response: DeltaResponse | null;
}

/** The name that subscribes to everything of a type, present and future. */
const WILDCARD = '*';

/** Most names one stream may hold per type: bounds the memory of a client that keeps asking for names that do not exist. */
export const SUBSCRIBED_NAMES_MAX = 10_000;

/** State of one type on one stream: make one per type at its first request, drop all when the stream ends. */
export class DeltaSubscription {
  /** Names asked for explicitly, whether they exist or not, so that a later birth is sent. */
  readonly #names = new Set<string>();
  /** What the client holds as far as was sent: version, or `null` for "told that it does not exist". */
  readonly #sent = new Map<string, string | null>();
  /** Names to be sent even if unchanged: just subscribed, or unsubscribed while the wildcard covers them. */
  readonly #forced = new Set<string>();
  #wildcard = false;
  #first = true;
  #nonceCount = 0;
  /** Nonce of the response without ACK or NACK yet; '' when none. At most one, so a slow client costs no memory. */
  #outstanding = '';
  #answerEmpty = false;
  #resources: ResourceVersions;
  #acked = true;

  /** `resources` is what the client may see now; it is replaced by `update`. */
  constructor(resources: ResourceVersions) {
    this.#resources = resources;
  }

  /** Whether the wildcard is on: explicit `*`, or a first request without names. */
  get wildcard(): boolean {
    return this.#wildcard;
  }

  /** Whether every response so far was accepted and none is outstanding: "the client has it all". */
  get settled(): boolean {
    return this.#acked && this.#outstanding === '';
  }

  /** Whether this name is subscribed, explicitly or by wildcard. */
  covers(name: string): boolean {
    return this.#wildcard || this.#names.has(name);
  }

  /**
   * Takes a request. Names are applied always, also with a stale nonce. A pure ACK gets no answer of its own; changes
   * that waited for it are sent now. A NACKed response is not repeated: only a further change sends again.
   * Fails with a sentence (answer with RESOURCE_EXHAUSTED) when more than SUBSCRIBED_NAMES_MAX names are held.
   */
  request(request: DeltaRequest): DeltaOutcome | { readonly kind: 'tooManyNames'; readonly message: string } {
    const first = this.#first;
    this.#first = false;
    let kind: DeltaOutcome['kind'] = first ? 'initial' : 'update';
    if (request.nonce !== '') {
      // A nonce of an earlier stream on a first request is stale too: nonces do not survive streams.
      if (request.nonce !== this.#outstanding) kind = first ? 'initial' : 'stale';
      else kind = request.error === null ? 'ack' : 'nack';
    }
    if (kind === 'ack' || kind === 'nack') {
      this.#outstanding = '';
      this.#acked = kind === 'ack';
    }
    if (first) this.#start(request);
    this.#unsubscribe(request.unsubscribe, request.subscribe.includes(WILDCARD));
    this.#subscribe(request.subscribe, first);
    if (first) for (const name of this.#sent.keys()) if (!this.covers(name)) this.#sent.delete(name);
    if (Math.max(this.#names.size, this.#forced.size) > SUBSCRIBED_NAMES_MAX) {
      const message = `more than ${SUBSCRIBED_NAMES_MAX} names subscribed on one stream; subscribe to "*" instead`;
      return { kind: 'tooManyNames', message };
    }
    return { kind, error: kind === 'nack' ? request.error : null, response: this.#next() };
  }

  /** Replaces what the client may see. Null when nothing changed for it, or when a response is outstanding: it merges. */
  update(resources: ResourceVersions): DeltaResponse | null {
    this.#resources = resources;
    return this.#first ? null : this.#next();
  }

  /**
   * Sends this name again though its version is the same: an endpoint set after its cluster changed, without which
   * Envoy never finishes warming the cluster. Nothing happens for a name that is not subscribed.
   */
  resend(name: string): DeltaResponse | null {
    if (!this.covers(name)) return null;
    this.#forced.add(name);
    return this.#next();
  }

  #start(request: DeltaRequest): void {
    // Legacy wildcard: a first request of a type that names nothing asks for everything.
    if (request.subscribe.length === 0) this.#wildcard = true;
    for (const [name, version] of request.initialVersions) this.#sent.set(name, version);
    // An empty world must be said once, or a new client waits out its 15 s timer; a returning one has its answer.
    const asksForAll = this.#wildcard || request.subscribe.includes(WILDCARD);
    this.#answerEmpty = asksForAll && request.initialVersions.size === 0;
  }

  #subscribe(names: readonly string[], first: boolean): void {
    for (const name of names) {
      if (name === WILDCARD) {
        if (!this.#wildcard && !first) this.#answerEmpty = true;
        this.#wildcard = true;
        continue;
      }
      // On reconnect a kept version means "I have it": then only a difference is sent. Any later subscribe is answered.
      const kept = first && this.#sent.has(name);
      this.#names.add(name);
      if (!kept) this.#forced.add(name);
    }
  }

  #unsubscribe(names: readonly string[], asksForAll: boolean): void {
    for (const name of names) {
      if (name === WILDCARD) {
        // Left and entered in one request: the client drops nothing, so forgetting here would hide later removals.
        if (asksForAll) continue;
        this.#wildcard = false;
        for (const held of [...this.#sent.keys(), ...this.#forced]) if (!this.#names.has(held)) this.#forget(held);
        continue;
      }
      const held = this.#names.delete(name) || this.#sent.has(name);
      if (!held) continue;
      // The client dropped it, yet the wildcard still wants it: say what it is now, existing or not.
      if (this.#wildcard || asksForAll) this.#forced.add(name);
      else this.#forget(name);
    }
  }

  #forget(name: string): void {
    this.#sent.delete(name);
    this.#forced.delete(name);
  }

  /** Compares what is wanted with what was sent, once per response: changes while one is outstanding merge by this. */
  #next(): DeltaResponse | null {
    if (this.#outstanding !== '') return null;
    const resources: { name: string; version: string }[] = [];
    const removed: string[] = [];
    for (const name of this.#wanted()) {
      const version = this.#resources.get(name) ?? null;
      const sent = this.#sent.get(name);
      if (version === sent && !this.#forced.has(name)) continue;
      if (version !== null) resources.push({ name, version });
      else removed.push(name);
      // Absence is remembered for explicit names only; by wildcard a name that is gone costs no memory.
      if (version !== null || this.#names.has(name)) this.#sent.set(name, version);
      else this.#sent.delete(name);
    }
    this.#forced.clear();
    if (resources.length === 0 && removed.length === 0 && !this.#answerEmpty) return null;
    this.#answerEmpty = false;
    this.#nonceCount++;
    this.#outstanding = String(this.#nonceCount);
    return { nonce: this.#outstanding, resources, removed };
  }

  #wanted(): string[] {
    const names = new Set(this.#names);
    if (this.#wildcard) for (const name of this.#resources.keys()) names.add(name);
    for (const name of this.#sent.keys()) names.add(name);
    for (const name of this.#forced) names.add(name);
    return [...names].sort();
  }
}
