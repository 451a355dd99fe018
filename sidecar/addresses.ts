// What the options say of addresses: the ports to hold, what the workers listen on, and the applications behind them,
// with every name of a Service made complete.

import type { ListenerConfig, LocalApp } from './base/messages.ts';
import type { NamedService } from './config/named-services.ts';
import type { NamedPort, SidecarOptions } from './options.ts';
import type { HeldPorts, Wanted } from './workers/ports.ts';

/** Every port to hold; `last` are those of the last run, which are taken again where an option says 0. */
export function allPorts(options: SidecarOptions, last: Readonly<Record<string, number>>): Wanted[] {
  const wanted: Omit<Wanted, 'lastPort'>[] = [
    { name: 'outbound', host: options.host, port: options.outboundPort },
    { name: 'inbound', host: options.inboundHost, port: options.inboundPort },
    { name: 'ai', host: options.host, port: options.aiPort },
    { name: 'admin', host: options.adminHost, port: options.adminPort },
    { name: 'metrics', host: options.metricsHost, port: options.metricsPort },
  ];
  for (const { name, port, path } of options.local) {
    if (path === '') wanted.push({ name: `local:${name}`, host: options.host, port });
  }
  return wanted.map((one) => ({ ...one, lastPort: last[one.name] ?? 0 }));
}

/** What the workers listen on. */
export function listeners(options: SidecarOptions, ports: HeldPorts['ports'], namespace: string): ListenerConfig[] {
  const one = (kind: ListenerConfig['kind'], host: string, name: string, service = '', servicePort = 0) => ({
    kind,
    host,
    port: ports[name] as number,
    service,
    servicePort,
    reusePort: options.workers > 1,
  });
  return [
    one('outbound', options.host, 'outbound'),
    one('inbound', options.inboundHost, 'inbound'),
    one('ai', options.host, 'ai'),
    ...options.local.map(({ name, servicePort, path }) => {
      const service = qualify(name, namespace);
      if (path === '') return one('local', options.host, `local:${name}`, service, servicePort);
      return { kind: 'local' as const, host: '', port: 0, path, service, servicePort, reusePort: false };
    }),
  ];
}

/** The applications behind the inbound port. */
export function apps(named: readonly NamedPort[], namespace: string): LocalApp[] {
  return named.map(({ name, servicePort, port, path }) => ({
    service: name === '' ? '' : qualify(name, namespace),
    servicePort,
    port,
    ...(path === '' ? {} : { path }),
  }));
}

/** What must be known: with a control plane a wrong --app is refused by it, in its own words. */
export function namedServices(options: SidecarOptions, namespace: string): NamedService[] {
  const of = (option: string, named: readonly NamedPort[]) =>
    named
      .filter(({ name }) => name !== '')
      .map(({ name, servicePort }) => {
        return { option: `${option} ${name}`, service: qualify(name, namespace), port: servicePort };
      });
  return [...of('--local', options.local), ...(options.controlPlane === null ? of('--app', options.app) : [])];
}

/** `namespace/name`. */
function qualify(name: string, namespace: string): string {
  return name.includes('/') ? name : `${namespace}/${name}`;
}
