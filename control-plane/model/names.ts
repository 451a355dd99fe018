// Names as policies write them (`orders`, `orders.shop`, `orders.shop.mesh`) resolved to one Service.
import { nearest } from '../../proto/kit/nearest.ts';
import type { Resource } from './resource.ts';

/** Services by `namespace/name`. */
export type ServiceIndex = ReadonlyMap<string, Resource<'Service'>>;

/** The suffix of complete mesh hosts. */
const MESH_SUFFIX = '.mesh';

/** `namespace/name` of what a host names, seen from `namespace`; `null` when it is no mesh host. A port is no part of it. */
export function serviceKey(host: string, namespace: string): string | null {
  const plain = host.endsWith(MESH_SUFFIX) && host.split('.').length === 3 ? host.slice(0, -MESH_SUFFIX.length) : host;
  const [name, ns = namespace, ...rest] = plain.split('.');
  return name === undefined || name === '' || ns === '' || rest.length > 0 ? null : `${ns}/${name}`;
}

/** What to write instead of a host that names no Service, as short as `namespace` allows. */
export function serviceFix(host: string, namespace: string, services: ServiceIndex): string {
  const local: string[] = [];
  const all: string[] = [];
  for (const service of services.values()) {
    all.push(`${service.name}.${service.namespace}`);
    if (service.namespace === namespace) local.push(service.name);
  }
  const short = host.replace(/\.mesh$/, '');
  const elsewhere = all.find((known) => known.startsWith(`${short}.`));
  const close = nearest(short, local) ?? elsewhere ?? nearest(short, all);
  return close === undefined ? `add a Service named ${short}` : `write \`${close}\``;
}

/** A port's name: `port-<number>` when the policy gives none. */
export function portName(port: { readonly name: string; readonly port: number }): string {
  return port.name === '' ? `port-${port.port}` : port.name;
}
