// What Services say of opaque connections: idle times, detection, the PROXY protocol, and the names that TLS is routed by.
import type { ServicePort } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { Protocol, ProxyProtocolVersion, TlsMode } from '../../proto/gen/weft/policy/v1/service_pb.js';
import type { Report } from './check.ts';
import { placeOf } from './check.ts';
import type { Resource } from './resource.ts';
import { resourceId } from './resource.ts';

/** Opaque to callers' sidecars; what DETECT finds is known to the receiver's only. */
export function isOpaque({ protocol }: ServicePort): boolean {
  return protocol === Protocol.TCP || protocol === Protocol.DETECT;
}

/** Whether callers reach the Service through a sidecar, and not at addresses that somebody wrote down. */
export function viaSidecar(service: Resource<'Service'>): boolean {
  const source = service.message.spec?.endpointSource.case;
  return source === undefined || source === 'workloads';
}

/** Reports what is said of opaque connections where there are none, or of a sidecar that is not there. */
export function checkOpaque(service: Resource<'Service'>, port: ServicePort, path: string, report: Report): void {
  if (port.idleTimeout && !isOpaque(port))
    report(
      service,
      `${path}.idleTimeout`,
      'speaks of opaque connections, and this port carries HTTP',
      'write `timeouts.idle` in a Route instead',
    );
  if (port.protocol === Protocol.DETECT && !viaSidecar(service))
    report(
      service,
      `${path}.protocol`,
      "only the receiver's sidecar detects what comes, and these endpoints have none",
      'write what they speak, or `TCP`',
    );
  checkClear(service, port, path, report);
  checkProxyProtocol(service, port, path, report);
}

/** Who speaks first is not known in the clear: only a header that must come tells that a connection has begun. */
function checkClear(service: Resource<'Service'>, port: ServicePort, path: string, report: Report): void {
  const secure = port.tls === TlsMode.UNSPECIFIED || port.tls === TlsMode.MUTUAL;
  if (!viaSidecar(service) || secure || !isOpaque(port)) return;
  if (port.tls === TlsMode.OFF && port.proxyProtocol?.accept) return;
  report(
    service,
    `${path}.tls`,
    'a sidecar takes opaque TCP from sidecars only: what comes without a certificate is read as HTTP',
    'write `MUTUAL`',
  );
}

function checkProxyProtocol(service: Resource<'Service'>, port: ServicePort, path: string, report: Report): void {
  const { accept = false, send = ProxyProtocolVersion.UNSPECIFIED } = port.proxyProtocol ?? {};
  if (port.proxyProtocol && !accept && send === ProxyProtocolVersion.UNSPECIFIED)
    report(service, `${path}.proxyProtocol`, 'neither accepts a header nor sends one', 'add `accept` or `send`');
  if (accept && (port.tls !== TlsMode.OFF || !viaSidecar(service)))
    report(
      service,
      `${path}.proxyProtocol.accept`,
      'a header is taken only by a sidecar and in the clear: with TLS the certificate says who calls',
      viaSidecar(service) ? 'write `tls: OFF`, or remove `accept`' : 'remove it',
    );
  if (send !== ProxyProtocolVersion.UNSPECIFIED && port.protocol !== Protocol.TCP)
    report(
      service,
      `${path}.proxyProtocol.send`,
      'a header speaks for a whole connection, and connections that carry requests are shared by callers',
      'write `protocol: TCP`, or read `x-forwarded-for`',
    );
  else if (send !== ProxyProtocolVersion.UNSPECIFIED && !viaSidecar(service) && port.tls !== TlsMode.OFF)
    report(
      service,
      `${path}.proxyProtocol.send`,
      'a header comes before TLS, and to these endpoints the sidecar speaks TLS from the first byte',
      'write `tls: OFF`',
    );
}

/** TLS to a name in DNS goes to the Service that has it: of two in one namespace it would be anybody's guess. */
export function checkServerNames(services: readonly Resource<'Service'>[], report: Report): void {
  const taken = new Map<string, Resource<'Service'>>();
  for (const service of services) {
    const source = service.message.spec?.endpointSource;
    if (source?.case !== 'dns' || !service.message.spec?.ports.some(isOpaque)) continue;
    const key = `${service.namespace} ${source.value.host.toLowerCase()}`;
    const other = taken.get(key);
    taken.set(key, other ?? service);
    if (other === undefined || resourceId(other) === resourceId(service)) continue;
    report(
      service,
      'spec.dns.host',
      `${resourceId(other)} has this name and opaque ports, too (${placeOf(other, 'spec.dns.host')}): TLS that names ${source.value.host} would go to one of them`,
      'make both one Service with several ports',
    );
  }
}
