// TLS of the control plane's gRPC port. A client certificate is asked for and may be missing (the first Sign has
// none); the server's own certificate is exchanged without touching connections that are open.

import { ServerCredentials } from '@grpc/grpc-js';
import { whenDue } from '../../proto/kit/when-due.ts';
import type { Authority, ServerIdentity } from './authority.ts';

/** Again after a failed renewal: often enough within half a life, too rare to fill a log. */
const RENEW_RETRY_MS = 60_000;

/** What grpc-js asks of credentials; it offers none that take a certificate without demanding it. */
class MeshServerCredentials extends ServerCredentials {
  constructor(identity: ServerIdentity, roots: readonly string[]) {
    super({ requestCert: true, rejectUnauthorized: false }, secureContext(identity, roots));
  }

  exchange(identity: ServerIdentity, roots: readonly string[]): void {
    this.updateSecureContextOptions(secureContext(identity, roots));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

/** Credentials that renew themselves until closed. */
export interface RenewingCredentials {
  readonly credentials: ServerCredentials;
  /** The certificate in use now. */
  current(): ServerIdentity;
  close(): void;
}

/**
 * Issues the server's certificate and renews it at half of its life.
 * @param onRenew hears of each new certificate, for the other TLS listeners, or of the failure to make one.
 */
export async function serverCredentials(
  authority: Authority,
  names: { readonly dns: readonly string[]; readonly addresses: readonly string[] },
  now: () => number,
  onRenew: (renewed: ServerIdentity | Error) => void,
): Promise<RenewingCredentials> {
  const roots = authority.trustBundle.map(pem);
  let identity = await authority.issueServer(names.dns, names.addresses);
  const credentials = new MeshServerCredentials(identity, roots);
  let renewAtMs = halfLife(identity, now());
  let cancel: () => void = () => {};
  const arm = (): void => {
    cancel = whenDue(
      () => renewAtMs,
      now,
      () => void renew(),
    );
  };
  const renew = async (): Promise<void> => {
    try {
      identity = await authority.issueServer(names.dns, names.addresses);
      credentials.exchange(identity, roots);
      renewAtMs = halfLife(identity, now());
      onRenew(identity);
    } catch (error) {
      renewAtMs = now() + RENEW_RETRY_MS;
      onRenew(error as Error);
    }
    if (!closed) arm();
  };
  let closed = false;
  arm();
  return {
    credentials,
    current: () => identity,
    close(): void {
      closed = true;
      cancel();
    },
  };
}

/** PEM of a DER certificate. */
export function pem(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function halfLife(identity: ServerIdentity, nowMs: number): number {
  return nowMs + (identity.expiresAtMs - nowMs) / 2;
}

function secureContext(identity: ServerIdentity, roots: readonly string[]) {
  return { key: identity.keyPem, cert: identity.chainPem, ca: [...roots], minVersion: 'TLSv1.3' as const };
}
