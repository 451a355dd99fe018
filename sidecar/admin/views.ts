// What main has seen of itself, as admin and metrics show it.

import { X509Certificate } from 'node:crypto';
import { fromBinary, toJson } from '@bufbuild/protobuf';
import { RevocationSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { ConfigInForce } from '../config/in-force.ts';
import type { ResourceStore } from '../config/store.ts';
import type { HeldIdentity } from '../identity/stored.ts';
import type { SidecarOptions } from '../options.ts';
import type { CertificateView } from './admin.ts';
import type { OwnMetric } from './exposition.ts';

/** State of the parts, kept up to date by app.ts. */
export interface Seen {
  readonly startedMs: number;
  workerDeaths: number;
  contained: number;
  /** Null: no control plane, or not yet. */
  link: { readonly connected: boolean } | null;
  linkError: string;
  /** Null: nothing is to be registered, or not yet. */
  registration: { readonly registered: boolean; readonly refused: string } | null;
  identity: HeldIdentity | null;
  renewalFailures: number;
}

/** The certificate without its key. */
export function certificateView(identity: HeldIdentity | null): CertificateView | null {
  if (identity === null) return null;
  return {
    spiffeId: identity.spiffeId,
    serial: identity.serial,
    notBefore: new Date(identity.notBeforeMs).toISOString(),
    notAfter: new Date(identity.notAfterMs).toISOString(),
    rootFingerprints: identity.rootsPem.map((pem) => new X509Certificate(pem).fingerprint256),
  };
}

/** Who this sidecar refuses. */
export function revocationsView(store: ResourceStore): unknown[] {
  const typeUrl = `type.googleapis.com/${RevocationSchema.typeName}`;
  return store
    .all()
    .filter((one) => one.typeUrl === typeUrl)
    .map(({ bytes }) => toJson(RevocationSchema, fromBinary(RevocationSchema, bytes)));
}

export function statsView(seen: Seen, config: ConfigInForce, options: SidecarOptions): unknown {
  const { controlPlane } = options;
  return {
    pid: process.pid,
    upMs: Date.now() - seen.startedMs,
    workers: { count: options.workers, deaths: seen.workerDeaths, containedThrows: seen.contained },
    controlPlane:
      controlPlane === null
        ? null
        : {
            ...controlPlane,
            connected: seen.link?.connected ?? false,
            lastError: seen.linkError,
            registered: seen.registration?.registered ?? null,
            registrationRefused: seen.registration?.refused ?? '',
          },
    config: { resources: config.store.all().length, rejected: config.rejected },
    memory: process.memoryUsage(),
  };
}

/** Main's own families. */
export function ownMetrics(seen: Seen, config: ConfigInForce): OwnMetric[] {
  return [
    {
      name: 'weft_worker_deaths_total',
      kind: 'counter',
      help: 'Data-path workers that died and were started again',
      read: () => seen.workerDeaths,
    },
    {
      name: 'weft_control_plane_connected',
      kind: 'gauge',
      help: '1 while the stream to the control plane is up and in sync',
      read: () => (seen.link?.connected === true ? 1 : 0),
    },
    {
      name: 'weft_registered',
      kind: 'gauge',
      help: '1 while the control plane has this workload as an endpoint of its Services',
      read: () => (seen.registration?.registered === true ? 1 : 0),
    },
    {
      name: 'weft_certificate_expiry_timestamp_seconds',
      kind: 'gauge',
      help: 'End of the workload certificate since the Unix epoch; 0: none',
      read: () => (seen.identity?.notAfterMs ?? 0) / 1_000,
    },
    {
      name: 'weft_certificate_renewal_failures_total',
      kind: 'counter',
      help: 'Times that the workload certificate could not be renewed; each is tried again',
      read: () => seen.renewalFailures,
    },
    {
      name: 'weft_config_resources',
      kind: 'gauge',
      help: 'Resources in force',
      read: () => config.store.all().length,
    },
    {
      name: 'weft_config_rejected',
      kind: 'gauge',
      help: 'Resources refused, of which the last good version is in force where there was one',
      read: () => config.rejected.length,
    },
  ];
}
