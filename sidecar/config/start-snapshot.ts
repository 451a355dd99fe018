// Which config a sidecar starts with, before any control plane has spoken.

import { join } from 'node:path';
import { EXIT } from '../../proto/kit/exit.ts';
import { StartError } from '../base/start-error.ts';
import type { SidecarOptions } from '../options.ts';
import type { Logger } from '../telemetry/log.ts';
import { type LoadedSnapshot, readSnapshot, UnreadableError } from './store.ts';

/**
 * The config to begin with: --snapshot, else the last good copy of the state directory, else null: what the control plane says.
 * @throws StartError when there is none to be had.
 */
export function loadSnapshot(options: SidecarOptions, log: Logger): LoadedSnapshot | null {
  if (options.snapshot !== '') {
    try {
      return readSnapshot(options.snapshot, false);
    } catch (error) {
      const { message } = error as Error;
      if (!(error instanceof UnreadableError)) throw new StartError(EXIT.policies, message);
      const fix = 'is the path of --snapshot right? weft render DIR --service NAME > FILE writes one';
      throw new StartError(EXIT.unavailable, `${message}; ${fix}`);
    }
  }
  if (options.stateDir === '') return null;
  try {
    const loaded = readSnapshot(join(options.stateDir, 'snapshot.json'), true);
    if (loaded !== null || options.controlPlane !== null) return loaded;
  } catch (error) {
    if (options.controlPlane !== null) {
      log.warn(`${(error as Error).message}; waiting for the control plane instead`);
      return null;
    }
    log.warn((error as Error).message);
  }
  throw new StartError(
    EXIT.unavailable,
    `--state-dir ${options.stateDir} holds no usable config; give --control-plane or --snapshot`,
  );
}
