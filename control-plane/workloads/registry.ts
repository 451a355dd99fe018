// Who is registered, and for how long. A workload's endpoint lives as long as its stream and a grace time; it
// outlives the control plane by the file, so that a control plane killed under load costs no request.

import { join } from 'node:path';
import { readPrivateFile, writePrivateFile } from '../../proto/kit/private-file.ts';
import { parseSpiffeId } from '../../proto/kit/spiffe.ts';
import type { Index } from '../index/index.ts';
import type { Resource } from '../model/resource.ts';
import { type Registration, type Resolved, resolveRegistration, type WorkloadEndpoint } from './registration.ts';

/** What a registry needs. */
export interface RegistryOptions {
  /** Folder of `registrations.json` (0600). */
  readonly dataDir: string;
  readonly graceMs: number;
  readonly index: Pick<Index, 'setEndpoint' | 'removeEndpoint'>;
  /** Hears of a registration that ended and why, for the log. */
  readonly onWithdraw: (registration: Registration, reason: 'drained' | 'vanished') => void;
  /** The file could not be written when a grace time ended; the memory is right and the next write repairs it. */
  readonly onError: (error: Error) => void;
}

/** Workloads in one mesh: 10 times the largest that DESIGN measures; the file is written whole, 300 bytes each. */
export const REGISTRATIONS_MAX = 10_000;

/** Registrations within this time share one write of the file: a mesh that starts would write it once each. */
const SAVE_DELAY_MS = 10;

interface Entry {
  registration: Registration;
  endpoints: readonly WorkloadEndpoint[];
  /** The stream that keeps it; null while the grace time runs. */
  holder: object | null;
  graceTimer: NodeJS.Timeout | null;
}

/** The registered workloads. Reads the file in its constructor, which throws when it cannot. */
export class Registry {
  readonly #options: RegistryOptions;
  readonly #path: string;
  /** By identity and workload id: nobody takes over a name that another identity uses. */
  readonly #entries = new Map<string, Entry>();
  #resources: readonly Resource[];
  #saving: Promise<void> | null = null;
  #closed = false;

  constructor(options: RegistryOptions, resources: readonly Resource[]) {
    this.#options = options;
    this.#resources = resources;
    this.#path = join(options.dataDir, 'registrations.json');
    const text = readPrivateFile(this.#path);
    for (const registration of text === null ? [] : parseFile(this.#path, text)) {
      const entry: Entry = { registration, endpoints: [], holder: null, graceTimer: null };
      this.#entries.set(keyOf(registration), entry);
      const resolved = this.#resolve(registration);
      if (resolved.ok) this.#publish(entry, resolved.endpoints);
      this.#startGrace(entry);
    }
  }

  /** How many are registered, those in their grace time included. */
  get size(): number {
    return this.#entries.size;
  }

  /** The endpoints as the mesh sees them, for the API. */
  endpoints(): WorkloadEndpoint[] {
    return [...this.#entries.values()].flatMap((entry) => entry.endpoints);
  }

  /**
   * Takes a registration for `holder`, its stream. Whoever held it before has lost it: its `release` does nothing.
   * Resolves once the registration is on the disk, with the names of its endpoints. Rejects when the disk fails.
   */
  async register(registration: Registration, holder: object): Promise<Resolved> {
    const resolved = this.#resolve(registration);
    if (!resolved.ok) return resolved;
    const key = keyOf(registration);
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      if (this.#entries.size >= REGISTRATIONS_MAX) {
        const error = `${REGISTRATIONS_MAX} workloads are registered; no more are taken`;
        return { ok: false, code: 'PERMISSION_DENIED', error };
      }
      entry = { registration, endpoints: [], holder, graceTimer: null };
      this.#entries.set(key, entry);
    }
    if (entry.graceTimer !== null) clearTimeout(entry.graceTimer);
    entry.graceTimer = null;
    entry.registration = registration;
    entry.holder = holder;
    await this.#save();
    // Published only now: what a caller can see survives a crash. Another message may have come in between.
    if (this.#entries.get(key) === entry && entry.registration === registration) {
      this.#publish(entry, resolved.endpoints);
    }
    return resolved;
  }

  /** No new requests, please: withdrawn at once, unless another stream holds it by now. */
  async drain(holder: object): Promise<void> {
    const held = [...this.#entries.values()].filter((entry) => entry.holder === holder);
    for (const entry of held) this.#withdraw(entry, 'drained');
    if (held.length > 0) await this.#save();
  }

  /** The stream ended without a drain: the grace time begins. */
  release(holder: object): void {
    for (const entry of this.#entries.values()) {
      if (entry.holder !== holder) continue;
      entry.holder = null;
      this.#startGrace(entry);
    }
  }

  /** New policies: a workload that may no longer serve loses its endpoint, and gets it back when it may again. */
  setPolicies(resources: readonly Resource[]): void {
    this.#resources = resources;
    for (const entry of this.#entries.values()) {
      const resolved = this.#resolve(entry.registration);
      this.#publish(entry, resolved.ok ? resolved.endpoints : []);
    }
  }

  /** The program ends: no grace time ends any more, so that the file says who was here. */
  close(): void {
    this.#closed = true;
    for (const entry of this.#entries.values()) if (entry.graceTimer !== null) clearTimeout(entry.graceTimer);
  }

  #resolve(registration: Registration): Resolved {
    const parsed = parseSpiffeId(registration.spiffeId);
    if (!parsed.ok) return { ok: false, code: 'PERMISSION_DENIED', error: parsed.error };
    return resolveRegistration(registration, parsed.identity, this.#resources);
  }

  #publish(entry: Entry, endpoints: readonly WorkloadEndpoint[]): void {
    const names = new Set(endpoints.map((endpoint) => endpoint.resource.name));
    for (const { resource } of entry.endpoints)
      if (!names.has(resource.name)) this.#options.index.removeEndpoint(resource.name);
    for (const { service, resource } of endpoints) this.#options.index.setEndpoint(service, resource);
    entry.endpoints = endpoints;
  }

  #startGrace(entry: Entry): void {
    if (this.#closed) return;
    entry.graceTimer = setTimeout(() => {
      this.#withdraw(entry, 'vanished');
      this.#save().catch(this.#options.onError);
    }, this.#options.graceMs);
    entry.graceTimer.unref();
  }

  #withdraw(entry: Entry, reason: 'drained' | 'vanished'): void {
    this.#entries.delete(keyOf(entry.registration));
    this.#publish(entry, []);
    this.#options.onWithdraw(entry.registration, reason);
  }

  /** One write for all changes of SAVE_DELAY_MS; every caller waits for the one that holds its change. */
  #save(): Promise<void> {
    this.#saving ??= new Promise((resolve, reject) => {
      setTimeout(() => {
        this.#saving = null;
        try {
          const registrations = [...this.#entries.values()].map((entry) => entry.registration);
          writePrivateFile(this.#path, `${JSON.stringify({ version: 1, registrations })}\n`);
          resolve();
        } catch (error) {
          reject(error);
        }
      }, SAVE_DELAY_MS);
    });
    return this.#saving;
  }
}

function keyOf({ spiffeId, workloadId }: Registration): string {
  return `${spiffeId} ${workloadId}`;
}

function parseFile(path: string, text: string): Registration[] {
  try {
    const file = JSON.parse(text) as { version?: unknown; registrations?: unknown };
    if (file.version !== 1 || !Array.isArray(file.registrations)) throw new Error('not version 1');
    if (!file.registrations.every(isRegistration)) throw new Error('an entry is not a registration');
    return file.registrations;
  } catch (error) {
    throw new Error(
      `${path} cannot be read (${(error as Error).message}); remove it: every workload registers again when it connects`,
    );
  }
}

function isRegistration(value: unknown): value is Registration {
  if (typeof value !== 'object' || value === null) return false;
  const { spiffeId, workloadId, address, inboundPort, apps, labels } = value as Record<string, unknown>;
  return (
    [spiffeId, workloadId, address].every((text) => typeof text === 'string') &&
    typeof inboundPort === 'number' &&
    Array.isArray(apps) &&
    typeof labels === 'object' &&
    labels !== null
  );
}
