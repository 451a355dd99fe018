// Where a program keeps what must survive a restart when nobody says where. The control plane and the commands that
// look for its admin token agree on it here.

import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/**
 * `weft/<program>` below XDG_STATE_HOME, else below ~/.local/state (XDG Base Directory Specification: data that should
 * persist between restarts, but is not important or portable enough for XDG_DATA_HOME). Empty when there is no home.
 */
export function defaultStateDir(
  program: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
  home: () => string = homedir,
): string {
  const state = environment.XDG_STATE_HOME ?? '';
  // The specification: a relative path is to be ignored.
  if (isAbsolute(state)) return join(state, 'weft', program);
  try {
    const directory = home();
    return isAbsolute(directory) ? join(directory, '.local', 'state', 'weft', program) : '';
  } catch {
    // A user without an entry in passwd and without HOME.
    return '';
  }
}
