// What a workload may register, decided by its attested identity and the policies. Pure: the same registration and
// policies give the same endpoints.

import { isIP } from 'node:net';
import { create } from '@bufbuild/protobuf';
import { EndpointSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { Identity } from '../../proto/kit/spiffe.ts';
import { type EncodedResource, encodeResource } from '../index/encoded.ts';
import { of } from '../model/check.ts';
import type { Resource } from '../model/resource.ts';

/** What a sidecar says of itself in weft.mesh.v1.RegisterRequest, as plain data that can be stored. */
export interface Registration {
  /** Attested, never said. */
  readonly spiffeId: string;
  readonly workloadId: string;
  readonly address: string;
  readonly inboundPort: number;
  readonly apps: readonly { readonly service: string; readonly servicePort: number }[];
  readonly labels: Readonly<Record<string, string>>;
}

/** One endpoint and the resource name of its Service. */
export interface WorkloadEndpoint {
  readonly service: string;
  readonly resource: EncodedResource;
}

/** The endpoints, or a refusal whose code is the gRPC status of the same name. */
export type Resolved =
  | { readonly ok: true; readonly endpoints: readonly WorkloadEndpoint[] }
  | { readonly ok: false; readonly code: 'PERMISSION_DENIED' | 'INVALID_ARGUMENT'; readonly error: string };

/** Applications behind one sidecar: as many as a Service has ports. */
export const APPS_MAX = 64;

/** Labels of one workload, as of a policy's metadata. */
export const LABELS_MAX = 64;

/** Label key and value: Kubernetes' limits for a key with prefix, and twice that of a value. */
const LABEL_KEY = /^[A-Za-z0-9]([A-Za-z0-9._/-]{0,315}[A-Za-z0-9])?$/;
const LABEL_VALUE_CHARS_MAX = 128;

/** Part of a resource name, so without a slash. */
const WORKLOAD_ID = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$/;

/** What is wrong with the message itself, whatever the policies say; null when nothing is. */
export function checkRegistration(registration: Registration): string | null {
  const { workloadId, address, inboundPort, apps, labels } = registration;
  if (!WORKLOAD_ID.test(workloadId)) {
    return 'workload_id must be 1 to 128 characters of a-z, A-Z, 0-9, ".", "_", "-", with a letter or digit at both ends';
  }
  if (!isDialable(address)) {
    return `address ${JSON.stringify(address.slice(0, 64))} is not an IPv4 or IPv6 address that others can dial; give --advertise-address`;
  }
  if (!Number.isInteger(inboundPort) || inboundPort < 1 || inboundPort > 65_535) {
    return `inbound_port ${inboundPort} is not from 1 to 65535`;
  }
  if (apps.length > APPS_MAX) return `${apps.length} apps; at most ${APPS_MAX} are allowed`;
  if (apps.some((app) => app.servicePort > 65_535)) return 'a service_port is above 65535';
  const entries = Object.entries(labels);
  if (entries.length > LABELS_MAX) return `${entries.length} labels; at most ${LABELS_MAX} are allowed`;
  for (const [key, value] of entries) {
    if (!LABEL_KEY.test(key) || value.length > LABEL_VALUE_CHARS_MAX) {
      const shown = JSON.stringify(key.slice(0, 64));
      return `label ${shown} needs a key of letters, digits, ".", "_", "-", "/" and a value of at most ${LABEL_VALUE_CHARS_MAX} characters`;
    }
  }
  return null;
}

/** Holds a registration against the policies. */
export function resolveRegistration(
  registration: Registration,
  identity: Identity,
  resources: readonly Resource[],
): Resolved {
  const own = of(resources, 'Service').filter((service) => mayServe(service, identity));
  const ports = new Map<string, Map<number, number>>();
  for (const app of registration.apps) {
    const service = findService(app.service, own, identity);
    if (typeof service === 'string') return { ok: false, code: 'PERMISSION_DENIED', error: service };
    const name = `${service.namespace}/${service.name}`;
    const declared = service.message.spec?.ports.map((port) => port.port) ?? [];
    const port = app.servicePort === 0 && declared.length === 1 ? declared[0] : app.servicePort;
    if (port === undefined || !declared.includes(port)) {
      const error =
        app.servicePort === 0
          ? `Service ${name} has the ports ${declared.join(', ')}; say which one: --app ${service.name}:${declared[0]}=PORT`
          : `Service ${name} has no port ${app.servicePort}; it has ${declared.join(', ')}`;
      return { ok: false, code: 'INVALID_ARGUMENT', error };
    }
    const served = ports.get(name) ?? new Map<number, number>();
    ports.set(name, served.set(port, registration.inboundPort));
  }
  const endpoints = [...ports].map(([service, served]) => {
    const message = create(EndpointSchema, {
      service,
      address: registration.address,
      // In order, so that equal registrations have equal bytes and versions.
      ports: Object.fromEntries([...served].sort(([a], [b]) => a - b)),
      labels: Object.fromEntries(Object.entries(registration.labels).sort(([a], [b]) => (a < b ? -1 : 1))),
      spiffeId: registration.spiffeId,
    });
    return { service, resource: encodeResource(EndpointSchema, `${service}/${registration.workloadId}`, message) };
  });
  return { ok: true, endpoints };
}

/** Whether workloads of this identity are the Service's endpoints: its account, and no other source is named. */
function mayServe(service: Resource<'Service'>, identity: Identity): boolean {
  if (service.namespace !== identity.namespace) return false;
  const spec = service.message.spec;
  if (spec?.endpointSource.case === 'static' || spec?.endpointSource.case === 'dns') return false;
  const accounts = spec?.serviceAccounts ?? [];
  return accounts.length > 0 ? accounts.includes(identity.serviceAccount) : service.name === identity.serviceAccount;
}

/** The Service that an application names (`name`, `namespace/name`, or nothing), or why there is none. */
function findService(
  written: string,
  own: readonly Resource<'Service'>[],
  identity: Identity,
): Resource<'Service'> | string {
  const who = `${identity.serviceAccount}.${identity.namespace}`;
  const names = own.map((service) => service.name).join(', ');
  if (written === '') {
    if (own.length === 1) return own[0] as Resource<'Service'>;
    return own.length === 0
      ? `no Service takes workloads of ${who}; add it to a Service's serviceAccounts, or name the Service like the account`
      : `${who} may serve ${names}; say which: --app NAME=PORT`;
  }
  const prefix = `${identity.namespace}/`;
  const name = written.startsWith(prefix) ? written.slice(prefix.length) : written;
  const found = own.find((service) => service.name === name);
  if (found !== undefined) return found;
  const shown = JSON.stringify(written.slice(0, 128));
  return `${who} may not serve ${shown}; ${names === '' ? 'no Service takes it' : `it may serve ${names}`}: see serviceAccounts of the Service`;
}

/** An address of one machine: neither unspecified nor multicast, and without a zone. */
function isDialable(address: string): boolean {
  const family = isIP(address);
  if (family === 0 || address.includes('%')) return false;
  if (family === 4) {
    const first = Number(address.split('.')[0]);
    return first !== 0 && first < 224;
  }
  return !/^(0{0,4}:){1,7}0{0,4}$/.test(address) && !/^ff/i.test(address);
}
