// Where the identity comes from at start, in the order of what is safest: files named by options, what is stored, a
// join. Each problem is said in a sentence, and only one that nothing helps with ends the program.

import { chmodSync, mkdirSync, readFileSync } from 'node:fs';
import { lockDirectory } from '../../proto/kit/directory-lock.ts';
import { EXIT } from '../../proto/kit/exit.ts';
import { StartError } from '../base/start-error.ts';
import type { SidecarOptions } from '../options.ts';
import { backoffMs } from '../upstream/backoff.ts';
import { type HeldIdentity, readIdentityFiles, readStoredIdentity, writeStoredIdentity } from './stored.ts';

/** A join that failed for a reason that may pass: soon again at first, at most 10 s apart. */
const JOIN_RETRY_BASE_MS = 250;
const JOIN_RETRY_MAX_MS = 10_000;
const JOIN_RETRY_MIN_MS = 50;

/** What a caller learns on the way. */
export interface ObtainObserver {
  info(message: string): void;
  warn(message: string): void;
}

/**
 * Makes the state directory where there is none, without a right of others on it, and locks it: two sidecars of one would
 * have one workload id, and take the registration from each other without end. Throws StartError.
 */
export async function prepareStateDir(stateDir: string): Promise<void> {
  if (stateDir === '') return;
  let lock: object | null;
  try {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
    chmodSync(stateDir, 0o700);
    // Never given back: the state is ours for as long as the process lives.
    lock = await lockDirectory(stateDir);
  } catch (error) {
    throw new StartError(EXIT.unavailable, `--state-dir ${stateDir} cannot be used: ${(error as Error).message}`);
  }
  if (lock !== null) return;
  throw new StartError(
    EXIT.unavailable,
    `--state-dir ${stateDir} is in use by another sidecar; stop that one, or give each a directory of its own`,
  );
}

/**
 * The identity to start with; null: none is configured (a snapshot alone). Waits for a control plane that is not there
 * yet, until `signal`. Throws StartError when waiting is of no use.
 */
export async function obtainIdentity(
  options: SidecarOptions,
  observer: ObtainObserver,
  signal: AbortSignal,
): Promise<HeldIdentity | null> {
  if (options.identityKey !== '') {
    const read = readIdentityFiles(options.identityKey, options.identityCert, options.trustBundle, Date.now());
    if (read.ok) return read.identity;
    throw new StartError(EXIT.unavailable, `the identity files are not usable: ${read.error}`);
  }
  const stored = readStored(options.stateDir);
  if (stored?.ok) return stored.identity;
  const { controlPlane, joinTokenFile } = options;
  const problem = stored === null ? '' : `the identity in ${options.stateDir} is not usable: ${stored.error}`;
  if (controlPlane === null || joinTokenFile === '') {
    if (stored === null && controlPlane === null && options.snapshot !== '') return null;
    const what = problem === '' ? 'there is no identity yet' : problem;
    throw new StartError(
      EXIT.unavailable,
      `${what}; join with --control-plane and --join-token-file (weft token --service-account NAME makes one)`,
    );
  }
  if (problem !== '') observer.warn(`${problem}; joining again`);
  const identity = await joinUntil(options, observer, signal);
  if (options.stateDir !== '') store(options.stateDir, identity, observer);
  return identity;
}

/** A disk that refuses is no reason to give up an identity for which a token was spent. */
function store(stateDir: string, identity: HeldIdentity, observer: ObtainObserver): void {
  try {
    writeStoredIdentity(stateDir, identity);
  } catch (error) {
    const { message } = error as Error;
    observer.warn(`the identity could not be stored: ${message}; without it a restart needs a new join token`);
  }
}

function readStored(stateDir: string): ReturnType<typeof readStoredIdentity> {
  if (stateDir === '') return null;
  try {
    return readStoredIdentity(stateDir, Date.now());
  } catch (error) {
    // Rights of others on the key: whoever it was may have it, so it is not used, and not replaced unseen.
    throw new StartError(EXIT.unavailable, (error as Error).message);
  }
}

async function joinUntil(
  { controlPlane, joinTokenFile }: SidecarOptions,
  observer: ObtainObserver,
  signal: AbortSignal,
): Promise<HeldIdentity> {
  if (controlPlane === null) throw new StartError(EXIT.commandLine, '--control-plane: is missing');
  const { join, newKey, SignError } = await import('./sign.ts');
  let token: string;
  try {
    token = readFileSync(joinTokenFile, 'utf8');
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : (error as Error).message;
    const fix = 'weft token --service-account NAME > FILE, beside the control plane, writes one';
    throw new StartError(EXIT.unavailable, `--join-token-file ${joinTokenFile}: ${why}; ${fix}`);
  }
  const key = await newKey();
  for (let attempt = 0; ; attempt++) {
    try {
      const identity = await join(controlPlane, token, key);
      observer.info(`joined as ${identity.spiffeId}`);
      return identity;
    } catch (error) {
      if (!(error instanceof SignError)) throw error;
      if (error.final) throw new StartError(EXIT.unavailable, error.message);
      const retryMs = JOIN_RETRY_MIN_MS + backoffMs(attempt, Math.random, JOIN_RETRY_BASE_MS, JOIN_RETRY_MAX_MS);
      observer.warn(`${error.message}; joining again in ${Math.round(retryMs)} ms`);
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(resolve, retryMs);
        signal.addEventListener('abort', () => {
          clearTimeout(timer);
          reject(new StartError(EXIT.ok, 'stopped before it had joined'));
        });
      });
    }
  }
}
