// Being a member of a mesh: the stream to the control plane, registration over it, and renewal of the certificate.
// gRPC and the certificate library load here and nowhere else, so a sidecar without a control plane never has them.

import type { Readiness } from './admin/readiness.ts';
import type { Seen } from './admin/views.ts';
import type { ConfigInForce } from './config/in-force.ts';
import { RegistrationReport } from './config/registration.ts';
import { SERVICE_TYPE, servedBy } from './config/store.ts';
import { advertisedAddress, workloadId } from './config/workload.ts';
import { keepRenewed } from './identity/keeper.ts';
import { renewer } from './identity/renewer.ts';
import { ServedNames } from './identity/served-names.ts';
import type { HeldIdentity } from './identity/stored.ts';
import type { SidecarOptions } from './options.ts';
import type { Logger } from './telemetry/log.ts';

/** What membership needs of the other parts. */
export interface JoinParts {
  readonly options: SidecarOptions;
  /** The control plane. */
  readonly where: NonNullable<SidecarOptions['controlPlane']>;
  /** The newest one. */
  readonly identity: () => HeldIdentity;
  readonly takeIdentity: (next: HeldIdentity) => void;
  readonly inboundPort: number;
  readonly config: ConfigInForce;
  readonly seen: Seen;
  readonly readiness: Readiness;
  readonly log: Logger;
  /** Everything that this sidecar is to know is in force, for the first time and after each change of Services. */
  readonly onSynced: () => void;
  /** The control plane has answered, or was not there. */
  readonly onSettled: () => void;
}

/** A sidecar's membership. */
export interface Membership {
  /** No certificate is renewed any more, and the mesh sends calls elsewhere. */
  leave(): Promise<void>;
  close(): void;
}

/** Connects in the background, again and again; resolves as soon as that has begun. */
export async function joinMesh(parts: JoinParts): Promise<Membership> {
  const { options, where, config, seen, readiness, log } = parts;
  const [{ openLink }, { join, newKey, renew }] = await Promise.all([
    import('./config/link.ts'),
    import('./identity/sign.ts'),
  ]);
  const registration = new RegistrationReport(log, () => performance.now());
  if (options.app.length > 0) seen.registration = registration;
  readiness.refused = () => registration.refused;
  const names = new ServedNames();
  let synced = false;
  const onServices = (): void => {
    parts.onSynced();
    const { chainPem, spiffeId } = parts.identity();
    if (!names.areMissing(chainPem, servedBy(config.store, spiffeId))) return;
    log.info('this identity serves Services that its certificate does not name; it is renewed');
    keeper.renewSoon();
  };
  const link = openLink({
    where,
    identity: parts.identity,
    registration: options.app.length === 0 ? null : toRegister(options, parts.inboundPort),
    random: Math.random,
    versions: (typeUrl) => config.store.versions(typeUrl),
    apply: async (upserts, removed) => {
      const errors = await config.apply(upserts, removed);
      for (const { typeUrl, name, error } of errors) log.warn({ typeUrl, name }, `refused: ${error}`);
      if (synced && [...upserts, ...removed].some(({ typeUrl }) => typeUrl === SERVICE_TYPE)) onServices();
      return errors;
    },
    onSynced: () => {
      synced = true;
      config.store.save();
      onServices();
    },
    onConnected: () => {
      seen.linkError = '';
      parts.onSettled();
      log.info('in sync with the control plane');
    },
    onLost: (reason, retryMs) => {
      seen.linkError = reason;
      parts.onSettled();
      log.warn(`no control plane: ${reason}; again in ${Math.round(retryMs)} ms, and serving what is known`);
    },
    onRegistered: (endpoints) => registration.onRegistered(endpoints),
    onRegisterFailed: (reason, retryMs, refused) => registration.onFailed(reason, retryMs, refused),
  });
  seen.link = link;
  const renewed = renewer(where, options, { join, newKey, renew }, Date.now);
  const keeper = keepRenewed(parts.identity(), {
    renew: () => renewed(parts.identity()),
    onRenewed: (next) => {
      parts.takeIdentity(next);
      log.info(`certificate renewed, valid until ${new Date(next.notAfterMs).toISOString()}`);
    },
    onFailure: (error, retryMs) => {
      seen.renewalFailures++;
      const validUntil = new Date(parts.identity().notAfterMs).toISOString();
      const sentence = `certificate not renewed: ${error.message}; again in ${Math.round(retryMs / 1_000)} s`;
      log.warn({ validUntil }, sentence);
    },
    now: Date.now,
    random: Math.random,
  });
  return {
    async leave() {
      keeper.stop();
      await link.drain();
    },
    close: () => link.close(),
  };
}

function toRegister(options: SidecarOptions, inboundPort: number) {
  return {
    workloadId: workloadId(options.workloadId, options.stateDir),
    address: advertisedAddress(options.advertiseAddress, options.inboundHost),
    inboundPort,
    apps: options.app.map(({ name, servicePort }) => ({ service: name, servicePort })),
    labels: Object.fromEntries(options.label),
  };
}
