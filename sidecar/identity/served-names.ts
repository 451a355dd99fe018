// Keeps the DNS names of the own certificate in step with the Services that this identity serves: ordinary clients of a
// new Service cannot verify it before they are there, and half a life is long to wait.

import { X509Certificate } from 'node:crypto';
import { certificateNames } from '../../proto/kit/host.ts';
import { dnsNames } from '../../proto/kit/san.ts';

/** What the certificate lacks, and for what it was asked already. */
export class ServedNames {
  private askedFor = '';

  /**
   * Whether a new certificate is to be asked for: the leaf of `chainPem` lacks a name of these Services. Once for the same
   * ones: a control plane that gives no such names, as an older one, must not be asked in a loop.
   * @param services resource names of those that the identity serves.
   */
  areMissing(chainPem: string, services: readonly string[]): boolean {
    const names = certificateNames(services);
    const wanted = names.join(' ');
    if (wanted === this.askedFor) return false;
    const held = new Set(dnsNames(new X509Certificate(chainPem).raw));
    if (names.every((name) => held.has(name))) return false;
    this.askedFor = wanted;
    return true;
  }
}
