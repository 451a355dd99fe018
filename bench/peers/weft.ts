// Weft as it is run: the built bundle, one worker, a snapshot made from policies by the control plane's own code, and
// identities from its authority. Nothing is switched off: routing by host, trace context, metrics, default retries and
// breaker are always on, and the receiver authorizes by identity.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { create, fromJsonString, toBinary, toJsonString } from '@bufbuild/protobuf';
import { renderPolicies } from '../../deploy/cli/policies.ts';
import { EndpointSchema, SnapshotSchema } from '../../proto/gen/weft/mesh/v1/resources_pb.js';
import type { Ready } from '../../proto/kit/ready-file.ts';
import { type Identity, TRUST_DOMAIN } from '../certificates.ts';
import { type Started, until } from '../processes.ts';
import { HOST, type Launched, type Peer, type Site, startProxy } from './peer.ts';

const DIST = fileURLToPath(new URL('../../dist', import.meta.url));
/** Another build to compare with in the same run, as `weft-before`: `WEFT_BENCH_BEFORE=FOLDER npm run bench -- wire`. */
const BEFORE = process.env['WEFT_BENCH_BEFORE'] ?? '';
/** More options for Node, for profiles: `WEFT_BENCH_NODE_OPTIONS='--cpu-prof' npm run bench -- wire`. */
const NODE_OPTIONS = (process.env['WEFT_BENCH_NODE_OPTIONS'] ?? '').split(' ').filter((option) => option !== '');

/** The build of this tree, and the one to compare with when there is one. */
export function weftPeers(): Peer[] {
  const before = BEFORE === '' ? [] : [peer('weft-before', BEFORE)];
  return [...before, peer('weft', process.env['WEFT_BENCH_DIST'] ?? DIST)];
}

function peer(name: string, dist: string): Peer {
  const bundle = join(dist, 'sidecar/main.js');
  return {
    name,
    version() {
      const built = existsSync(bundle) && existsSync(join(dist, 'sidecar/worker.js'));
      return built ? `Weft, the bundle on Node ${process.version}, one worker` : null;
    },
    launch: (site) => launch(site, bundle),
  };
}

async function launch(site: Site, bundle: string): Promise<Launched> {
  const { scenario, identities, backends } = site;
  if (scenario.hops === 1 && scenario.front === 'clear') {
    const policies = [service(scenario.protocol, 'OFF', backends)];
    const outer = await sidecar(site, bundle, 'outbound', identities.client, policies, null, []);
    return launched([outer], outer.ports['outbound'], policies);
  }
  if (scenario.hops === 1) {
    const policies = [service(scenario.protocol, 'SIMPLE', []), authorization(null)];
    const inner = await sidecar(site, bundle, 'inbound', identities.server, policies, null, app(backends));
    return launched([inner], inner.ports['inbound'], policies);
  }
  const policies = [service(scenario.protocol, 'MUTUAL', []), authorization('client')];
  const inner = await sidecar(site, bundle, 'inbound', identities.server, policies, null, app(backends));
  const dial = inner.ports['inbound'] ?? 0;
  const outer = await sidecar(site, bundle, 'outbound', identities.client, policies, dial, []);
  return launched([outer, inner], outer.ports['outbound'], policies);
}

interface Sidecar {
  readonly program: Started;
  readonly ports: Readonly<Record<string, number>>;
}

/** Starts one sidecar; `dial` is the inbound port of the Service's only endpoint, as its registration would say. */
async function sidecar(
  site: Site,
  bundle: string,
  name: string,
  identity: Identity,
  policies: readonly string[],
  dial: number | null,
  options: readonly string[],
): Promise<Sidecar> {
  const folder = join(site.folder, name);
  mkdirSync(join(folder, 'policies'), { recursive: true });
  writeFileSync(join(folder, 'policies/bench.yaml'), policies.join('---\n'));
  const account = identity === site.identities.client ? 'client' : 'echo';
  const snapshot = await render(join(folder, 'policies'), account);
  if (dial !== null) addEndpoint(snapshot, dial, site.identities.server.spiffeId);
  const snapshotFile = join(folder, 'snapshot.json');
  writeFileSync(snapshotFile, toJsonString(SnapshotSchema, snapshot));
  const readyFile = join(folder, 'ready.json');
  const files = [
    `--snapshot=${snapshotFile}`,
    `--identity-key=${identity.key}`,
    `--identity-cert=${identity.certificate}`,
    `--trust-bundle=${site.identities.roots}`,
    `--ready-file=${readyFile}`,
  ];
  const ports = ['outbound', 'inbound', 'ai', 'admin', 'metrics', 'readiness'].map((port) => `--${port}-port=0`);
  const hosts = ['--inbound-host=127.0.0.1', '--metrics-host=127.0.0.1'];
  const command = [process.execPath, ...NODE_OPTIONS, bundle, ...files, ...ports, ...hosts, ...options];
  const program = startProxy(`weft ${name}`, command, folder);
  await until(program, () => existsSync(readyFile), 'write its ready file');
  return { program, ports: (JSON.parse(readFileSync(readyFile, 'utf8')) as Ready).ports };
}

async function render(directory: string, serviceAccount: string) {
  const out: string[] = [];
  const errors: string[] = [];
  const options = { service: HOST, namespace: 'default', serviceAccount, trustDomain: TRUST_DOMAIN };
  const write = (to: string[]) => ({ write: (text: string) => to.push(text) });
  const code = await renderPolicies(directory, options, write(out), write(errors));
  if (code !== 0) throw new Error(`the bench's policies are wrong:\n${errors.join('')}`);
  return fromJsonString(SnapshotSchema, out.join(''));
}

function addEndpoint(snapshot: Awaited<ReturnType<typeof render>>, port: number, spiffeId: string): void {
  const name = `default/${HOST}/bench`;
  const endpoint = create(EndpointSchema, {
    service: `default/${HOST}`,
    address: '127.0.0.1',
    ports: { 80: port },
    spiffeId,
  });
  snapshot.resources.push({
    $typeName: 'weft.mesh.v1.SnapshotResource',
    typeUrl: `type.googleapis.com/${EndpointSchema.typeName}`,
    name,
    version: '1',
    resource: toBinary(EndpointSchema, endpoint),
  });
}

function launched(sidecars: readonly Sidecar[], port: number | undefined, policies: readonly string[]): Launched {
  return { port: port ?? 0, programs: sidecars.map(({ program }) => program), config: policies.join('---\n') };
}

function app(backends: readonly number[]): string[] {
  return [`--app=${HOST}:80=${backends[0]}`];
}

function service(protocol: 'h1' | 'h2', tls: string, backends: readonly number[]): string {
  const endpoints = backends.map((port) => `{ address: 127.0.0.1, port: ${port} }`).join(', ');
  const source = backends.length === 0 ? '' : `  static: { endpoints: [${endpoints}] }\n`;
  return `kind: Service
metadata: { name: ${HOST} }
spec:
  ports: [{ name: app, port: 80, protocol: ${protocol === 'h1' ? 'HTTP1' : 'GRPC'}, tls: ${tls} }]
${source}`;
}

/** `caller` null: anyone, also without a certificate. */
function authorization(caller: string | null): string {
  const from = caller === null ? '' : `, from: [{ serviceAccount: ${caller} }]`;
  return `kind: Authorization
metadata: { name: ${HOST}-callers }
spec:
  targetRefs: [{ name: ${HOST} }]
  action: ALLOW
  rules: [{ name: bench${from} }]
`;
}
