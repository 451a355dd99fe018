// Which of this sidecar's ports a connection is for, and who is calling: the two facts that the inbound listener
// learns from a handshake.

import { uriName } from '../../proto/kit/san.ts';
import { parseSpiffeId } from '../../proto/kit/spiffe.ts';
import type { OwnPort, Snapshot } from '../config/snapshot.ts';
import type { PeerIdentity } from '../filters/authorization/run.ts';
import type { HandshakeFailure } from '../wire/tls.ts';

/** A port of this sidecar, and the Service that it belongs to. */
export interface InboundPort {
  /** Resource name, `namespace/name`. */
  readonly service: string;
  readonly own: OwnPort;
}

/** Between sidecars: `port.service.namespace`, in canonical form. */
const SERVER_NAME = /^([1-9]\d{0,4})\.([a-z0-9-]{1,63})\.([a-z0-9-]{1,63})$/;

/** What ordinary clients call a Service: its complete hosts, which its certificate names, too. */
const HOST = /^([a-z0-9-]{1,63})\.([a-z0-9-]{1,63})(?:\.mesh)?$/;

/** The port that a server name (SNI) means; null when no application here answers to it. */
export function portOf(snapshot: Snapshot, serverName: string): InboundPort | null {
  const parts = SERVER_NAME.exec(serverName);
  if (parts === null) return simplePort(snapshot, serverName);
  const service = `${parts[3]}/${parts[2]}`;
  const own = snapshot.ownServices.get(service)?.ports.get(Number(parts[1]));
  return own === undefined ? simplePort(snapshot, serverName) : { service, own };
}

/** The port that the host of a Service means to whoever knows no other server names: its only one with TLS SIMPLE. */
function simplePort(snapshot: Snapshot, host: string): InboundPort | null {
  const parts = HOST.exec(host);
  const service = parts === null ? '' : `${parts[2]}/${parts[1]}`;
  let found: InboundPort | null = null;
  for (const own of snapshot.ownServices.get(service)?.ports.values() ?? []) {
    if (own.tls !== 'simple') continue;
    if (found !== null) return null;
    found = { service, own };
  }
  return found;
}

/**
 * The port that connections in the clear are for: the only one whose TLS mode is OFF. Nothing in such a connection
 * says which is meant, so with two of them, or none, nobody is let in without TLS.
 */
export function plaintextPort(snapshot: Snapshot): InboundPort | null {
  let found: InboundPort | null = null;
  for (const { name, ports } of snapshot.ownServices.values()) {
    for (const own of ports.values()) {
      if (own.tls !== 'off') continue;
      if (found !== null) return null;
      found = { service: name, own };
    }
  }
  return found;
}

/**
 * Who a verified certificate (DER) names: exactly one SPIFFE id, of this mesh. Certificates of other trust domains
 * do not pass, whichever root signed them: their names mean nothing here.
 */
export function peerOf(certificate: Buffer, trustDomain: string): PeerIdentity | HandshakeFailure {
  const name = uriName(certificate);
  const parsed = name === null ? null : parseSpiffeId(name);
  if (parsed === null || !parsed.ok) return 'spiffeId';
  const { namespace, trustDomain: theirs } = parsed.identity;
  if (theirs !== trustDomain) return 'trustDomain';
  return { spiffeId: parsed.id, trustDomain: theirs, namespace };
}
