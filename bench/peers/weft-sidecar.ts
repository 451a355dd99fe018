// One Weft sidecar as it is run: the bundle, a snapshot made from policies by the control plane's own code, and an
// identity from its authority. Nothing is switched off: routing by host, trace context, metrics, default retries and
// breaker are always on.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { create, fromJsonString, toBinary, toJsonString } from '@bufbuild/protobuf';
import { renderPolicies } from '../../deploy/cli/policies.ts';
import { EndpointSchema, type Snapshot, SnapshotSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { Ready } from '../../proto/kit/ready-file.ts';
import { type Identity, TRUST_DOMAIN } from '../certificates.ts';
import { type Started, until } from '../processes.ts';
import { HOST, startProxy } from './peer.ts';

/** More options for Node, for profiles: `WEFT_BENCH_NODE_OPTIONS='--cpu-prof' npm run bench -- wire`. */
const NODE_OPTIONS = (process.env['WEFT_BENCH_NODE_OPTIONS'] ?? '').split(' ').filter((option) => option !== '');

/** What a sidecar is started with. */
export interface SidecarSetup {
  readonly name: string;
  /** An empty folder. */
  readonly folder: string;
  /** sidecar/main.js of a build. */
  readonly bundle: string;
  readonly identity: Identity;
  /** Service account of the identity. */
  readonly account: string;
  readonly roots: string;
  readonly policies: readonly string[];
  /** The only endpoint of the Service `echo`, as its registration would say; null: the policies name endpoints. */
  readonly endpoint: { readonly port: number; readonly spiffeId: string } | null;
  /** Beside those for files and ports, which are all 0 unless named here. */
  readonly options: readonly string[];
  /** Default: the proxy's core. */
  readonly cores?: string;
}

/** A sidecar that serves. */
export interface Sidecar {
  readonly program: Started;
  /** Listening ports by name. */
  readonly ports: Readonly<Record<string, number>>;
}

/** Starts a sidecar and waits until it serves. */
export async function startSidecar(setup: SidecarSetup): Promise<Sidecar> {
  const folder = join(setup.folder, setup.name);
  mkdirSync(join(folder, 'policies'), { recursive: true });
  writeFileSync(join(folder, 'policies/bench.yaml'), setup.policies.join('---\n'));
  const snapshot = await render(join(folder, 'policies'), setup.account);
  if (setup.endpoint !== null) addEndpoint(snapshot, setup.endpoint);
  const snapshotFile = join(folder, 'snapshot.json');
  writeFileSync(snapshotFile, toJsonString(SnapshotSchema, snapshot));
  const readyFile = join(folder, 'ready.json');
  const files = [
    `--snapshot=${snapshotFile}`,
    `--identity-key=${setup.identity.key}`,
    `--identity-cert=${setup.identity.certificate}`,
    `--trust-bundle=${setup.roots}`,
    `--ready-file=${readyFile}`,
  ];
  const named = (port: string): boolean => setup.options.some((option) => option.startsWith(`--${port}-port=`));
  const ports = ['outbound', 'inbound', 'ai', 'admin', 'metrics', 'readiness'].filter((port) => !named(port));
  const loopback = ['--inbound-host=127.0.0.1', '--metrics-host=127.0.0.1'];
  const options = [...files, ...ports.map((port) => `--${port}-port=0`), ...loopback, ...setup.options];
  const command = [process.execPath, ...NODE_OPTIONS, setup.bundle, ...options];
  const program = startProxy(`weft ${setup.name}`, command, folder, setup.cores);
  await until(program, () => existsSync(readyFile), 'write its ready file');
  return { program, ports: (JSON.parse(readFileSync(readyFile, 'utf8')) as Ready).ports };
}

async function render(directory: string, serviceAccount: string): Promise<Snapshot> {
  const out: string[] = [];
  const errors: string[] = [];
  const options = { service: HOST, namespace: 'default', serviceAccount, trustDomain: TRUST_DOMAIN };
  const write = (to: string[]) => ({ write: (text: string) => to.push(text) });
  const code = await renderPolicies(directory, options, write(out), write(errors));
  if (code !== 0) throw new Error(`the bench's policies are wrong:\n${errors.join('')}`);
  return fromJsonString(SnapshotSchema, out.join(''));
}

function addEndpoint(snapshot: Snapshot, { port, spiffeId }: { port: number; spiffeId: string }): void {
  const service = `default/${HOST}`;
  const endpoint = create(EndpointSchema, { service, address: '127.0.0.1', ports: { 80: port }, spiffeId });
  snapshot.resources.push({
    $typeName: 'weft.mesh.v1.SnapshotResource',
    typeUrl: `type.googleapis.com/${EndpointSchema.typeName}`,
    name: `default/${HOST}/bench`,
    version: '1',
    resource: toBinary(EndpointSchema, endpoint),
  });
}
