// The control plane's options with their defaults, and why they are what they are.

import {
  durationOption,
  type OptionValues,
  oneOf,
  option,
  parseAddress,
  parsePort,
  parseText,
} from '../proto/kit/options.ts';
import type { ProgramHelp } from '../proto/kit/options-help.ts';
import { formatSpiffeId } from '../proto/kit/spiffe.ts';
import { defaultStateDir } from '../proto/kit/state-home.ts';
import { CERTIFICATE_TTL_MS } from './identity/authority.ts';

/** No port was asked for. */
export const NO_PORT = -1;

/** 30 s: a sidecar that restarts or loses its network for a moment keeps its endpoint (Consul's and Eureka's order of size). */
const REGISTRATION_GRACE_MS = 30_000;

/** Certificates shorter than this are renewed more often than clocks agree. */
const CERTIFICATE_TTL_MS_MIN = 60_000;

const LEVELS = {
  trace: 'trace',
  debug: 'debug',
  info: 'info',
  warn: 'warn',
  error: 'error',
  silent: 'silent',
} as const;

/** The names of DESIGN's table; every port may be 0. */
export const CONTROL_PLANE_OPTIONS = {
  policies: option('DIR', 'directory of policies (.yaml, .yml, .json), watched; needed', '', parseText),
  dataDir: option(
    'DIR',
    'root key, tokens, registrations, admin token, policies in force: kept over restarts, so that a policy that is wrong at a restart keeps its last good state; for one control plane at a time. Below the home of the user, so that a first try needs no rights; a service names its own, such as /var/lib/weft',
    defaultStateDir('control-plane'),
    parseText,
    '$XDG_STATE_HOME/weft/control-plane, else ~/.local/state/weft/control-plane',
  ),
  trustDomain: option(
    'NAME',
    'first part of every identity in this mesh; it must stay what it was when the root was made',
    'mesh.local',
    parseTrustDomain,
  ),
  host: option(
    'ADDRESS',
    'where gRPC and metrics listen: everywhere, since sidecars and scrapers are on other machines; 127.0.0.1 keeps both on this one',
    '0.0.0.0',
    parseAddress,
  ),
  grpcPort: option('PORT', "discovery, identity and registration, with TLS; Istio's number", 15012, parsePort),
  plaintextPort: option(
    'PORT',
    'discovery for tools that hold the admin token, and the first signing, without TLS and so on loopback only',
    NO_PORT,
    parsePort,
    'off',
  ),
  apiHost: option(
    'ADDRESS',
    'where the API listens: for people on this machine; beyond loopback it speaks TLS',
    '127.0.0.1',
    (text) => (text === 'localhost' ? text : parseAddress(text)),
  ),
  apiPort: option('PORT', 'the API that weft status, get and token ask', 15016, parsePort),
  metricsPort: option('PORT', 'Prometheus metrics at /metrics, health at /healthz and /readyz', 15014, parsePort),
  certificateTtl: durationOption(
    'life of a workload certificate: renewed at half of it, so that a control plane may be away for the other half',
    CERTIFICATE_TTL_MS,
    CERTIFICATE_TTL_MS_MIN,
  ),
  registrationGrace: durationOption(
    'how long an endpoint outlives its stream: a sidecar that restarts keeps it',
    REGISTRATION_GRACE_MS,
  ),
  logLevel: option('LEVEL', Object.keys(LEVELS).join(', '), 'info', (text) => oneOf(LEVELS, text) as string),
  readyFile: option('PATH', 'written when everything serves: {"pid":...,"ports":{...}}', '', parseText),
} as const;

/** What `--help` says around the options. */
export const CONTROL_PLANE_HELP: ProgramHelp = {
  summary:
    'The control plane on a directory of policy files: issues identities, watches services come and go, and streams to each sidecar what it needs. Every port may be 0: the system chooses, and the ready file says which.',
  notes: [
    'SIGTERM or SIGINT ends streams and listeners in order, exit 0; registrations stay. A second one ends the process at once: exit 143 or 130, as shells say it.',
    'Exit codes: 64 a bad option, 65 policies that a start cannot do without, 69 something is not there (a directory, a port in use), 70 a bug.',
  ],
};

/** What the command line came to. */
export type ControlPlaneOptions = OptionValues<typeof CONTROL_PLANE_OPTIONS>;

/** What is missing or contradicts itself, one sentence each; empty: the options are good. */
export function missingOptions(options: ControlPlaneOptions): string[] {
  const mistakes: string[] = [];
  if (options.policies === '') mistakes.push('--policies: is missing; name the directory of policies');
  if (options.dataDir === '')
    mistakes.push('--data-dir: is missing, and this user has no home; name a directory that is kept over restarts');
  return mistakes;
}

function parseTrustDomain(text: string): string {
  const checked = formatSpiffeId({ trustDomain: text, namespace: 'default', serviceAccount: 'default' });
  if (!checked.ok) throw new Error(checked.error);
  return text;
}
