// The one way by which config changes: kept first, so that a worker that starts meanwhile gets it, then put in force
// by every worker, and what was refused taken back to what it was before.

import { fromBinary } from '@bufbuild/protobuf';
import { TrustBundleSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { ResourceBytes, ResourceError } from '../base/messages.ts';
import { pemOf } from '../identity/stored.ts';
import type { ResourceStore } from './store.ts';

type Removed = { readonly typeUrl: string; readonly name: string };

const TRUST_BUNDLE = `type.googleapis.com/${TrustBundleSchema.typeName}`;

/** Config as this sidecar serves it. */
export class ConfigInForce {
  readonly store: ResourceStore;
  readonly #toWorkers: (upserts: readonly ResourceBytes[], removed: readonly Removed[]) => Promise<ResourceError[]>;
  readonly #onRoots: (trustDomain: string, rootsPem: readonly string[]) => void;
  /** Of what is refused now: the reason by type and name. */
  readonly #rejected = new Map<string, ResourceError>();

  /** @param onRoots hears of trust bundles; a root that does not parse is refused like any resource. */
  constructor(
    store: ResourceStore,
    toWorkers: (upserts: readonly ResourceBytes[], removed: readonly Removed[]) => Promise<ResourceError[]>,
    onRoots: (trustDomain: string, rootsPem: readonly string[]) => void,
  ) {
    this.store = store;
    this.#toWorkers = toWorkers;
    this.#onRoots = onRoots;
  }

  /** What is refused now. */
  get rejected(): readonly ResourceError[] {
    return [...this.#rejected.values()];
  }

  /** Resolves when every worker has swapped, with what was refused. */
  async apply(upserts: readonly ResourceBytes[], removed: readonly Removed[]): Promise<ResourceError[]> {
    const before = upserts.map(({ typeUrl, name }) => this.store.get(typeUrl, name));
    this.store.take(upserts, removed);
    const errors = [...this.#takeRoots(upserts), ...(await this.#toWorkers(upserts, removed))];
    for (const { typeUrl, name } of [...upserts, ...removed]) this.#rejected.delete(keyOf(typeUrl, name));
    for (const error of errors) this.#rejected.set(keyOf(error.typeUrl, error.name), error);
    upserts.forEach(({ typeUrl, name }, i) => {
      if (!this.#rejected.has(keyOf(typeUrl, name))) return;
      const good = before[i];
      if (good === undefined) this.store.take([], [{ typeUrl, name }]);
      else this.store.take([good], []);
    });
    this.store.save();
    return errors;
  }

  /** Notes what a worker refused of the config that it was started with. */
  note(errors: readonly ResourceError[]): void {
    for (const error of errors) this.#rejected.set(keyOf(error.typeUrl, error.name), error);
  }

  #takeRoots(upserts: readonly ResourceBytes[]): ResourceError[] {
    const errors: ResourceError[] = [];
    for (const { typeUrl, name, bytes } of upserts) {
      if (typeUrl !== TRUST_BUNDLE) continue;
      try {
        const { trustDomain, roots } = fromBinary(TrustBundleSchema, bytes);
        if (roots.length === 0) throw new Error('it holds no root');
        this.#onRoots(trustDomain, roots.map(pemOf));
      } catch (error) {
        errors.push({ typeUrl, name, error: `the trust bundle is not usable: ${(error as Error).message}` });
      }
    }
    return errors;
  }
}

function keyOf(typeUrl: string, name: string): string {
  return `${typeUrl} ${name}`;
}
