// What this sidecar's applications answer: the Services behind `--app`, with who may call them.

import type { LocalApp } from '../base/messages.ts';
import { assembleAuthorization } from '../filters/authorization/compile.ts';
import { appSettings, type CompiledPort, type CompiledService } from './compile-service.ts';
import type { Resources } from './resources.ts';
import { type CompiledTelemetry, DENY_ALL, type Destination, type OwnPort, type OwnService } from './snapshot.ts';
import type { StateContext } from './state.ts';
import type { Targets } from './targets.ts';

/** By resource name. An application whose Service is not known, or lacks the port, answers nothing yet. */
export function buildOwnServices(
  context: StateContext,
  resources: Resources,
  targets: Targets,
  telemetryOf: (service: string) => CompiledTelemetry,
): Map<string, OwnService> {
  const own = new Map<string, { service: OwnService; ports: Map<number, OwnPort> }>();
  const policies = [...resources.authorizations.values()];
  for (const app of context.apps) {
    const compiled = serviceOfApp(app, context, resources);
    const found = compiled?.ports.find(({ port }) => app.servicePort === 0 || port === app.servicePort);
    if (compiled === undefined || found === undefined) continue;
    const { name } = compiled;
    let entry = own.get(name);
    if (entry === undefined) {
      const ports = new Map<number, OwnPort>();
      const authorization =
        resources.unreadable.size > 0 ? DENY_ALL : assembleAuthorization(name, context.trustDomain, policies);
      const hosts = resources.hosts.get(name);
      entry = { service: { name, ports, hosts, authorization }, ports };
      own.set(name, entry);
    }
    const { port, protocol, settings, acceptProxy } = found;
    const to = (spoken: '' | 'http1' | 'http2') => destinationOf(app, name, found, spoken, targets, telemetryOf(name));
    const spoken = protocol === 'detect' ? { http1: to('http1'), http2: to('http2') } : undefined;
    entry.ports.set(port, { port, protocol, tls: settings.tls, destination: to(''), spoken, acceptProxy });
  }
  return new Map([...own].map(([name, { service }]) => [name, service]));
}

/** An application on localhost. @param spoken what one of its connections speaks; empty: what the policy says. */
function destinationOf(
  app: LocalApp,
  service: string,
  { port, settings, opaque }: CompiledPort,
  spoken: '' | 'http1' | 'http2',
  targets: Targets,
  telemetry: CompiledTelemetry,
): Destination {
  const protocol = spoken === '' ? settings.protocol : spoken;
  const dialled = appSettings({ ...settings, protocol });
  const { upstream, stats } = targets.get('inbound', service, port, dialled, spoken);
  upstream.configure(dialled);
  // What listens on `localhost` has often only one of the two.
  const where = app.path === undefined ? { port: app.port, alternates: ['::1'] } : { port: 0, path: app.path };
  upstream.set({ name: `app:${app.path ?? app.port}`, host: '127.0.0.1', ...where, labels: [], spiffeId: '' });
  const { cluster } = upstream;
  return { service, port, protocol, tls: 'off', cluster, stats, telemetry, transcode: null, opaque };
}

/** Whose Telemetry the calls of the application follow: of several Services the first `--app`'s. Null: it serves none. */
export function callerService(context: StateContext, resources: Resources): string | null {
  for (const app of context.apps) {
    const served = serviceOfApp(app, context, resources);
    if (served !== undefined) return served.name;
  }
  const mine = servedBy(context.spiffeId(), resources).map(({ name }) => name);
  return mine.sort()[0] ?? null;
}

/** The Service that an application answers; one without a name answers the only one that the identity serves. */
function serviceOfApp(app: LocalApp, context: StateContext, resources: Resources): CompiledService | undefined {
  if (app.service !== '') return resources.services.get(app.service);
  const mine = servedBy(context.spiffeId(), resources);
  return mine.length === 1 ? mine[0] : undefined;
}

function servedBy(spiffeId: string, resources: Resources): CompiledService[] {
  return [...resources.services.values()].filter((service) => service.identities.has(spiffeId));
}
