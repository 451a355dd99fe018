// Roots that a policy brings along: the control plane checks the file, and a sidecar what it is sent, by the same code.

import { X509Certificate } from 'node:crypto';

/** What keeps a PEM text from being roots to trust; null when nothing does. One bad certificate would fail every handshake. */
export function rootsMistake(pem: string): string | null {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*(?:-----END CERTIFICATE-----)?/g);
  if (blocks === null) return 'holds no PEM certificate';
  for (const [i, block] of blocks.entries()) {
    try {
      new X509Certificate(block);
    } catch {
      return `certificate ${i + 1} of ${blocks.length} cannot be read`;
    }
  }
  return null;
}
