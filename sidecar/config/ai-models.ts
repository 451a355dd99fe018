// What the AI port knows: providers with their pools, and the models that applications name.

import { alternatesOf } from '../upstream/dns.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { CompiledProvider } from './compile-service.ts';
import type { ResolvedNames } from './resolved-names.ts';
import type { Resources } from './resources.ts';
import {
  AI_RULE,
  type CompiledTelemetry,
  type Destination,
  type ModelState,
  type ModelTargetState,
  type ProviderState,
} from './snapshot.ts';
import type { Targets } from './targets.ts';

/** Providers move rarely and their DNS answers live for a minute or so. */
const PROVIDER_REFRESH_MS = 30_000;

/** By resource name. */
export function buildProviders(
  resources: Resources,
  targets: Targets,
  names: ResolvedNames,
  telemetry: CompiledTelemetry,
): Map<string, ProviderState> {
  const providers = new Map<string, ProviderState>();
  for (const [name, compiled] of resources.providers) {
    const { upstream, stats } = targets.get('ai', name, 0, compiled.settings);
    upstream.configure(compiled.settings);
    resolveProvider(compiled, upstream, names);
    const destination: Destination = {
      service: name,
      port: 0,
      protocol: 'http1',
      tls: compiled.settings.tls === 'off' ? 'off' : 'simple',
      cluster: upstream.cluster,
      stats,
      telemetry,
      transcode: null,
    };
    providers.set(name, { name, destination, rule: AI_RULE });
  }
  return providers;
}

function resolveProvider({ name, host, port }: CompiledProvider, upstream: Upstream, names: ResolvedNames): void {
  names.watch(`provider ${name}`, host, PROVIDER_REFRESH_MS, `${port}`, (addresses) => {
    const known = new Set<string>();
    for (const address of addresses) {
      const endpoint = `${name}/${address}:${port}`;
      known.add(endpoint);
      const alternates = alternatesOf(address, addresses);
      upstream.set({ name: endpoint, host: address, port, alternates, labels: [], spiffeId: '' });
    }
    upstream.retain(known);
  });
}

/** An alias of the own namespace comes first, then by name. */
export function buildModels(
  namespace: string,
  resources: Resources,
  providers: ReadonlyMap<string, ProviderState>,
): Map<string, ModelState> {
  const models = new Map<string, ModelState>();
  const own = `${namespace}/`;
  const sorted = [...resources.models.values()].sort((a, b) => {
    const first = Number(b.name.startsWith(own)) - Number(a.name.startsWith(own));
    return first !== 0 ? first : a.name < b.name ? -1 : 1;
  });
  for (const { name, aliases, targets } of sorted) {
    const states: ModelTargetState[] = [];
    for (const { provider, model, prices, cumulativeWeight } of targets) {
      const compiled = resources.providers.get(provider);
      const state = providers.get(provider);
      if (compiled === undefined || state === undefined) continue;
      const { authority, pathPrefix, key } = compiled;
      const chat = { provider: { authority, pathPrefix, key, headers: [] }, model, prices };
      states.push({ provider: state, chat, cumulativeWeight });
    }
    if (states.length === 0) continue;
    for (const alias of aliases) if (!models.has(alias)) models.set(alias, { name, targets: states });
  }
  return models;
}
