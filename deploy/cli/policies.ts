// `weft check` and `weft render`: policies read without a control plane, so that a mistake is found before it is applied.
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { create, toBinary, toJsonString } from '@bufbuild/protobuf';
import { needs } from '../../control-plane/model/needs.ts';
import type { Problem } from '../../control-plane/model/resource.ts';
import type { Policies } from '../../control-plane/source/files.ts';
import { readPolicies, readPolicyFile } from '../../control-plane/source/files.ts';
import { unreadableDirectory } from '../../control-plane/source/unreadable.ts';
import { SnapshotSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { EXIT } from '../../proto/kit/exit.ts';
import { nearest } from '../../proto/kit/nearest.ts';
import { formatSpiffeId } from '../../proto/kit/spiffe.ts';

/** Where text goes: a process stream, or a buffer in a test. */
interface Output {
  write(text: string): unknown;
}

/** Version of the snapshot format (weft.mesh.v1.Snapshot). */
const SNAPSHOT_FORMAT = 1;

/**
 * Prints every mistake in a file or below a directory, or a summary of what was found. Returns the exit code: 0, 65 with
 * mistakes, 69 when `path` cannot be read. With `json`, one document `{problems, resources}` goes to `out`.
 */
export async function checkPolicies(path: string, json: boolean, out: Output, err: Output): Promise<number> {
  const policies = await read(path, err);
  if (policies === null) return EXIT.unavailable;
  const { problems, resources, files } = policies;
  if (json) {
    const names = resources.map(({ kind, namespace, name }) => ({ kind, namespace, name }));
    out.write(`${JSON.stringify({ files: files.length, resources: names, problems }, null, 2)}\n`);
  } else if (problems.length > 0) {
    for (const problem of problems) out.write(formatProblem(problem));
    out.write(`${count(problems.length, 'problem')} in ${count(new Set(problems.map((p) => p.file)).size, 'file')}\n`);
  } else if (files.length === 0) {
    out.write(`ok: nothing to check: ${path} holds no .yaml, .yml or .json file\n`);
  } else {
    const kinds = Map.groupBy(resources, (resource) => resource.kind);
    const found = [...kinds].map(([kind, list]) => count(list.length, kind)).join(', ');
    out.write(`ok: ${count(files.length, 'file')}: ${found || 'no policies'}\n`);
  }
  return problems.length > 0 ? EXIT.policies : EXIT.ok;
}

/** Who is meant by `weft render`. */
export interface RenderOptions {
  readonly service: string;
  readonly namespace: string;
  /** The first account of the Service, else its name. */
  readonly serviceAccount?: string;
  readonly trustDomain: string;
}

/**
 * Prints the weft.mesh.v1.Snapshot of one Service's sidecar as JSON. Returns the exit code: 0; 64 when there is no such Service; 65 when
 * the policies have mistakes, which are printed to `err`; 69 when `path` cannot be read.
 */
export async function renderPolicies(path: string, options: RenderOptions, out: Output, err: Output): Promise<number> {
  const policies = await read(path, err);
  if (policies === null) return EXIT.unavailable;
  for (const problem of policies.problems) err.write(formatProblem(problem));
  if (policies.problems.length > 0) return EXIT.policies;
  const services = policies.resources.filter(
    (resource) => resource.kind === 'Service' && resource.namespace === options.namespace,
  );
  const service = services.find((resource) => resource.name === options.service);
  if (service === undefined || service.kind !== 'Service') {
    const names = services.map((one) => one.name);
    const close = nearest(options.service, names);
    const known = names.length === 0 ? 'there is none in this namespace; --namespace names another' : names.join(', ');
    const help = close === undefined ? `known: ${known}` : `did you mean ${close}?`;
    err.write(`weft: there is no Service ${options.namespace}/${options.service}; ${help}\n`);
    return EXIT.commandLine;
  }
  const serviceAccount = options.serviceAccount ?? service.message.spec?.serviceAccounts[0] ?? service.name;
  const identity = { trustDomain: options.trustDomain, namespace: service.namespace, serviceAccount };
  const spiffe = formatSpiffeId(identity);
  if (!spiffe.ok) {
    err.write(`weft: ${spiffe.error}\n`);
    return EXIT.commandLine;
  }
  const resources = needs(policies.resources, identity).map(({ schema, name, message }) => {
    const resource = toBinary(schema, message);
    const version = createHash('sha256').update(resource).digest('hex').slice(0, 16);
    return { typeUrl: `type.googleapis.com/${schema.typeName}`, name, version, resource };
  });
  const snapshot = create(SnapshotSchema, { format: SNAPSHOT_FORMAT, spiffeId: spiffe.id, resources });
  out.write(`${toJsonString(SnapshotSchema, snapshot, { prettySpaces: 2 })}\n`);
  return EXIT.ok;
}

/** @param path of a directory, or of one file, which is read alone. */
async function read(path: string, err: Output): Promise<Policies | null> {
  try {
    return (await stat(path)).isFile() ? await readPolicyFile(path) : await readPolicies(path);
  } catch (error) {
    const why = unreadableDirectory(path, error as Error);
    if (why === null) throw error;
    err.write(`weft: ${why}\n`);
    return null;
  }
}

function formatProblem({ file, line, column, fieldPath, message, fix, resource }: Problem): string {
  const field = fieldPath === '' ? '' : `${fieldPath}: `;
  const whose = resource === '' ? '' : ` (${resource})`;
  return `${file}:${line}:${column}: ${field}${message}${whose}\n  fix: ${fix}\n`;
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}
