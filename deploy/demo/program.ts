// Where the programs are: in the bundle when the demo itself runs from it, else in the sources.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const bundled = import.meta.url.endsWith('.js');

/** The project's folder: the nearest one above with a package.json. */
export const root = findRoot(dirname(fileURLToPath(import.meta.url)));

/** The file to run. @param path without its ending, as in the tree: `sidecar/main`. */
export function program(path: string): string {
  return bundled ? join(root, 'dist', `${path}.js`) : join(root, `${path}.ts`);
}

function findRoot(folder: string): string {
  if (existsSync(join(folder, 'package.json')) || dirname(folder) === folder) return folder;
  return findRoot(dirname(folder));
}
