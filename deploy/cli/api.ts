// `weft token`, `weft status` and `weft get`: questions to the control plane's API, answered as tables or as JSON.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { toJson, toJsonString } from '@bufbuild/protobuf';
import { durationFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { findKind, plural } from '../../control-plane/api/kinds.ts';
import {
  CreateJoinTokenResponseSchema,
  GetStatusResponseSchema,
  MeshService,
  RevokeResponseSchema,
} from '../../proto/gen/weft/api/v1/api_pb.js';
import { parseDuration } from '../../proto/kit/duration.ts';
import { EXIT } from '../../proto/kit/exit.ts';
import { nearest } from '../../proto/kit/nearest.ts';
import { defaultStateDir } from '../../proto/kit/state-home.ts';
import { CommandError } from './command-error.ts';
import { age, plain, table } from './table.ts';

/** What every API command is given. */
export interface ApiOptions {
  readonly api: string;
  readonly adminTokenFile?: string;
  readonly json?: boolean;
}

/** Where text goes: a process stream, or a buffer in a test. */
interface Output {
  write(text: string): unknown;
}

/** A question that takes longer has no answer. */
const TIMEOUT_MS = 10_000;
/** To find out whether somebody listens: a few round trips. */
const PROBE_MS = 1_000;

/** Prints the token alone, so that it can go into a file. */
export async function printToken(
  options: ApiOptions & { readonly serviceAccount: string; readonly namespace: string; readonly ttl: string },
  out: Output,
): Promise<void> {
  const parsed = parseDuration(options.ttl);
  if (parsed.error !== null) throw new CommandError(EXIT.commandLine, `--ttl: ${parsed.error}`);
  const { serviceAccount, namespace } = options;
  const ttl = durationFromMs(parsed.ms);
  const response = await ask(options, (client) => client.createJoinToken({ serviceAccount, namespace, ttl }));
  if (options.json === true) {
    out.write(`${toJsonString(CreateJoinTokenResponseSchema, response, { prettySpaces: 2 })}\n`);
    return;
  }
  out.write(`${response.token}\n`);
}

/** Revokes a certificate or a service account, or lifts that, and says what follows. */
export async function revoke(
  options: ApiOptions & {
    readonly serial?: string;
    readonly serviceAccount?: string;
    readonly namespace: string;
    readonly reason: string;
    readonly lift?: boolean;
  },
  out: Output,
): Promise<void> {
  const { serial, serviceAccount, namespace, reason, lift = false } = options;
  if ((serial === undefined) === (serviceAccount === undefined)) {
    throw new CommandError(EXIT.commandLine, 'give one of --serial HEX and --service-account NAME');
  }
  const subject =
    serial === undefined
      ? ({ case: 'serviceAccount', value: serviceAccount ?? '' } as const)
      : ({ case: 'serial', value: serial } as const);
  const response = await ask(options, (client) => client.revoke({ subject, namespace, reason, lift }));
  if (options.json === true) {
    out.write(`${toJsonString(RevokeResponseSchema, response, { prettySpaces: 2 })}\n`);
    return;
  }
  const { name, sidecars, expiresAt } = response;
  const until = expiresAt === undefined ? '' : ` until ${new Date(timestampMs(expiresAt)).toISOString()}`;
  out.write(`${name} is ${lift ? 'trusted again' : `revoked${until}`}; told to ${count(sidecars, 'sidecar')}\n`);
}

/** Prints sidecars, what they refused, and policy mistakes. */
export async function printStatus(options: ApiOptions, out: Output): Promise<void> {
  const status = await ask(options, (client) => client.getStatus({}));
  if (options.json === true) {
    const json = toJson(GetStatusResponseSchema, status, { alwaysEmitImplicit: true });
    out.write(`${JSON.stringify(json, null, 2)}\n`);
    return;
  }
  const nowMs = Date.now();
  const rows = status.sidecars.map((sidecar) => [
    sidecar.spiffeId,
    sidecar.workloadId || '-',
    sidecar.connectedAt === undefined ? '-' : age(timestampMs(sidecar.connectedAt), nowMs),
    sidecar.inSync ? 'yes' : 'no',
    String(sidecar.resources),
    String(sidecar.rejections.length),
  ]);
  out.write(`Policies: revision ${status.revision}, ${count(status.problems.length, 'problem')}\n\n`);
  const headings = ['SIDECAR', 'WORKLOAD', 'CONNECTED', 'IN SYNC', 'RESOURCES', 'REFUSED'];
  out.write(table(headings, rows, 'No sidecar is connected.'));
  for (const { spiffeId, rejections } of status.sidecars) {
    for (const { typeUrl, name, reason } of rejections) {
      out.write(`\n${plain(`${spiffeId} refused ${typeUrl.split('.').at(-1)} ${name}: ${reason}`)}\n`);
    }
  }
  for (const { file, line, column, fieldPath, message, fix, resource, lastGoodStays } of status.problems) {
    const field = fieldPath === '' ? '' : `${fieldPath}: `;
    const whose = resource === '' ? '' : ` (${resource})`;
    const fate = lastGoodStays ? 'its last good state stays' : 'it is left out';
    out.write(`\n${file}:${line}:${column}: ${field}${message}${whose}; ${fate}\n  fix: ${fix}\n`);
  }
}

/** Prints a table of one kind, or JSON: of one resource when it is named, else an array. */
export async function printResources(
  written: string,
  name: string | undefined,
  options: ApiOptions & { readonly namespace?: string },
  out: Output,
): Promise<void> {
  // What is unknown here may be known to a newer control plane: it decides.
  const kind = findKind(written) ?? written;
  const namespace = options.namespace ?? '';
  const request = { kind, namespace, name: name ?? '' };
  const { resourcesJson } = await ask(options, (client) => client.listResources(request));
  const resources = resourcesJson.map((text) => JSON.parse(text) as Listed);
  if (name !== undefined && resources.length === 0) {
    const where = namespace === '' ? '' : ` in namespace ${namespace}`;
    const others = await ask(options, (client) => client.listResources({ kind, namespace }));
    const names = others.resourcesJson.map((text) => (JSON.parse(text) as Listed).metadata.name);
    const close = nearest(name, names);
    const help = close === undefined ? `\`weft get ${plural(kind)}\` lists them` : `did you mean ${close}?`;
    throw new CommandError(EXIT.commandLine, `there is no ${kind} ${name}${where}; ${help}`);
  }
  if (options.json === true || name !== undefined) {
    const shown = name !== undefined && resources.length === 1 ? resources[0] : resources;
    out.write(`${JSON.stringify(shown, null, 2)}\n`);
    return;
  }
  const rows = resources.map(({ metadata, spec }) => [
    metadata.namespace ?? 'default',
    metadata.name,
    summary(kind, metadata.name, spec ?? {}),
  ]);
  out.write(table(['NAMESPACE', 'NAME', 'SUMMARY'], rows, `There is no ${kind}.`));
}

interface Listed {
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec?: Readonly<Record<string, unknown>>;
}

/** What tells one resource from the next, in one cell. */
function summary(kind: string, name: string, spec: Readonly<Record<string, unknown>>): string {
  const list = (value: unknown): Record<string, unknown>[] => (Array.isArray(value) ? value : []);
  switch (kind) {
    case 'Service':
      return list(spec.ports)
        .map((port) => `${port.port}${port.protocol === undefined ? '' : ` ${String(port.protocol).slice(9)}`}`)
        .join(', ');
    case 'Route':
      return `${(spec.hosts as string[] | undefined)?.join(', ') ?? ''}: ${count(list(spec.rules).length, 'rule')}`;
    case 'Authorization': {
      const targets = list(spec.targetRefs).map((target) => target.name ?? '*');
      const action = String(spec.action ?? '').replace('AUTHORIZATION_ACTION_', '');
      return `${action} on ${targets.join(', ') || 'the namespace'}: ${count(list(spec.rules).length, 'rule')}`;
    }
    case 'Endpoint': {
      const labels = Object.entries((spec.labels as object | undefined) ?? {}).map(([key, value]) => `${key}=${value}`);
      const ports = Object.values((spec.ports as object | undefined) ?? {}).join(', ');
      return [`${spec.service}: ${spec.address} ${ports}`, ...labels].join(', ');
    }
    case 'Revocation':
      return `since ${spec.revokedAt}${spec.reason === undefined ? '' : `: ${spec.reason}`}`;
    case 'Provider':
      return String(spec.baseUrl ?? '');
    case 'Model':
      return `${((spec.aliases as string[] | undefined) ?? [name]).join(', ')}: ${list(spec.targets)
        .map((target) => `${target.provider} ${target.model}`)
        .join(', ')}`;
    case 'Telemetry': {
      const targets = list(spec.targetRefs).map((target) => target.name ?? '*');
      const percent = (part: unknown) => (part as { samplingPercent?: number } | undefined)?.samplingPercent;
      const traces = percent(spec.tracing);
      const said = traces === undefined ? '' : `, ${traces} % of traces`;
      const logged = spec.accessLog === undefined ? '' : `, ${percent(spec.accessLog) ?? 0} % of requests logged`;
      return `${targets.join(', ') || 'the namespace'}${said}${logged}`;
    }
    default:
      return '';
  }
}

type Client = ReturnType<typeof createClient<typeof MeshService>>;

/** One call. Every failure becomes a sentence with what to do, and an exit code. */
async function ask<T>(options: ApiOptions, call: (client: Client) => Promise<T>): Promise<T> {
  if (!URL.canParse(options.api)) {
    throw new CommandError(EXIT.commandLine, `--api ${options.api} is not a URL; write http://HOST:PORT`);
  }
  const token = await adminToken(options);
  const transport = createConnectTransport({
    httpVersion: '1.1',
    baseUrl: options.api,
    defaultTimeoutMs: TIMEOUT_MS,
    // The command ends with its answer; a kept connection would hold it for seconds.
    nodeOptions: { agent: false },
    interceptors: [
      (next) => (request) => {
        request.header.set('authorization', `Bearer ${token}`);
        return next(request);
      },
    ],
  });
  try {
    return await call(createClient(MeshService, transport));
  } catch (error) {
    throw explained(ConnectError.from(error), options.api);
  }
}

function explained(error: ConnectError, api: string): CommandError {
  switch (error.code) {
    case Code.Unauthenticated:
      return new CommandError(
        EXIT.commandLine,
        'the control plane does not know this admin token; name its file with --admin-token-file: admin.token in the data directory',
      );
    case Code.InvalidArgument:
      return new CommandError(EXIT.commandLine, error.rawMessage);
    case Code.Unavailable:
    case Code.DeadlineExceeded:
    case Code.Aborted:
    case Code.Canceled:
      return new CommandError(
        EXIT.unavailable,
        `cannot reach the control plane's API at ${api} (${error.rawMessage}); is the control plane running? Another address is given with --api${error.code === Code.Aborted ? tlsHelp(error, api) : ''}`,
      );
    default:
      return new CommandError(EXIT.unavailable, `the API at ${api} failed: ${error.rawMessage}${tlsHelp(error, api)}`);
  }
}

/** What to do where TLS stands in the way: beyond loopback the API speaks it, with a certificate of the mesh's own root. */
function tlsHelp(error: ConnectError, api: string): string {
  if (/certificate/i.test(error.rawMessage)) {
    return "; NODE_EXTRA_CA_CERTS names a file with the mesh's root, such as bundle.pem of a sidecar's --state-dir";
  }
  return api.startsWith('http:') ? '; beyond loopback the API speaks TLS: write https://' : '';
}

/** The token: the file that is named, WEFT_ADMIN_TOKEN, or the one of a control plane of this user in its default place. */
async function adminToken(options: ApiOptions): Promise<string> {
  const given = options.adminTokenFile;
  const token = given === undefined ? (process.env.WEFT_ADMIN_TOKEN?.trim() ?? '') : '';
  if (token !== '') return token;
  const file = given ?? join(defaultStateDir('control-plane'), 'admin.token');
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const what =
      given === undefined
        ? `there is no admin token in ${file} (${code}), where a control plane of this user would keep it; give --admin-token-file: admin.token in the --data-dir of the control plane, or set WEFT_ADMIN_TOKEN`
        : `the admin token file ${file} cannot be read (${code}); is the path right?`;
    // Who has started no control plane has no token either, and should not look for one.
    const alone = (await listens(options.api))
      ? ''
      : `\nweft: and nobody listens at ${options.api}; is the control plane running? Another address is given with --api`;
    throw new CommandError(EXIT.unavailable, `${what}${alone}`);
  }
}

/** Whether a connection to `api` is taken within a second. */
async function listens(api: string): Promise<boolean> {
  const { hostname, port, protocol } = new URL(api);
  const host = hostname.replace(/^\[|\]$/g, '');
  const socket = connect(Number(port) || (protocol === 'https:' ? 443 : 80), host);
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(PROBE_MS) });
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}
