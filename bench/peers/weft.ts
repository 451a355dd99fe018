// Weft in each scenario: in the clear the caller's sidecar, behind TLS the receiver's, which authorizes, and both of
// them for two hops. One worker, unless a scenario is about several.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Launched, Peer, Site } from './peer.ts';
import { authorization, DEMO_POLICIES, service } from './weft-policies.ts';
import { type Sidecar, type SidecarSetup, startSidecar } from './weft-sidecar.ts';

const DIST = fileURLToPath(new URL('../../dist', import.meta.url));
/** Another build to compare with in the same run, as `weft-before`: `WEFT_BENCH_BEFORE=FOLDER npm run bench -- wire`. */
const BEFORE = process.env['WEFT_BENCH_BEFORE'] ?? '';
/** The build under test: default that of this tree. */
const UNDER_TEST = process.env['WEFT_BENCH_DIST'] ?? DIST;
/** The sidecar's entry in the build under test. */
export const BUNDLE = join(UNDER_TEST, 'sidecar/main.js');

/** What a scenario of Weft alone changes. */
export interface WeftSetup {
  /** As `npm start` has them, on the receiving side in the clear, instead of none on the calling side. Default false. */
  readonly policies?: boolean;
  /** Default 1. */
  readonly workers?: number;
  /** Default the proxy's core. */
  readonly cores?: string;
}

/** The build of this tree, and the one to compare with when there is one. */
export function weftPeers(setup: WeftSetup = {}): Peer[] {
  const before = BEFORE === '' ? [] : [weftPeer('weft-before', setup, BEFORE)];
  return [...before, weftPeer('weft', setup)];
}

export function weftPeer(name: string, setup: WeftSetup, dist = UNDER_TEST): Peer {
  const bundle = join(dist, 'sidecar/main.js');
  const workers = setup.workers ?? 1;
  return {
    name,
    version() {
      const built = existsSync(bundle) && existsSync(join(dist, 'sidecar/worker.js'));
      return built ? `Weft, the bundle on Node ${process.version}, ${workers} worker${workers > 1 ? 's' : ''}` : null;
    },
    launch: (site) => launch(site, bundle, setup),
  };
}

async function launch(site: Site, bundle: string, setup: WeftSetup): Promise<Launched> {
  const { protocol, front, hops } = site.scenario;
  const { client, server, roots } = site.identities;
  const common = { folder: site.folder, bundle, roots, ...(setup.cores === undefined ? {} : { cores: setup.cores }) };
  const workers = [`--workers=${setup.workers ?? 1}`];
  const caller: Omit<SidecarSetup, 'policies' | 'endpoint'> = {
    ...common,
    name: 'outbound',
    identity: client,
    account: 'client',
    options: workers,
  };
  const receiver: Omit<SidecarSetup, 'policies'> = {
    ...common,
    name: 'inbound',
    identity: server,
    account: 'echo',
    endpoint: null,
    options: [`--app=echo:80=${site.backends[0]}`, ...workers],
  };
  if (setup.policies === true) {
    const policies = [service(protocol, 'OFF', [], true), ...DEMO_POLICIES];
    return launched([await startSidecar({ ...receiver, policies })], 'inbound', policies);
  }
  if (hops === 1 && front === 'clear') {
    const policies = [service(protocol, 'OFF', site.backends)];
    return launched([await startSidecar({ ...caller, policies, endpoint: null })], 'outbound', policies);
  }
  if (hops === 1) {
    const mutual = front === 'mutual';
    const policies = [service(protocol, mutual ? 'MUTUAL' : 'SIMPLE', []), authorization(mutual ? 'client' : null)];
    return launched([await startSidecar({ ...receiver, policies })], 'inbound', policies);
  }
  const policies = [service(protocol, 'MUTUAL', []), authorization('client')];
  const inner = await startSidecar({ ...receiver, policies });
  const endpoint = { port: inner.ports['inbound'] ?? 0, spiffeId: server.spiffeId };
  const outer = await startSidecar({ ...caller, policies, endpoint });
  return launched([outer, inner], 'outbound', policies);
}

/** `port`: of the first sidecar, where the load connects. */
function launched(sidecars: readonly Sidecar[], port: string, policies: readonly string[]): Launched {
  const ports = sidecars[0]?.ports ?? {};
  return {
    port: ports[port] ?? 0,
    admin: ports['admin'] ?? 0,
    programs: sidecars.map(({ program }) => program),
    config: policies.join('---\n'),
  };
}
