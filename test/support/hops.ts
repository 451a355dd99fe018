// An application behind one real sidecar or two: client, caller's sidecar, mutual TLS over HTTP/2, receiver's sidecar,
// application. Each sidecar is a process as users run it; client and application know nothing of Weft.

import { AuthorizationSchema, EndpointSchema, ServiceSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import { AuthorizationAction } from '../../proto/gen/weft/policy/v1/authorization_pb.js';
import { type Protocol, TlsMode } from '../../proto/gen/weft/policy/v1/service_pb.js';
import type { ResourceBytes } from '../../sidecar/base/messages.ts';
import { testAuthority } from './identities.ts';
import { type SidecarProcess, SidecarProcesses } from './sidecar-process.ts';
import { identityOptions } from './use.ts';
import { resource } from './worker-rig.ts';

const NAME = 'shop/echo';
const CALLER = 'spiffe://mesh.local/ns/shop/sa/web';
const RECEIVER = 'spiffe://mesh.local/ns/shop/sa/echo';

/** What stands between a client and the application: 1, the caller's sidecar alone, or 2. */
export type HopCount = 1 | 2;

/** The sidecars in front of one application. */
export interface Hops {
  /** Where a client calls the application, whatever Host it names. */
  readonly port: number;
  /** Where a client calls it as `echo` or `echo.shop`. */
  readonly outboundPort: number;
  /** In the order a request passes them. */
  readonly sidecars: readonly SidecarProcess[];
  close(): Promise<void>;
}

/** Starts them in front of the application at `port`, which speaks `protocol`. `policies` go to each, e.g. a Route. */
export async function startHops(
  count: HopCount,
  port: number,
  protocol: Protocol,
  policies: readonly ResourceBytes[] = [],
): Promise<Hops> {
  const processes = new SidecarProcesses();
  const authority = await testAuthority();
  const close = async (): Promise<void> => {
    await processes.close();
    authority.close();
  };
  try {
    const echo = service(protocol, count === 1 ? TlsMode.OFF : TlsMode.MUTUAL);
    const sidecars: SidecarProcess[] = [];
    let dialled = port;
    if (count === 2) {
      const snapshot = processes.snapshot([echo, OPEN_TO_CALLER, ...policies], RECEIVER);
      const identity = identityOptions(processes.folder, 'echo', await authority.issue('echo'));
      const receiver = await processes.start(['--snapshot', snapshot, '--app', `echo=${port}`, ...identity]);
      sidecars.push(receiver);
      dialled = receiver.ports.inbound as number;
    }
    const snapshot = processes.snapshot([echo, endpoint(dialled, count), ...policies], CALLER);
    const identity = identityOptions(processes.folder, 'web', await authority.issue('web'));
    const caller = await processes.start(['--snapshot', snapshot, '--local', 'echo=0', ...identity]);
    sidecars.unshift(caller);
    const { 'local:echo': local, outbound } = caller.ports;
    return { port: local as number, outboundPort: outbound as number, sidecars, close };
  } catch (error) {
    await close();
    throw error;
  }
}

const OPEN_TO_CALLER = resource(AuthorizationSchema, 'shop/callers', {
  name: 'shop/callers',
  services: [NAME],
  action: AuthorizationAction.ALLOW,
  rules: [{ name: 'web', from: [{ caller: { case: 'spiffeId', value: CALLER } }] }],
});

function service(protocol: Protocol, tls: TlsMode): ResourceBytes {
  return resource(ServiceSchema, NAME, { name: NAME, ports: [{ port: 80, protocol, tls }], identities: [RECEIVER] });
}

function endpoint(port: number, count: HopCount): ResourceBytes {
  const place = { service: NAME, address: '127.0.0.1', ports: { 80: port } };
  return resource(EndpointSchema, `${NAME}/one`, count === 1 ? place : { ...place, spiffeId: RECEIVER });
}
