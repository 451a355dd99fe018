// An identity given as files is somebody else's to renew (a mounted volume, spiffe-helper, a cron job), which replaces
// them while the sidecar runs. What is there is taken as soon as all three files agree.

import { statSync } from 'node:fs';
import type { SidecarOptions } from '../options.ts';
import { type HeldIdentity, readIdentityFiles } from './stored.ts';

/** How often they are looked at: three stats, and far less than the life of any certificate. Volumes that exchange a link tell nobody. */
const LOOK_EVERY_MS = 5_000;

/** What a watch of identity files needs. */
export interface IdentityFilesParts {
  readonly options: Pick<SidecarOptions, 'identityKey' | 'identityCert' | 'trustBundle'>;
  /** The one in use. */
  readonly current: () => HeldIdentity;
  readonly onReplaced: (identity: HeldIdentity) => void;
  /** Files that were replaced and are of no use; once for each change. */
  readonly onUnusable: (reason: string) => void;
}

/** Looks at them until the returned function is called. */
export function watchIdentityFiles(parts: IdentityFilesParts): () => void {
  const look = identityFilesLook(parts);
  const timer = setInterval(look, LOOK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** One look after the other: what {@link watchIdentityFiles} does each time. */
export function identityFilesLook({ options, current, onReplaced, onUnusable }: IdentityFilesParts): () => void {
  const { identityKey, identityCert, trustBundle } = options;
  const stamp = (): string => [identityKey, identityCert, trustBundle].map(stampOf).join(' ');
  // None: what is in use was read a while ago, and may have been replaced since.
  let taken = '';
  /** Seen in the last look and not usable: perhaps between two of three writes, so it is told of in the next. */
  let doubted = '';
  return () => {
    const seen = stamp();
    if (seen === taken) return;
    const read = readIdentityFiles(identityKey, identityCert, trustBundle, Date.now());
    const { spiffeId, chainPem } = current();
    if (read.ok && read.identity.spiffeId === spiffeId) {
      const isFirst = taken === '';
      taken = seen;
      if (!isFirst || read.identity.chainPem !== chainPem) onReplaced(read.identity);
      return;
    }
    if (doubted !== seen) {
      doubted = seen;
      return;
    }
    taken = seen;
    onUnusable(read.ok ? `they are of ${read.identity.spiffeId}, and a restart takes another identity` : read.error);
  };
}

/** Changes with every write and every exchange of the file; a missing file has one, too. */
function stampOf(path: string): string {
  try {
    const { ino, mtimeNs, size } = statSync(path, { bigint: true });
    return `${ino}:${mtimeNs}:${size}`;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? '-';
  }
}
