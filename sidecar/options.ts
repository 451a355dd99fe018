// The sidecar's options with their defaults, and why they are what they are.

import {
  durationOption,
  flag,
  type OptionValues,
  oneOf,
  option,
  parseAddress,
  parseCount,
  parsePort,
  parseText,
  repeated,
} from '../proto/kit/options.ts';
import type { ProgramHelp } from '../proto/kit/options-help.ts';
import { NAME_BYTES_MAX } from '../proto/kit/spiffe.ts';

/** Where a control plane answers. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** `[NAME[:SERVICE_PORT]=]PORT`, or `unix:PATH` in place of PORT: a Service in the identity's own namespace or as `namespace/name`, its port, and a port or unix socket here. */
export interface NamedPort {
  /** Empty: the only Service of the identity. */
  readonly name: string;
  /** 0: the only one, or the first. */
  readonly servicePort: number;
  /** 0 with a `path`. */
  readonly port: number;
  /** Absolute; empty: TCP. */
  readonly path: string;
}

/** sockaddr_un has 108 bytes on Linux and 104 on macOS, the last one a NUL; the socket is made under a name of 9 bytes more. */
const SOCKET_PATH_BYTES_MAX = 94;

/** 30 s: longer than nearly every request, and below the 45 s after which Kubernetes and most supervisors kill. */
const DRAIN_MS = 30_000;

/** Threads of the data path: more than a machine's cores help nobody; 64 bounds the counter memory. */
const WORKERS_MAX = 64;

const LEVELS = {
  trace: 'trace',
  debug: 'debug',
  info: 'info',
  warn: 'warn',
  error: 'error',
  silent: 'silent',
} as const;
export type LogLevel = keyof typeof LEVELS;

const WORKLOAD_ID = /^[a-z0-9A-Z]([a-z0-9A-Z._-]{0,126}[a-z0-9A-Z])?$/;
const SERVICE_NAME = /^([a-z0-9.-]+\/)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/;

/** The names of DESIGN's table; every port may be 0, which lets the system choose. */
export const SIDECAR_OPTIONS = {
  app: repeated(
    '[NAME[:SERVICE_PORT]=]PORT',
    'an application on localhost that this sidecar serves, as the Service NAME; without NAME the only Service of its identity; unix:/PATH in place of PORT is its unix socket',
    parseApp,
  ),
  local: repeated(
    'NAME[:SERVICE_PORT]=PORT',
    'a port on localhost for one Service, such as orders=4001; or a unix socket that this user alone may open, such as orders=unix:/run/app/orders.sock',
    parseLocal,
  ),
  controlPlane: option('HOST:PORT', 'where policies, endpoints and identity come from', null, parseHostPort),
  joinTokenFile: option(
    'FILE',
    'proves who this is, once; weft token --service-account NAME makes one. With an identity in --state-dir it is not looked at',
    '',
    parseText,
  ),
  stateDir: option(
    'DIR',
    'identity, last good config and ports, so that a restart needs neither control plane nor token; one for each sidecar; without it nothing is kept',
    '',
    parseText,
  ),
  snapshot: option('FILE', 'config as weft render prints it, to run without a control plane', '', parseText),
  identityKey: option(
    'FILE',
    'private key, PEM; instead of a join. These three files are read anew when they are replaced',
    '',
    parseText,
  ),
  identityCert: option('FILE', 'certificate chain, leaf first, PEM', '', parseText),
  trustBundle: option('FILE', 'roots to trust, PEM', '', parseText),
  workers: option(
    'N',
    'threads of the data path; one carries what most applications send',
    1,
    parseCount(1, WORKERS_MAX),
  ),
  memoryLimit: option(
    'MIB',
    'what the process may take; near it the sidecar stops keep-alive, then refuses calls, then connections, then ends whoever holds most. 0: the limit of its container, at most 1024',
    0,
    parseMemoryLimit,
  ),
  host: option(
    'ADDRESS',
    'where outbound, local and AI ports listen: for the applications beside it only, since they speak for its identity',
    '127.0.0.1',
    parseAddress,
  ),
  inboundHost: option(
    'ADDRESS',
    'where other sidecars reach this one: everywhere, since what is served there is mutual TLS',
    '0.0.0.0',
    parseAddress,
  ),
  outboundPort: option(
    'PORT',
    "calls of the applications, by Host or as their HTTP proxy; a port in Host is one of the Service, or this one, 80 or 443 for its first; Istio's number",
    15001,
    parsePort,
  ),
  inboundPort: option('PORT', "calls of other sidecars; Istio's number", 15006, parsePort),
  aiPort: option(
    'PORT',
    'calls to models, in the OpenAI format below /v1; called as localhost, a name below it, or by address, and 421 under any other name, as which a page in a browser could come',
    15004,
    parsePort,
  ),
  adminHost: option(
    'ADDRESS',
    'where admin listens: loopback, since it tells more than a stranger may know',
    '127.0.0.1',
    parseAddress,
  ),
  adminPort: option('PORT', "admin, read-only; what weft explain asks; Istio's number", 15000, parsePort),
  metricsHost: option(
    'ADDRESS',
    'where metrics and readiness listen: everywhere, since Prometheus and the kubelet come from outside; they hold names and counts and no secret. 127.0.0.1 keeps both on this machine',
    '0.0.0.0',
    parseAddress,
  ),
  metricsPort: option('PORT', "Prometheus metrics at /metrics; Istio's number", 15020, parsePort),
  readinessPort: option('PORT', "/ready, with what is missing, and /live; Istio's number", 15021, parsePort),
  advertiseAddress: option(
    'ADDRESS',
    'what other sidecars dial; without it --inbound-host if that is one address, else the first of this machine',
    '',
    parseAddress,
  ),
  label: repeated('KEY=VALUE', 'a label of this workload, such as version=v2', parseLabel),
  workloadId: option(
    'ID',
    'unique in the mesh and stable; without it made once and kept in the state directory',
    '',
    parseWorkloadId,
  ),
  drainTime: durationOption(
    'after SIGTERM, how long work in flight may take: longer than nearly every request, and less than the time after which supervisors kill',
    DRAIN_MS,
  ),
  logLevel: option(
    'LEVEL',
    Object.keys(LEVELS).join(', '),
    'info' as LogLevel,
    (text): LogLevel => oneOf(LEVELS, text),
  ),
  adminLogLevel: flag('let PUT /log-level of admin change the level; without it admin changes nothing'),
  readyFile: option('PATH', 'written when everything serves: {"pid":...,"ports":{...}}', '', parseText),
} as const;

/** What `--help` says around the options. */
export const SIDECAR_HELP: ProgramHelp = {
  summary:
    'A sidecar for an application that listens already: carries its calls and those to it over mutual TLS, by the policies of the mesh. Every port may be 0: the system chooses, and the ready file says which.',
  notes: [
    'Spans go to OTEL_EXPORTER_OTLP_ENDPOINT, http://HOST:4318; without it, none are made unless OTEL_TRACES_EXPORTER is otlp. OTEL_TRACES_SAMPLER (always_on, always_off, traceidratio, or parentbased_ before each) decides new traces where no Telemetry policy does; the decision of a caller is kept. What of OTEL_* cannot be respected is said in the log at start.',
    'SIGTERM or SIGINT drains: readiness fails, other sidecars are told to go elsewhere, calls to the application end, then its own calls do, or the drain time does; exit 0. A second one ends the process at once and cuts what is in flight: exit 143 after SIGTERM, 130 after SIGINT.',
    'Exit codes: 64 a bad option, 65 a snapshot that is not usable, 69 something is not there (a file, a port in use, an identity), 70 a bug.',
  ],
};

/** What the command line came to. */
export type SidecarOptions = OptionValues<typeof SIDECAR_OPTIONS>;

/** What is missing or contradicts itself, one sentence each; empty: the options are good together. */
export function contradictions(options: SidecarOptions): string[] {
  const mistakes: string[] = [];
  const files = [options.identityKey, options.identityCert, options.trustBundle].filter((file) => file !== '').length;
  if (files !== 0 && files !== 3) {
    mistakes.push('--identity-key, --identity-cert, --trust-bundle: belong together; give all three or none');
  }
  if (options.controlPlane === null && options.snapshot === '' && options.stateDir === '') {
    mistakes.push(
      '--control-plane: is missing; give it, or config in --snapshot FILE, or the --state-dir of an earlier run',
    );
  }
  if (options.joinTokenFile !== '' && options.controlPlane === null) {
    mistakes.push('--join-token-file: is of use only with --control-plane');
  }
  if (options.controlPlane !== null && files === 0 && options.joinTokenFile === '' && options.stateDir === '') {
    mistakes.push('--join-token-file: is missing; make a token with weft token --service-account NAME');
  }
  const locals = new Set<string>();
  for (const { name } of options.local) {
    if (locals.has(name)) mistakes.push(`--local: ${name} is given twice; one port of each Service is enough`);
    locals.add(name);
  }
  const paths = options.local.map(({ path }) => path).filter((path) => path !== '');
  for (const path of new Set(paths)) {
    if (paths.filter((one) => one === path).length > 1)
      mistakes.push(`--local: unix:${path} is given to two Services; give each its own`);
  }
  return mistakes;
}

function parseHostPort(text: string): HostPort | null {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const port = Number(found?.[3]);
  if (found === null || port < 1 || port > 65535) {
    throw new Error(`${text} is not HOST:PORT; write control-plane.example:15012 or [::1]:15012`);
  }
  return { host: (found[1] ?? found[2]) as string, port };
}

function parseApp(text: string): NamedPort {
  const at = text.indexOf('=');
  const where = parsePlace(text.slice(at + 1));
  if (where.port === 0 && where.path === '')
    throw new Error(`${text} names port 0; write the port on which the application listens`);
  return { ...parseName(at < 0 ? '' : text.slice(0, at), at < 0, text), ...where };
}

function parseLocal(text: string): NamedPort {
  const at = text.indexOf('=');
  if (at < 0) throw new Error(`${text} names no Service; write NAME=PORT, such as orders=4001`);
  return { ...parseName(text.slice(0, at), false, text), ...parsePlace(text.slice(at + 1)) };
}

/** `PORT` or `unix:PATH`. */
function parsePlace(text: string): Pick<NamedPort, 'port' | 'path'> {
  if (!text.startsWith('unix:')) return { port: parsePort(text), path: '' };
  const path = text.slice('unix:'.length);
  if (!path.startsWith('/')) throw new Error(`${text} is no absolute path; write unix:/run/app.sock`);
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX)
    throw new Error(
      `${text} is too long for a socket: at most ${SOCKET_PATH_BYTES_MAX} bytes; choose a shorter folder`,
    );
  return { port: 0, path };
}

function parseName(text: string, mayBeEmpty: boolean, whole: string): Omit<NamedPort, 'port' | 'path'> {
  if (mayBeEmpty) return { name: '', servicePort: 0 };
  const [name = '', servicePort, ...rest] = text.split(':');
  if (rest.length > 0 || name.length > NAME_BYTES_MAX || !SERVICE_NAME.test(name)) {
    throw new Error(`${whole}: ${text} is not a Service; write NAME or NAME:SERVICE_PORT`);
  }
  return { name, servicePort: servicePort === undefined ? 0 : parsePort(servicePort) };
}

/** Less than the program itself takes would refuse every call. */
const MEMORY_LIMIT_MIB_MIN = 128;

function parseMemoryLimit(text: string): number {
  const mib = parseCount(0, 1024 * 1024)(text);
  if (mib > 0 && mib < MEMORY_LIMIT_MIB_MIN) {
    throw new Error(`${text} MiB is less than a sidecar needs at rest; write ${MEMORY_LIMIT_MIB_MIN} or more, or 0`);
  }
  return mib;
}

function parseWorkloadId(text: string): string {
  if (!WORKLOAD_ID.test(text)) {
    throw new Error(`${text} must be 1 to 128 of a-z, A-Z, 0-9, ".", "_", "-", with a letter or digit at both ends`);
  }
  return text;
}

function parseLabel(text: string): readonly [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw new Error(`${text} is not KEY=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}
