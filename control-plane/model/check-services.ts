// Services by themselves and beside each other: ports, endpoints, ejection, descriptors, ports on localhost.
import { Protocol, TlsMode, TlsVersion } from '../../proto/gen/weft/policy/v1/service_pb.js';
import { nearest } from '../../proto/kit/nearest.ts';
import { compileMethods } from '../../proto/kit/transcoded-methods.ts';
import type { Report } from './check.ts';
import { placeOf, seconds } from './check.ts';
import { checkOpaque, checkServerNames, viaSidecar } from './check-opaque.ts';
import type { ServiceIndex } from './names.ts';
import { portName, serviceKey } from './names.ts';
import type { Resource } from './resource.ts';
import { resourceId } from './resource.ts';
import { commonCaller } from './visible.ts';

/** The ports that a sidecar has for itself unless an option says otherwise (DESIGN). */
const SIDECAR_PORTS: ReadonlyMap<number, string> = new Map([
  [15_000, 'admin'],
  [15_001, 'outbound calls'],
  [15_004, 'calls to models'],
  [15_006, 'inbound calls'],
  [15_020, 'metrics'],
  [15_021, 'readiness'],
]);
const OUTBOUND_PORT = 15_001;
/** What holds when a Service says nothing of it, in seconds (service.proto). */
const EJECTION_BASE_S = 1;
const EJECTION_MAX_S = 60;

export function checkServices(
  all: readonly Resource<'Service'>[],
  policies: readonly Resource<'Authorization'>[],
  services: ServiceIndex,
  report: Report,
): void {
  for (const service of all) {
    checkName(service, report);
    checkPorts(service, report);
    checkEndpoints(service, services, report);
    checkRoots(service, report);
    checkEjection(service, report);
    checkTranscoding(service, report);
  }
  checkServerNames(all, report);
  checkLocalPorts(all, policies, report);
}

/** `name.localhost` and `localhost` are this machine, and clients resolve them to it. */
function checkName(service: Resource<'Service'>, report: Report): void {
  for (const field of ['name', 'namespace'] as const) {
    if (service[field] !== 'localhost') continue;
    report(service, `metadata.${field}`, '"localhost" always means the own machine', 'choose another name');
  }
}

function checkPorts(service: Resource<'Service'>, report: Report): void {
  const spec = service.message.spec;
  const names = new Map<string, number>();
  const numbers = new Map<number, number>();
  let clear: number | undefined;
  spec?.ports.forEach((port, i) => {
    const path = `spec.ports[${i}]`;
    const name = portName(port);
    const named = names.get(name);
    if (named !== undefined)
      report(service, `${path}.name`, `ports[${named}] is called "${name}" too`, 'give each port its own name');
    const numbered = numbers.get(port.port);
    if (numbered !== undefined)
      report(
        service,
        `${path}.port`,
        `ports[${numbered}] has the number ${port.port} too`,
        'give each port its own number',
      );
    names.set(name, i);
    numbers.set(port.port, i);
    if (port.minTlsVersion !== TlsVersion.UNSPECIFIED && port.tls !== TlsMode.SIMPLE)
      report(
        service,
        `${path}.minTlsVersion`,
        'says something only of a server outside the mesh (SIMPLE): between sidecars TLS is 1.3, and OFF has none',
        'remove it, or write `tls: SIMPLE`',
      );
    checkOpaque(service, port, path, report);
    if (!viaSidecar(service) || port.tls !== TlsMode.OFF) return;
    if (clear !== undefined)
      report(
        service,
        `${path}.tls`,
        `ports[${clear}] is OFF too, and nothing in the clear says which of the two is called: a sidecar takes neither`,
        'leave OFF to one of them',
      );
    clear ??= i;
  });
}

function checkEndpoints(service: Resource<'Service'>, services: ServiceIndex, report: Report): void {
  const source = service.message.spec?.endpointSource;
  if (source?.case === 'dns') {
    const { host, port } = source.value;
    const key = host.endsWith('.mesh') ? serviceKey(host, service.namespace) : null;
    if (key !== null && services.has(key))
      report(service, 'spec.dns.host', `${host} is a Service of the mesh, which no DNS knows`, 'call it by a Route');
    if (host === 'localhost' && dials(service, port).includes(OUTBOUND_PORT))
      report(service, 'spec.dns', ...comesBack(service));
  }
  if (source?.case !== 'static') return;
  const seen = new Map<string, number>();
  source.value.endpoints.forEach(({ address, port }, i) => {
    const path = `spec.static.endpoints[${i}]`;
    const key = `${address} ${port}`;
    const first = seen.get(key);
    if (first !== undefined) report(service, path, `the same as endpoints[${first}]`, 'remove one of the two');
    seen.set(key, first ?? i);
    if (/^(?:0\.0\.0\.0|[0:]*:[0:]*)$/.test(address))
      report(service, `${path}.address`, `${address} is no address to call`, 'write the address of the endpoint');
    if (/^(?:127\.[\d.]+|::1)$/.test(address) && dials(service, port).includes(OUTBOUND_PORT))
      report(service, path, ...comesBack(service));
  });
}

/** The ports that callers dial at an endpoint. @param port the endpoint's own; 0: those of the Service. */
function dials(service: Resource<'Service'>, port: number): number[] {
  return port === 0 ? (service.message.spec?.ports.map((one) => one.port) ?? []) : [port];
}

function comesBack({ name }: Resource<'Service'>): [message: string, fix: string] {
  return [
    `port ${OUTBOUND_PORT} of localhost is the caller's own sidecar: a call to ${name} would come back to it, for ever`,
    'write the port of the application',
  ];
}

/** Roots of which no connection makes use. */
function checkRoots(service: Resource<'Service'>, report: Report): void {
  const { caFile, ports = [] } = service.message.spec ?? {};
  if (!caFile) return;
  if (viaSidecar(service))
    report(
      service,
      'spec.caFile',
      "these endpoints have sidecars, which callers verify by the mesh's own roots",
      'remove it, or write where the servers are: `static` or `dns`',
    );
  else if (!ports.some(({ tls }) => tls === TlsMode.SIMPLE))
    report(
      service,
      'spec.caFile',
      'no port is SIMPLE, so no server is verified by these roots',
      'remove it, or write `tls: SIMPLE`',
    );
}

function checkEjection(service: Resource<'Service'>, report: Report): void {
  const { ejectionBase, ejectionMax } = service.message.spec?.outlierDetection ?? {};
  const baseS = ejectionBase ? seconds(ejectionBase) : EJECTION_BASE_S;
  const maxS = ejectionMax ? seconds(ejectionMax) : EJECTION_MAX_S;
  if (baseS <= maxS) return;
  const field = ejectionBase ? 'ejectionBase' : 'ejectionMax';
  const fix = ejectionBase ? (ejectionMax ? 'shorten ejectionBase' : 'add a longer ejectionMax') : 'add ejectionBase';
  const message = `ejectionBase (${baseS} s) is longer than ejectionMax (${maxS} s)`;
  report(service, `spec.outlierDetection.${field}`, message, fix);
}

function checkTranscoding(service: Resource<'Service'>, report: Report): void {
  const { transcoding, ports = [] } = service.message.spec ?? {};
  if (!transcoding) return;
  if (!ports.some(({ protocol }) => protocol === Protocol.GRPC || protocol === Protocol.HTTP2))
    report(
      service,
      'spec.transcoding',
      'no port speaks gRPC, so no JSON becomes it',
      'set `protocol: GRPC` on the port',
    );
  if (transcoding.descriptors.case !== 'descriptorSet') return;
  const whole = 'make it with `buf build -o api.binpb` or `protoc --include_imports -o`';
  // By the code that a sidecar compiles it with: what passes here is refused nowhere.
  const index = compileMethods(transcoding.descriptors.value);
  if ('errors' in index) {
    for (const error of index.errors)
      report(
        service,
        'spec.transcoding',
        error,
        error.startsWith('not a ') ? whole : 'mend the .proto and build it again',
      );
    return;
  }
  const known = [...index.registry].filter((type) => type.kind === 'service').map((type) => type.typeName);
  if (known.length === 0) {
    report(service, 'spec.transcoding', 'the descriptors have no gRPC service', whole);
    return;
  }
  transcoding.services.forEach((name, i) => {
    if (name === '' || known.includes(name)) return;
    const close = nearest(name, known);
    const fix = close ? `write \`${close}\`` : `write one of ${known.join(', ')}`;
    report(service, `spec.transcoding.services[${i}]`, `the descriptors have no service ${name}`, fix);
  });
}

function checkLocalPorts(
  services: readonly Resource<'Service'>[],
  policies: readonly Resource<'Authorization'>[],
  report: Report,
): void {
  const taken = new Map<number, Resource<'Service'>[]>();
  for (const service of services) {
    const port = service.message.spec?.localPort ?? 0;
    if (port === 0) continue;
    const own = SIDECAR_PORTS.get(port);
    if (own !== undefined)
      report(service, 'spec.localPort', `the sidecar itself has port ${port} for ${own}`, 'choose another port');
    const others = taken.get(port) ?? [];
    taken.set(port, [...others, service]);
    const other = others.find(
      (one) => resourceId(one) !== resourceId(service) && commonCaller(one, service, services, policies) !== null,
    );
    if (other === undefined) continue;
    const who = commonCaller(other, service, services, policies);
    report(
      service,
      'spec.localPort',
      `${resourceId(other)} opens local port ${port} too (${placeOf(other, 'spec.localPort')}), and ${who} may call both`,
      'choose another port',
    );
  }
}
