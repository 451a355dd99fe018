// The first contact with a control plane, when no root is trusted yet: the join token carries the hash of the
// root's public key, so the chain that the server shows is checked against that hash before anything secret is
// sent. Nobody in between can take the token, nor hand out an identity of another mesh (as kubeadm's discovery does).

import { createHash, timingSafeEqual, type X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';

/** To a verified root: 5 s, a handshake over a bad link and a busy control plane. */
export const FIRST_CONTACT_TIMEOUT_MS = 5_000;

/** Certificates in the chain a server may show: leaf, two intermediates, root. */
const CHAIN_MAX = 4;

/**
 * Fetches the mesh's root from the control plane at `host:port` and verifies it by the pin.
 * @param rootKeySha256 SHA-256 of the root's SubjectPublicKeyInfo in DER, from the join token.
 * @throws Error that says what is wrong: not reachable, no chain, or another root.
 */
export function fetchPinnedRoot(host: string, port: number, rootKeySha256: Uint8Array): Promise<X509Certificate> {
  return new Promise((resolve, reject) => {
    const where = `control plane ${host}:${port}`;
    // Unverified by TLS on purpose: the pin below decides, and nothing is sent on this connection.
    const socket = connect({
      host,
      port,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
      timeout: FIRST_CONTACT_TIMEOUT_MS,
    });
    const fail = (message: string): void => {
      socket.destroy();
      reject(new Error(`${where}: ${message}`));
    };
    socket.once('timeout', () =>
      fail(`no TLS answer within ${FIRST_CONTACT_TIMEOUT_MS} ms; is the port right and reachable?`),
    );
    socket.once('error', (error) => fail(error.message));
    socket.once('secureConnect', () => {
      const root = pinnedRoot(socket.getPeerX509Certificate(), rootKeySha256, Date.now());
      if (typeof root === 'string') return fail(root);
      socket.destroy();
      resolve(root);
    });
  });
}

/**
 * Walks from the leaf to the self-signed root, verifying every signature and date, and compares the root's key.
 * @returns the root, or what is wrong.
 */
export function pinnedRoot(
  leaf: X509Certificate | undefined,
  rootKeySha256: Uint8Array,
  nowMs: number,
): X509Certificate | string {
  if (leaf === undefined) return 'showed no certificate';
  let certificate = leaf;
  for (let depth = 0; depth < CHAIN_MAX; depth++) {
    if (nowMs < Date.parse(certificate.validFrom) || nowMs > Date.parse(certificate.validTo)) {
      return `certificate "${certificate.subject}" is valid from ${certificate.validFrom} to ${certificate.validTo}; is the clock right?`;
    }
    const issuer = certificate.issuerCertificate ?? certificate;
    if (!certificate.verify(issuer.publicKey))
      return `certificate "${certificate.subject}" is not signed by the next in its chain`;
    if (issuer.fingerprint256 === certificate.fingerprint256) return matchPin(certificate, rootKeySha256);
    if (!issuer.ca) return `certificate "${issuer.subject}" signs another and is no authority`;
    certificate = issuer;
  }
  return `its chain is longer than ${CHAIN_MAX} certificates`;
}

function matchPin(root: X509Certificate, rootKeySha256: Uint8Array): X509Certificate | string {
  const hash = createHash('sha256')
    .update(root.publicKey.export({ type: 'spki', format: 'der' }))
    .digest();
  if (hash.length === rootKeySha256.length && timingSafeEqual(hash, rootKeySha256)) return root;
  return 'its root is not the one that the join token names; was the token made for another mesh, or is somebody in between?';
}
