// Which names a request to a loopback port may come under. A page in a browser can make its own name resolve to
// 127.0.0.1 (DNS rebinding), and would then speak with what listens there as if it were its own site.

import { isIP } from 'node:net';

/**
 * Whether `host` (with or without a port) is localhost, below it, or a literal address: neither can be a name that an
 * attacker's DNS answers for.
 */
export function isLocalName(host: string): boolean {
  const name = host.replace(/:\d+$/, '').toLowerCase();
  if (name === 'localhost' || name.endsWith('.localhost')) return true;
  return isIP(name.startsWith('[') && name.endsWith(']') ? name.slice(1, -1) : name) !== 0;
}

/** Whether a page of this origin was served by this machine under such a name; `null` (a sandbox, a file) was not. */
export function isLocalOrigin(origin: string): boolean {
  const match = /^https?:\/\/([^/]+)$/.exec(origin);
  return match !== null && isLocalName(match[1] as string);
}
