// Services, Providers, Models and Telemetry of the wire to what the data path uses: pure, all mistakes with paths.

import type { Model, Provider, Service, ServiceHosts, Telemetry } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { ProviderFormat } from '../../proto/gen/weft/policy/v1/ai_pb.js';
import type { OutlierDetection, ServicePort } from '../../proto/gen/weft/policy/v1/service_pb.js';
import {
  LoadBalancingPolicy,
  Protocol,
  ProxyProtocolVersion,
  TlsMode,
  TlsVersion,
} from '../../proto/gen/weft/policy/v1/service_pb.js';
import { normalizeHost } from '../../proto/kit/host.ts';
import { rootsMistake } from '../../proto/kit/roots.ts';
import { Secret } from '../ai/secret.ts';
import type { Prices } from '../ai/usage.ts';
import { LIMITS } from '../base/limits.ts';
import { OUTLIER_DEFAULTS, type OutlierPolicy } from '../upstream/outlier.ts';
import type { UpstreamSettings } from '../upstream/upstream.ts';
import type { OutwardVersion } from '../wire/tls.ts';
import type { CompileError } from './compile-match.ts';
import { reportUnknown } from './compile-match.ts';
import type { CompiledTelemetry, OpaqueSettings, PortProtocol, PortTls } from './snapshot.ts';
import { DEFAULT_TELEMETRY, TCP_RULE } from './snapshot.ts';

const PROTOCOLS: Readonly<Record<Protocol, PortProtocol>> = {
  [Protocol.UNSPECIFIED]: 'http1',
  [Protocol.HTTP1]: 'http1',
  [Protocol.HTTP2]: 'http2',
  [Protocol.GRPC]: 'grpc',
  [Protocol.TCP]: 'tcp',
  [Protocol.DETECT]: 'detect',
};

const TLS_MODES: Readonly<Record<TlsMode, PortTls>> = {
  [TlsMode.UNSPECIFIED]: 'mutual',
  [TlsMode.MUTUAL]: 'mutual',
  [TlsMode.SIMPLE]: 'simple',
  [TlsMode.OFF]: 'off',
};

/** 1.2 when nothing is said: what a server outside the mesh must have to be of any use (Envoy's default, browsers' floor). */
const TLS_VERSIONS: Readonly<Record<TlsVersion, OutwardVersion>> = {
  [TlsVersion.UNSPECIFIED]: 'TLSv1.2',
  [TlsVersion.V1_2]: 'TLSv1.2',
  [TlsVersion.V1_3]: 'TLSv1.3',
};

const SEND_PROXY: Readonly<Record<ProxyProtocolVersion, 0 | 1 | 2>> = {
  [ProxyProtocolVersion.UNSPECIFIED]: 0,
  [ProxyProtocolVersion.V1]: 1,
  [ProxyProtocolVersion.V2]: 2,
};

/** As Envoy's dns_refresh_rate. */
const DNS_REFRESH_MS = 5_000;
/** Less would load the resolver with questions for nothing. */
const DNS_REFRESH_MS_MIN = 1_000;

/** One port of a Service. */
export interface CompiledPort {
  readonly port: number;
  /** What the application speaks. */
  readonly protocol: PortProtocol;
  /** How callers reach it. */
  readonly settings: UpstreamSettings;
  readonly opaque: OpaqueSettings;
  /** In the clear only. */
  readonly acceptProxy: boolean;
}

/** A Service with everything but its endpoints. */
export interface CompiledService {
  readonly name: string;
  readonly message: Service;
  readonly identities: ReadonlySet<string>;
  readonly ports: readonly CompiledPort[];
  readonly dns: { readonly host: string; readonly port: number; readonly refreshMs: number } | null;
}

/** A protocol or TLS mode of a newer schema is a mistake: guessed, it could send in the clear. */
export function compileService(message: Service, errors: CompileError[]): CompiledService | null {
  reportUnknown(message, '', errors);
  const [namespace, name, more] = message.name.split('/');
  if (!namespace || !name || more !== undefined) {
    errors.push({ path: 'name', message: `${message.name} is not a resource name: \`namespace/name\`` });
  }
  checkRoots(message.caPem, errors);
  const identities = new Set(message.identities);
  const ports = message.ports.map((port, i) => {
    checkPort(port, `ports[${i}]`, errors);
    return {
      port: port.port,
      protocol: PROTOCOLS[port.protocol],
      settings: settingsOf(message, port, `${port.port}.${name}.${namespace}`, identities),
      opaque: {
        rule: { ...TCP_RULE, idleTimeoutMs: ms(port.idleTimeout, TCP_RULE.idleTimeoutMs) },
        sendProxy: sendProxyOf(port),
      },
      acceptProxy: port.proxyProtocol?.accept === true,
    };
  });
  const { dns } = message;
  const refreshMs = Math.max(DNS_REFRESH_MS_MIN, ms(dns?.refresh, DNS_REFRESH_MS));
  return errors.length > 0
    ? null
    : {
        name: message.name,
        message,
        identities,
        ports,
        dns: dns === undefined ? null : { host: dns.host, port: dns.port, refreshMs },
      };
}

/** Empty: the public ones. What is no root would fail each handshake, one by one and later. */
function checkRoots(caPem: string, errors: CompileError[]): void {
  const wrong = caPem === '' ? null : rootsMistake(caPem);
  if (wrong !== null) errors.push({ path: 'ca_pem', message: `the roots of ca_file: ${wrong}` });
}

function checkPort(port: ServicePort, path: string, errors: CompileError[]): void {
  reportUnknown(port, path, errors);
  if (port.port < 1 || port.port > 65_535) errors.push({ path: `${path}.port`, message: 'must be from 1 to 65535' });
  if (PROTOCOLS[port.protocol] === undefined)
    errors.push({ path: `${path}.protocol`, message: `unknown protocol ${port.protocol}: upgrade this sidecar` });
  const proxyProtocol = port.proxyProtocol;
  if (proxyProtocol !== undefined) {
    reportUnknown(proxyProtocol, `${path}.proxy_protocol`, errors);
    if (SEND_PROXY[proxyProtocol.send] === undefined)
      errors.push({
        path: `${path}.proxy_protocol.send`,
        message: `unknown version ${proxyProtocol.send}: upgrade this sidecar`,
      });
  }
  if (TLS_MODES[port.tls] === undefined)
    errors.push({ path: `${path}.tls`, message: `unknown TLS mode ${port.tls}: upgrade this sidecar` });
  if (TLS_VERSIONS[port.minTlsVersion] === undefined) {
    const message = `unknown TLS version ${port.minTlsVersion}: upgrade this sidecar`;
    errors.push({ path: `${path}.min_tls_version`, message });
  }
}

function settingsOf(
  message: Service,
  port: ServicePort,
  meshName: string,
  identities: ReadonlySet<string>,
): UpstreamSettings {
  const pool = message.connectionPool;
  const protocol = PROTOCOLS[port.protocol];
  return {
    protocol: protocol === 'detect' ? 'tcp' : protocol,
    tls: TLS_MODES[port.tls],
    sendProxy: sendProxyOf(port),
    meshName,
    serverName: message.dns?.host ?? '',
    rootsPem: message.caPem,
    minVersion: TLS_VERSIONS[port.minTlsVersion],
    identities,
    balancing: message.loadBalancing?.policy === LoadBalancingPolicy.ROUND_ROBIN ? 'roundRobin' : 'leastRequest',
    outlier: outlierOf(message.outlierDetection),
    requestsMax: pool?.requestsMax || LIMITS.clusterRequestsMax,
    connectionsMax: pool?.connectionsMax || LIMITS.clusterConnectionsMax,
    pendingRequestsMax: pool?.pendingRequestsMax || LIMITS.clusterPendingMax,
    connectTimeoutMs: ms(pool?.connectTimeout, LIMITS.connectTimeoutMs),
    idleTimeoutMs: ms(pool?.idleTimeout, 0),
  };
}

/** Whole connections only: one that carries requests is shared by callers. */
function sendProxyOf({ protocol, proxyProtocol }: ServicePort): 0 | 1 | 2 {
  return protocol === Protocol.TCP && proxyProtocol !== undefined ? SEND_PROXY[proxyProtocol.send] : 0;
}

function outlierOf(policy: OutlierDetection | undefined): OutlierPolicy {
  if (policy === undefined) return OUTLIER_DEFAULTS;
  return {
    failures: policy.consecutiveFailures || OUTLIER_DEFAULTS.failures,
    baseMs: ms(policy.ejectionBase, OUTLIER_DEFAULTS.baseMs),
    maxMs: ms(policy.ejectionMax, OUTLIER_DEFAULTS.maxMs),
    jitter: OUTLIER_DEFAULTS.jitter,
    percentMax: policy.ejectionPercentMax || OUTLIER_DEFAULTS.percentMax,
  };
}

/** The hosts as a lookup has them, without ports. One that is none could never be asked for, and is told. */
export function compileHosts({ hosts }: ServiceHosts, errors: CompileError[]): ReadonlySet<string> | null {
  const normalized = new Set<string>();
  hosts.forEach((text, i) => {
    const host = normalizeHost(text);
    if (host === null) errors.push({ path: `hosts[${i}]`, message: `${text} is not a host` });
    else normalized.add(host);
  });
  return errors.length > 0 ? null : normalized;
}

/** A google.protobuf.Duration; `unset` also for one that is not positive. */
function ms(duration: { readonly seconds: bigint; readonly nanos: number } | undefined, unset: number): number {
  if (duration === undefined) return unset;
  const value = Math.ceil(Number(duration.seconds) * 1000 + duration.nanos / 1e6);
  return value > 0 && value <= 2_147_483_647 ? value : unset;
}

/** The settings of an application on localhost: its own protocol in the clear. */
export function appSettings(settings: UpstreamSettings): UpstreamSettings {
  return { ...settings, tls: 'off', outlier: { ...OUTLIER_DEFAULTS, percentMax: 0 } };
}

/** A provider of models without its endpoints. */
export interface CompiledProvider {
  readonly name: string;
  /** host[:port] as requests name it. */
  readonly authority: string;
  readonly pathPrefix: string;
  readonly host: string;
  readonly port: number;
  readonly settings: UpstreamSettings;
  readonly key: Secret | null;
}

export function compileProvider(message: Provider, errors: CompileError[]): CompiledProvider | null {
  reportUnknown(message, '', errors);
  checkRoots(message.caPem, errors);
  const spec = message.spec;
  if (spec?.format !== ProviderFormat.OPENAI_CHAT) {
    errors.push({ path: 'spec.format', message: 'not a format that this sidecar speaks: PROVIDER_FORMAT_OPENAI_CHAT' });
    return null;
  }
  const url = URL.canParse(spec.baseUrl) ? new URL(spec.baseUrl) : null;
  const host = url?.hostname.replace(/^\[|\]$/g, '') ?? '';
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    errors.push({ path: 'spec.base_url', message: 'not an https URL' });
    return null;
  }
  if (url.protocol === 'http:' && !/^(?:localhost|127\.\d+\.\d+\.\d+|::1)$/.test(host)) {
    errors.push({ path: 'spec.base_url', message: 'plain http is only for loopback: the key would be readable' });
    return null;
  }
  const secure = url.protocol === 'https:';
  const { source } = spec.apiKey ?? { source: { case: undefined } };
  const key =
    source.case === 'file'
      ? Secret.fromFile(source.value)
      : source.case === 'env'
        ? Secret.fromEnvironment(source.value)
        : null;
  const settings: UpstreamSettings = {
    protocol: 'http1',
    tls: secure ? 'simple' : 'off',
    meshName: '',
    serverName: /^[\d.]+$|:/.test(host) ? '' : host,
    rootsPem: message.caPem,
    minVersion: 'TLSv1.2',
    identities: new Set(),
    balancing: 'leastRequest',
    outlier: OUTLIER_DEFAULTS,
    requestsMax: LIMITS.clusterRequestsMax,
    connectionsMax: LIMITS.clusterConnectionsMax,
    pendingRequestsMax: LIMITS.clusterPendingMax,
    // A handshake over the internet needs more than one inside the mesh: 5 s (Envoy's default connect timeout).
    connectTimeoutMs: 5_000,
    idleTimeoutMs: 0,
  };
  const port = Number(url.port) || (secure ? 443 : 80);
  return {
    name: message.name,
    authority: url.host,
    pathPrefix: url.pathname.replace(/\/$/, ''),
    host,
    port,
    settings,
    key,
  };
}

/** A target before its provider is known. */
export interface CompiledModel {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly targets: readonly {
    readonly provider: string;
    readonly model: string;
    readonly prices: Prices | null;
    readonly cumulativeWeight: number;
  }[];
}

export function compileModel(message: Model, errors: CompileError[]): CompiledModel | null {
  reportUnknown(message, '', errors);
  const spec = message.spec;
  if (spec === undefined || spec.targets.length === 0) {
    errors.push({ path: 'spec.targets', message: 'a model needs at least one target' });
    return null;
  }
  let cumulativeWeight = 0;
  const targets = spec.targets.map((target) => {
    cumulativeWeight += target.weight ?? 1;
    const { price } = target;
    // Micro-dollars for a million tokens are pico-dollars for one.
    const prices: Prices | null =
      price === undefined
        ? null
        : {
            prompt: price.inputMicroUsdPerMillion,
            completion: price.outputMicroUsdPerMillion,
            cached: price.cachedInputMicroUsdPerMillion || price.inputMicroUsdPerMillion,
            cacheWrite: price.inputMicroUsdPerMillion,
          };
    return { provider: target.provider, model: target.model, prices, cumulativeWeight };
  });
  const aliases = spec.aliases.length > 0 ? [...spec.aliases] : [message.name.slice(message.name.indexOf('/') + 1)];
  return { name: message.name, aliases, targets };
}

/** What one Telemetry says; null: nothing of it. */
export interface CompiledTelemetryResource {
  readonly name: string;
  readonly services: readonly string[];
  readonly callersWithoutService: boolean;
  readonly traceShare: number | null;
  readonly logShare: number | null;
}

export function compileTelemetry(message: Telemetry): CompiledTelemetryResource {
  const tracing = message.spec?.tracing?.samplingPercent;
  const log = message.spec?.accessLog?.samplingPercent;
  return {
    name: message.name,
    services: [...message.services],
    callersWithoutService: message.callersWithoutService,
    traceShare: tracing === undefined ? null : share(tracing),
    logShare: log === undefined ? null : share(log),
  };
}

/**
 * What holds for a Service: of several, the first by name that says something.
 * @param service null: a caller that serves none.
 */
export function telemetryOf(service: string | null, all: readonly CompiledTelemetryResource[]): CompiledTelemetry {
  const mine = all
    .filter((one) => (service === null ? one.callersWithoutService : one.services.includes(service)))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  if (mine.length === 0) return DEFAULT_TELEMETRY;
  return {
    traceShare: mine.find((one) => one.traceShare !== null)?.traceShare ?? DEFAULT_TELEMETRY.traceShare,
    logShare: mine.find((one) => one.logShare !== null)?.logShare ?? DEFAULT_TELEMETRY.logShare,
  };
}

function share(percent: number): number {
  return Math.min(1, Math.max(0, percent / 100));
}
