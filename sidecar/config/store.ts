// Everything this sidecar was told and took: the resources in force, by type and name, and their last good copy on
// disk, from which it starts when there is no control plane.

import { readFileSync } from 'node:fs';
import { create, fromBinary, fromJsonString, toJsonString } from '@bufbuild/protobuf';
import { type Service, ServiceSchema, SnapshotSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { readPrivateFile, writePrivateFile } from '../../proto/kit/private-file.ts';
import type { ResourceBytes } from '../base/messages.ts';

/** Of Services on the wire. */
export const SERVICE_TYPE = `type.googleapis.com/${ServiceSchema.typeName}`;

/** The format of snapshots that this version reads and writes. */
const SNAPSHOT_FORMAT = 1;

/** Changes within this time are one write of the file; what is lost in a crash is sent again by the control plane. */
const WRITE_DELAY_MS = 500;

/** Largest file read: far above 10,000 routes; a wrong file given as snapshot is refused early. */
const SNAPSHOT_BYTES_MAX = 256 * 1_024 * 1_024;

export interface LoadedSnapshot {
  readonly spiffeId: string;
  readonly resources: readonly ResourceBytes[];
}

/** A snapshot file that is not there, or may not be read: something is missing, while its content may be good. */
export class UnreadableError extends Error {}

/** Reads a snapshot. Throws an Error that names the file and what is wrong with it; null when there is none and it is a `secret` of ours. */
export function readSnapshot(path: string, secret: boolean): LoadedSnapshot | null {
  let text: string | null;
  try {
    text = secret ? readPrivateFile(path) : readFileSync(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new UnreadableError(`snapshot ${path} cannot be read (${code ?? message})`);
  }
  if (text === null) return null;
  if (text.length > SNAPSHOT_BYTES_MAX) throw new Error(`snapshot ${path} is larger than ${SNAPSHOT_BYTES_MAX} bytes`);
  try {
    const snapshot = fromJsonString(SnapshotSchema, text);
    if (snapshot.format !== SNAPSHOT_FORMAT) {
      throw new Error(`it is of format ${snapshot.format}, this version reads format ${SNAPSHOT_FORMAT}`);
    }
    const resources = snapshot.resources.map(({ typeUrl, name, version, resource }) => {
      if (typeUrl === '' || name === '') throw new Error('a resource has no type or no name');
      return { typeUrl, name, version, bytes: resource };
    });
    return { spiffeId: snapshot.spiffeId, resources };
  } catch (error) {
    throw new Error(
      `snapshot ${path} is not usable: ${(error as Error).message}; write one with weft render DIR --service NAME`,
    );
  }
}

/** The resources in force. */
export class ResourceStore {
  readonly #types = new Map<string, Map<string, ResourceBytes>>();
  readonly #path: string;
  readonly #onError: (error: Error) => void;
  #spiffeId = '';
  #timer: NodeJS.Timeout | undefined;

  /** @param path of the last good copy; empty: none is kept. `onError` hears of a disk that refuses. */
  constructor(path: string, onError: (error: Error) => void) {
    this.#path = path;
    this.#onError = onError;
  }

  /** The identity that the copy is of. */
  set spiffeId(id: string) {
    this.#spiffeId = id;
  }

  /** Takes what was applied, and writes the copy a little later. */
  take(upserts: readonly ResourceBytes[], removed: readonly { typeUrl: string; name: string }[]): void {
    for (const one of upserts) {
      let names = this.#types.get(one.typeUrl);
      if (names === undefined) {
        names = new Map();
        this.#types.set(one.typeUrl, names);
      }
      names.set(one.name, one);
    }
    for (const { typeUrl, name } of removed) this.#types.get(typeUrl)?.delete(name);
  }

  /** Asks for the copy to be written. */
  save(): void {
    if (this.#path === '' || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => this.flush(), WRITE_DELAY_MS);
    this.#timer.unref();
  }

  /** Writes what `save` asked for, now. */
  flush(): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    try {
      writePrivateFile(this.#path, `${this.toJson()}\n`);
    } catch (error) {
      this.#onError(error as Error);
    }
  }

  /** All of them, in no order that matters. */
  all(): ResourceBytes[] {
    return [...this.#types.values()].flatMap((names) => [...names.values()]);
  }

  /** One of them. */
  get(typeUrl: string, name: string): ResourceBytes | undefined {
    return this.#types.get(typeUrl)?.get(name);
  }

  /** Names and versions of one type. */
  versions(typeUrl: string): Record<string, string> {
    const versions: Record<string, string> = {};
    for (const { name, version } of this.#types.get(typeUrl)?.values() ?? []) versions[name] = version;
    return versions;
  }

  /** weft.mesh.v1.Snapshot as JSON. Resources hold no secrets: providers name files and variables, not keys. */
  toJson(): string {
    const resources = this.all().map(({ typeUrl, name, version, bytes }) => ({
      typeUrl,
      name,
      version,
      resource: bytes,
    }));
    return toJsonString(
      SnapshotSchema,
      create(SnapshotSchema, { format: SNAPSHOT_FORMAT, spiffeId: this.#spiffeId, resources }),
    );
  }
}

/** The ports of every Service in force, by resource name. */
export function servicePorts(store: ResourceStore): Map<string, number[]> {
  return new Map(servicesOf(store).map(({ name, ports }) => [name, ports.map(({ port }) => port)]));
}

/** The local ports that the Services in force ask for. */
export function localPorts(store: ResourceStore): { readonly service: string; readonly port: number }[] {
  return servicesOf(store).flatMap(({ name, localPort }) =>
    localPort === 0 ? [] : [{ service: name, port: localPort }],
  );
}

/** Resource names of the Services in force that an identity may serve. */
export function servedBy(store: ResourceStore, spiffeId: string): string[] {
  return servicesOf(store).flatMap(({ name, identities }) => (identities.includes(spiffeId) ? [name] : []));
}

/** What does not decode was refused, which the workers have said, and is left out. */
function servicesOf(store: ResourceStore): Service[] {
  return [...store.all()].flatMap(({ typeUrl, bytes }) => {
    if (typeUrl !== SERVICE_TYPE) return [];
    try {
      return [fromBinary(ServiceSchema, bytes)];
    } catch {
      return [];
    }
  });
}
