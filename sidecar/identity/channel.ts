// Connections to the control plane: TLS 1.3 by the mesh's roots, and the server known by its SPIFFE id, not by the
// name or address under which it was reached.

import { type ChannelCredentials, type ChannelOptions, credentials } from '@grpc/grpc-js';
import { verifySpiffe } from '../../proto/kit/san.ts';
import type { WorkerIdentity } from '../base/messages.ts';

/** Of every gRPC channel to the control plane. */
export const CHANNEL_OPTIONS: ChannelOptions = {
  // Each session has a connection of its own, so that it shows the certificate of its time.
  'grpc.use_local_subchannel_pool': 1,
  // Node takes no address as server name; the SPIFFE id decides, whatever the name.
  'grpc.ssl_target_name_override': 'control-plane.weft-system',
  // The control plane is infrastructure: the proxy variables are for applications, and may name this very sidecar.
  'grpc.enable_http_proxy': 0,
  // A control plane that vanished without a word is noticed within 40 s.
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  // A descriptor set of a large API; grpc-js allows 4 MiB.
  'grpc.max_receive_message_length': 64 * 1_024 * 1_024,
};

/** @param identity shown as the client's certificate; null before the first one. */
export function controlPlaneCredentials(
  trustDomain: string,
  rootsPem: readonly string[],
  identity: WorkerIdentity | null,
): ChannelCredentials {
  const allowed = new Set([`spiffe://${trustDomain}/ns/weft-system/sa/control-plane`]);
  return credentials.createSsl(
    Buffer.from(rootsPem.join('')),
    identity === null ? null : Buffer.from(identity.privateKeyPem),
    identity === null ? null : Buffer.from(identity.chainPem),
    {
      checkServerIdentity: (_host, certificate) => {
        const wrong = verifySpiffe(certificate.raw, allowed);
        return wrong === null ? undefined : new Error(`the control plane ${wrong}`);
      },
    },
  );
}

/** `host:port` as gRPC resolves it. */
export function target(where: { readonly host: string; readonly port: number }): string {
  return where.host.includes(':') ? `[${where.host}]:${where.port}` : `${where.host}:${where.port}`;
}
