// A directory of policy files becomes resources and problems. The only part of the policy source that touches a disk.
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, extname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { rootsMistake } from '../../proto/kit/roots.ts';
import { check } from '../model/check.ts';
import type { Problem, Resource } from '../model/resource.ts';
import { problemAt, resourceId } from '../model/resource.ts';
import { decodeDocument } from './decode.ts';
import { parseDocuments } from './yaml.ts';

/** A policy file; 100 times the largest seen. Larger files are named as problems. */
const FILE_BYTES_MAX = 4 * 1024 * 1024;
/** Policy files in one directory. */
const FILES_MAX = 10_000;
const EXTENSIONS = new Set(['.yaml', '.yml', '.json']);

/** What a policy directory holds. */
export interface Policies {
  /** Those without a problem: what the mesh takes. */
  readonly resources: Resource[];
  /** All mistakes, by file, line and column. */
  readonly problems: Problem[];
  /** Policy files read, relative to the directory. */
  readonly files: string[];
}

/**
 * Reads every `.yaml`, `.yml` and `.json` file below `directory`. Names that start with a dot and linked directories are passed over
 * (Kubernetes mounts a ConfigMap twice that way). Mistakes in files are returned; rejects only when the directory itself
 * cannot be read.
 */
export async function readPolicies(directory: string): Promise<Policies> {
  return readFiles(directory, await list(directory));
}

/** Reads one file as if its directory held nothing else: what it refers to must stand in it. Its name may end as it likes. */
export async function readPolicyFile(file: string): Promise<Policies> {
  return readFiles(dirname(file), [basename(file)]);
}

async function readFiles(directory: string, files: string[]): Promise<Policies> {
  const found: Resource[] = [];
  const problems: Problem[] = [];
  const broken = new Map<Resource, readonly string[]>();
  for (const file of files.slice(0, FILES_MAX)) {
    const text = await readText(directory, file, problems);
    if (text === null) continue;
    const parsed = parseDocuments(file, text);
    problems.push(...parsed.problems);
    for (const document of parsed.documents) {
      const decoded = decodeDocument(document);
      const mistakes = decoded.problems;
      problems.push(...mistakes);
      if (decoded.resource === null) continue;
      const attached = await attach(directory, decoded.resource);
      problems.push(...attached.problems);
      found.push(attached.resource);
      const fields = [...mistakes, ...attached.problems].map(({ fieldPath }) => fieldPath);
      if (fields.length > 0) broken.set(attached.resource, fields);
    }
  }
  if (files.length > FILES_MAX) {
    problems.push(fileProblem('.', `more than ${FILES_MAX} policy files`, 'put several policies into one file'));
  }
  const checked = check(found, new Set(broken.keys()), broken);
  problems.push(...checked.problems);
  problems.sort((a, b) => compare(a.file, b.file) || a.line - b.line || a.column - b.column);
  return { resources: checked.resources, problems, files };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

async function list(directory: string): Promise<string[]> {
  const files: string[] = [];
  const entries = await readdir(directory, { withFileTypes: true, recursive: true });
  for (const entry of entries) {
    const path = relative(directory, join(entry.parentPath, entry.name));
    if (path.split(sep).some((part) => part.startsWith('.'))) continue;
    if (EXTENSIONS.has(extname(path)) && (entry.isFile() || entry.isSymbolicLink())) files.push(path);
  }
  return files.sort();
}

async function readText(directory: string, file: string, problems: Problem[]): Promise<string | null> {
  const path = join(directory, file);
  try {
    const status = await stat(path);
    if (!status.isFile()) return null;
    if (status.size > FILE_BYTES_MAX) {
      problems.push(fileProblem(file, `larger than ${FILE_BYTES_MAX} bytes`, 'split it'));
      return null;
    }
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path));
  } catch (error) {
    const message = error instanceof TypeError ? 'not UTF-8 text' : `cannot be read: ${(error as Error).message}`;
    problems.push(fileProblem(file, message, 'make it readable UTF-8 text, or move it out of the directory'));
    return null;
  }
}

function fileProblem(file: string, message: string, fix: string): Problem {
  return { file, line: 0, column: 0, fieldPath: '', message, fix, resource: '' };
}

/** Reads the files that a policy names, so that everything behind this point is pure. */
async function attach(directory: string, resource: Resource): Promise<{ resource: Resource; problems: Problem[] }> {
  const problems: Problem[] = [];
  const caPem = await readRoots(directory, resource, problems);
  await readDescriptors(directory, resource, problems);
  return { resource: caPem === '' ? resource : { ...resource, caPem }, problems };
}

/** PEM text of `ca_file`; empty without one, or after reporting. */
async function readRoots(directory: string, resource: Resource, problems: Problem[]): Promise<string> {
  if (resource.kind !== 'Provider' && resource.kind !== 'Service') return '';
  const name = resource.message.spec?.caFile ?? '';
  if (name === '') return '';
  const path = 'spec.caFile';
  const read = await readAttached(directory, resource, path, name);
  const caPem = 'fix' in read ? '' : new TextDecoder().decode(read);
  const wrong = 'fix' in read ? null : rootsMistake(caPem);
  if ('fix' in read) problems.push(read);
  if (wrong !== null) problems.push(problemAt(resource, path, wrong, 'name a file of PEM certificates'));
  return wrong === null ? caPem : '';
}

async function readDescriptors(directory: string, resource: Resource, problems: Problem[]): Promise<void> {
  const transcoding = resource.kind === 'Service' ? resource.message.spec?.transcoding : undefined;
  if (transcoding?.descriptors.case !== 'descriptorSetFile') return;
  const path = 'spec.transcoding.descriptorSetFile';
  const read = await readAttached(directory, resource, path, transcoding.descriptors.value);
  if ('fix' in read) problems.push(read);
  else transcoding.descriptors = { case: 'descriptorSet', value: read };
}

async function readAttached(
  directory: string,
  resource: Resource,
  fieldPath: string,
  name: string,
): Promise<Uint8Array | Problem> {
  const path = resolve(directory, dirname(resource.place.file), name);
  const inside = relative(resolve(directory), path);
  if (isAbsolute(name) || inside.startsWith('..')) {
    return problemAt(
      resource,
      fieldPath,
      `${resourceId(resource)} names a file outside of the policy directory`,
      'move the file beside the policy',
    );
  }
  try {
    // What a link leads to: reading a pipe or a device might never end.
    const status = await stat(path);
    if (!status.isFile()) return problemAt(resource, fieldPath, `${name} is no file`, 'name a file');
    if (status.size > FILE_BYTES_MAX)
      return problemAt(resource, fieldPath, 'the file is larger than 4 MiB', 'name a smaller file');
    return await readFile(path);
  } catch (error) {
    return problemAt(
      resource,
      fieldPath,
      `${name} cannot be read: ${(error as NodeJS.ErrnoException).code}`,
      'correct the name; it is relative to the policy file',
    );
  }
}
