// The control plane's options with their defaults, and why they are what they are.

import { parseDuration } from '../proto/kit/duration.ts';
import { type OptionValues, oneOf, option, parsePort, parseText } from '../proto/kit/options.ts';
import { formatSpiffeId } from '../proto/kit/spiffe.ts';
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
  policies: option('DIR', 'directory of policies, watched', '', parseText),
  dataDir: option('DIR', 'root key, tokens, registrations, admin token; one control plane at a time', '', parseText),
  trustDomain: option('NAME', 'must stay what it was when the root was made', 'mesh.local', parseTrustDomain),
  host: option('ADDRESS', 'where gRPC and metrics listen', '0.0.0.0', parseText),
  grpcPort: option('PORT', 'discovery, identity and registration, with TLS', 15012, parsePort),
  plaintextPort: option(
    'PORT',
    'the first signing only, on loopback without TLS; off unless given',
    NO_PORT,
    parsePort,
  ),
  apiHost: option('ADDRESS', 'where the API listens; beyond loopback it speaks TLS', '127.0.0.1', parseText),
  apiPort: option('PORT', 'the API for people', 15016, parsePort),
  metricsPort: option('PORT', 'metrics and health', 15014, parsePort),
  certificateTtl: option(
    'DURATION',
    'life of a workload certificate; renewed at half of it',
    CERTIFICATE_TTL_MS,
    parseTtl,
  ),
  registrationGrace: option(
    'DURATION',
    'how long an endpoint outlives its stream',
    REGISTRATION_GRACE_MS,
    milliseconds,
  ),
  logLevel: option('LEVEL', Object.keys(LEVELS).join(', '), 'info', (text) => oneOf(LEVELS, text) as string),
  readyFile: option('PATH', 'written when everything serves', '', parseText),
} as const;

/** What the command line came to. */
export type ControlPlaneOptions = OptionValues<typeof CONTROL_PLANE_OPTIONS>;

/** What is missing or contradicts itself, one sentence each; empty: the options are good. */
export function missingOptions(options: ControlPlaneOptions): string[] {
  const mistakes: string[] = [];
  if (options.policies === '') mistakes.push('--policies: is missing; name the directory of policies');
  if (options.dataDir === '')
    mistakes.push('--data-dir: is missing; name a directory of its own, kept over restarts: it holds the root key');
  return mistakes;
}

function parseTrustDomain(text: string): string {
  const checked = formatSpiffeId({ trustDomain: text, namespace: 'default', serviceAccount: 'default' });
  if (!checked.ok) throw new Error(checked.error);
  return text;
}

function milliseconds(text: string): number {
  const parsed = parseDuration(text);
  if (parsed.error !== null) throw new Error(parsed.error);
  return parsed.ms;
}

function parseTtl(text: string): number {
  const ms = milliseconds(text);
  if (ms < CERTIFICATE_TTL_MS_MIN) throw new Error(`${text} is shorter than a minute; clocks differ by that much`);
  return ms;
}
