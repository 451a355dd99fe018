// The single writer: facts come in as events, what each identity must know goes out as a view, and a watcher hears
// of a type only when something in its own view changed. Low-churn facts (policies) and high-churn facts
// (endpoints) take different ways: an endpoint touches only the views that hold its Service, and costs each of
// them one map entry.

import type { EncodedResource } from './encoded.ts';

/** What the policies say that one identity must know. */
export interface Needs {
  readonly resources: readonly EncodedResource[];
  /** Resource names of the Services whose endpoints go with it. */
  readonly services: ReadonlySet<string>;
}

/** Pure: the needs of a SPIFFE id under the current policies. */
export type NeedsOf = (spiffeId: string) => Needs;

export type ResourceVersions = ReadonlyMap<string, string>;

interface IndexedEndpoint {
  readonly service: string;
  readonly resource: EncodedResource;
}

interface View {
  services: ReadonlySet<string>;
  /** typeUrl -> name -> resource. */
  readonly types: Map<string, Map<string, EncodedResource>>;
  readonly watchers: Set<Watcher>;
}

type Watcher = (typeUrl: string) => void;

const NO_RESOURCES: ReadonlyMap<string, EncodedResource> = new Map();

/** One identity's window onto the index, held by one stream. */
export interface IndexView {
  /** Names and versions of one type, as the subscription rules want them. */
  versions(typeUrl: string): ResourceVersions;
  resource(typeUrl: string, name: string): EncodedResource | undefined;
  /** No more notices; the view is dropped with its last watcher. */
  close(): void;
}

export class Index {
  readonly #endpoints = new Map<string, IndexedEndpoint>();
  readonly #byService = new Map<string, Map<string, EncodedResource>>();
  readonly #views = new Map<string, View>();
  #needsOf: NeedsOf;

  constructor(needsOf: NeedsOf) {
    this.#needsOf = needsOf;
  }

  /** New policies: every open view is computed again, and those that differ are told, type by type. */
  setPolicies(needsOf: NeedsOf): void {
    this.#needsOf = needsOf;
    for (const [spiffeId, view] of this.#views) {
      const next = this.#compute(spiffeId);
      view.services = next.services;
      const changed: string[] = [];
      for (const typeUrl of new Set([...view.types.keys(), ...next.types.keys()])) {
        const after = next.types.get(typeUrl) ?? new Map();
        if (sameVersions(view.types.get(typeUrl) ?? NO_RESOURCES, after)) continue;
        view.types.set(typeUrl, after);
        changed.push(typeUrl);
      }
      for (const typeUrl of changed) notify(view, typeUrl);
    }
  }

  /** A workload came or changed. `service` is the resource name of its Service. */
  setEndpoint(service: string, resource: EncodedResource): void {
    const before = this.#endpoints.get(resource.name);
    if (before?.service === service && before.resource.version === resource.version) return;
    if (before !== undefined && before.service !== service) this.removeEndpoint(resource.name);
    this.#endpoints.set(resource.name, { service, resource });
    let siblings = this.#byService.get(service);
    if (siblings === undefined) {
      siblings = new Map();
      this.#byService.set(service, siblings);
    }
    siblings.set(resource.name, resource);
    for (const view of this.#views.values()) {
      if (!view.services.has(service)) continue;
      ofType(view.types, resource.typeUrl).set(resource.name, resource);
      notify(view, resource.typeUrl);
    }
  }

  /** A workload left; unknown names are ignored, since leaving and timing out may both be reported. */
  removeEndpoint(name: string): void {
    const before = this.#endpoints.get(name);
    if (before === undefined) return;
    this.#endpoints.delete(name);
    const siblings = this.#byService.get(before.service);
    siblings?.delete(name);
    if (siblings?.size === 0) this.#byService.delete(before.service);
    for (const view of this.#views.values()) {
      if (view.types.get(before.resource.typeUrl)?.delete(name)) notify(view, before.resource.typeUrl);
    }
  }

  /** Opens the view of an attested identity. `watcher` hears of each type that changed, after the change, never inside this call. */
  watch(spiffeId: string, watcher: Watcher): IndexView {
    let view = this.#views.get(spiffeId);
    if (view === undefined) {
      view = { ...this.#compute(spiffeId), watchers: new Set() };
      this.#views.set(spiffeId, view);
    }
    const held = view;
    // A stream has a notice of its own even where two streams share one function.
    const own: Watcher = (typeUrl) => watcher(typeUrl);
    held.watchers.add(own);
    return {
      versions(typeUrl) {
        const versions = new Map<string, string>();
        for (const resource of (held.types.get(typeUrl) ?? NO_RESOURCES).values())
          versions.set(resource.name, resource.version);
        return versions;
      },
      resource: (typeUrl, name) => held.types.get(typeUrl)?.get(name),
      close: () => {
        held.watchers.delete(own);
        if (held.watchers.size === 0 && this.#views.get(spiffeId) === held) this.#views.delete(spiffeId);
      },
    };
  }

  /** Everything an identity must know now, without watching: what its sidecar would get. */
  snapshot(spiffeId: string): EncodedResource[] {
    const { types } = this.#views.get(spiffeId) ?? this.#compute(spiffeId);
    return [...types.values()].flatMap((resources) => [...resources.values()]);
  }

  #compute(spiffeId: string): Pick<View, 'services' | 'types'> {
    const needs = this.#needsOf(spiffeId);
    const types = new Map<string, Map<string, EncodedResource>>();
    for (const resource of needs.resources) ofType(types, resource.typeUrl).set(resource.name, resource);
    for (const service of needs.services) {
      for (const resource of this.#byService.get(service)?.values() ?? []) {
        ofType(types, resource.typeUrl).set(resource.name, resource);
      }
    }
    return { services: needs.services, types };
  }
}

function ofType(types: Map<string, Map<string, EncodedResource>>, typeUrl: string): Map<string, EncodedResource> {
  let resources = types.get(typeUrl);
  if (resources === undefined) {
    resources = new Map();
    types.set(typeUrl, resources);
  }
  return resources;
}

function notify(view: View, typeUrl: string): void {
  for (const watcher of view.watchers) watcher(typeUrl);
}

function sameVersions(a: ReadonlyMap<string, EncodedResource>, b: ReadonlyMap<string, EncodedResource>): boolean {
  if (a.size !== b.size) return false;
  for (const [name, resource] of a) if (b.get(name)?.version !== resource.version) return false;
  return true;
}
