// The files of the project, for tests that look at the sources.

import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Paths from the project's root of the files below `directory` that match `name`, in order. */
export function filesBelow(directory: string, name: RegExp): string[] {
  const entries = readdirSync(join(ROOT, directory), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && name.test(entry.name));
  return files.map((entry) => relative(ROOT, join(entry.parentPath, entry.name))).sort();
}
