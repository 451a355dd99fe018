// Policies as the index wants them: for a SPIFFE id, encoded resources. Equal resources share their bytes, within one
// set of policies and from one to the next, however many identities get them.

import { create, type Message } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { RevocationSchema, ServiceSchema, TrustBundleSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { parseSpiffeId } from '../../proto/kit/spiffe.ts';
import { type Revocation, revocationName } from '../identity/revocations.ts';
import { needs } from '../model/needs.ts';
import type { Resource } from '../model/resource.ts';
import { type EncodedResource, encodeResource } from './encoded.ts';
import type { Needs } from './index.ts';

/** What every identity gets, beside what the policies say. */
export interface MeshTrust {
  readonly trustDomain: string;
  /** DER. */
  readonly roots: readonly Uint8Array[];
  readonly revocations: readonly Revocation[];
}

/** One revocation as sidecars get it. */
export function encodeRevocation(revocation: Revocation): EncodedResource {
  const { serial, spiffeId, revokedAtMs, expiresAtMs, reason } = revocation;
  const message = create(RevocationSchema, {
    subject: serial === '' ? { case: 'spiffeId', value: spiffeId } : { case: 'serial', value: serial },
    revokedAt: timestampFromMs(revokedAtMs),
    ...(expiresAtMs === 0 ? {} : { expiresAt: timestampFromMs(expiresAtMs) }),
    reason,
  });
  return encodeResource(RevocationSchema, revocationName(revocation), message);
}

/** `needs` gives the same message to every identity for which it is the same. */
const encodedOf = new WeakMap<Message, EncodedResource>();

const NOTHING: Needs = { resources: [], services: new Set() };

/** The needs of every identity under one set of policies. */
export class PolicyNeeds {
  readonly #resources: readonly Resource[];
  readonly #trust: MeshTrust;
  /** The trust bundle and the revocations. */
  readonly #common: readonly EncodedResource[];
  readonly #before: ReadonlyMap<string, EncodedResource>;
  /** By type, name and version: what was handed out. */
  readonly #shared = new Map<string, EncodedResource>();

  /** `before`: the policies that these replace, whose bytes are used again where nothing changed. */
  constructor(resources: readonly Resource[], trust: MeshTrust, before: PolicyNeeds | null) {
    this.#resources = resources;
    this.#trust = trust;
    // The map, not the generation: what is still in use was handed out again by it, and generations must not chain.
    this.#before = before === null ? new Map() : before.#shared;
    const { trustDomain, roots } = trust;
    const bundle = create(TrustBundleSchema, { trustDomain, roots: [...roots] });
    this.#common = [encodeResource(TrustBundleSchema, trustDomain, bundle), ...trust.revocations.map(encodeRevocation)];
  }

  /** Pure but for the sharing. An id of another trust domain needs nothing. */
  of(spiffeId: string): Needs {
    const parsed = parseSpiffeId(spiffeId);
    if (!parsed.ok || parsed.identity.trustDomain !== this.#trust.trustDomain) return NOTHING;
    const resources: EncodedResource[] = [...this.#common];
    const services = new Set<string>();
    for (const { schema, name, message } of needs(this.#resources, parsed.identity)) {
      if (schema.typeName === ServiceSchema.typeName) services.add(name);
      let encoded = encodedOf.get(message);
      if (encoded === undefined) {
        encoded = this.#share(encodeResource(schema, name, message));
        encodedOf.set(message, encoded);
      }
      resources.push(encoded);
    }
    return { resources, services };
  }

  #share(made: EncodedResource): EncodedResource {
    const key = `${made.typeUrl} ${made.name} ${made.version}`;
    const held = this.#shared.get(key) ?? this.#before.get(key) ?? made;
    this.#shared.set(key, held);
    return held;
  }
}
