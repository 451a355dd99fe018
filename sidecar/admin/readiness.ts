// Whether this sidecar should get traffic, and if not, why. A supervisor asks /ready before it sends work, and /live
// to learn whether a restart would help.

import type { Table } from './http.ts';

/** The conditions, as far as they are met. */
export class Readiness {
  identity = false;
  config = false;
  draining = false;
  /** Why the identity is of no use any more; empty: it is, or there is none. */
  expired: () => string = () => '';
  workers: () => boolean = () => false;
  /** Why no caller will ever find this workload, as things stand; empty: nothing is known against it. */
  refused: () => string = () => '';

  /** What is missing; empty: ready. */
  missing(): string[] {
    const missing: string[] = [];
    if (this.draining) missing.push('draining');
    if (!this.identity) missing.push('no identity yet');
    const expired = this.expired();
    if (expired !== '') missing.push(expired);
    if (!this.config) missing.push('no config yet');
    if (!this.workers()) missing.push('a data-path worker is not listening');
    const refused = this.refused();
    if (refused !== '') missing.push(`registration refused: ${refused}`);
    return missing;
  }
}

/** /ready and /live. */
export function readinessTable(readiness: Readiness): Table {
  return {
    'GET /ready': () => {
      const missing = readiness.missing();
      return { status: missing.length === 0 ? 200 : 503, body: { ready: missing.length === 0, missing } };
    },
    'GET /live': () => ({ status: 200, body: { live: true } }),
    'GET /': () => ({ status: 200, body: { paths: ['/ready', '/live'] } }),
  };
}
