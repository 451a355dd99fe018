// The control plane: every part built once, in order, and everything listening before the ready file says so.

import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { logVerbosity, Server, ServerCredentials, setLogVerbosity } from '@grpc/grpc-js';
import { pino } from 'pino';
import { authority as authorityText } from '../proto/kit/bind-error.ts';
import { EXIT } from '../proto/kit/exit.ts';
import { writePrivateFile } from '../proto/kit/private-file.ts';
import { removeReadyFile, writeReadyFile } from '../proto/kit/ready-file.ts';
import { apiServer } from './api/server.ts';
import { bindError, listen } from './base/listen.ts';
import { lockDataDir } from './base/lock.ts';
import { StartError } from './base/start-error.ts';
import { type Attest, DISCOVERY_DEFINITION, discoveryService } from './discovery/server.ts';
import { Sessions } from './discovery/sessions.ts';
import { attestPeer, attestTool } from './identity/attest.ts';
import { openAuthority } from './identity/authority.ts';
import { RevocationStore } from './identity/revocations.ts';
import { serverCredentials } from './identity/server-credentials.ts';
import { IDENTITY_DEFINITION, identityService } from './identity/service.ts';
import { SignLimit } from './identity/sign-limit.ts';
import { TokenStore } from './identity/tokens.ts';
import { Index } from './index/index.ts';
import { PolicyNeeds } from './index/policy-needs.ts';
import { servedNames } from './model/served-names.ts';
import { type ControlPlaneOptions, NO_PORT } from './options.ts';
import { fateOf, openPolicies } from './source/start.ts';
import { PolicyStore } from './source/store.ts';
import type { Remembered } from './source/stored.ts';
import type { PolicyState } from './source/watch.ts';
import { metricsServer } from './telemetry/http.ts';
import { createMetrics, typeLabel } from './telemetry/metrics.ts';
import { Registry } from './workloads/registry.ts';
import { WORKLOAD_DEFINITION, workloadService } from './workloads/service.ts';

/** A running control plane. */
export interface ControlPlane {
  /** Ports by the names of the ready file. */
  readonly ports: Readonly<Record<string, number>>;
  /** Ends streams with UNAVAILABLE, closes every listener, leaves registrations as they are. */
  close(): Promise<void>;
}

/** gRPC calls that do not end by themselves are cut after this. */
const SHUTDOWN_MS = 2_000;

/** A sidecar that lost its power is noticed within 15 s; its grace time begins then. */
const GRPC_OPTIONS = { 'grpc.keepalive_time_ms': 10_000, 'grpc.keepalive_timeout_ms': 5_000 };

/** Builds and starts everything. Throws StartError with what an operator can do. */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const base = { program: 'control-plane' };
  const log = pino({ level: options.logLevel, base, timestamp: pino.stdTimeFunctions.isoTime });
  setLogVerbosity(logVerbosity.NONE); // Its errors reach us as values; it would print them a second time.
  const now = () => Date.now();
  const undo: (() => unknown)[] = [];
  try {
    const lock = await lockDataDir(options.dataDir);
    undo.push(() => lock.release());

    // Identity: the root, the tokens that prove a workload, and our own certificate.
    const authority = await open(() =>
      openAuthority({
        dataDir: options.dataDir,
        trustDomain: options.trustDomain,
        now,
        certificateTtlMs: options.certificateTtl,
      }),
    );
    const { trustDomain } = authority;
    const { rootKeyHash } = authority;
    const tokens = await open(() => new TokenStore({ dataDir: options.dataDir, trustDomain, rootKeyHash, now }));
    const revocations = await open(
      () =>
        new RevocationStore({ dataDir: options.dataDir, trustDomain, now, certificateTtlMs: options.certificateTtl }),
    );
    const adminToken = randomBytes(32).toString('base64url');
    await open(() => writePrivateFile(join(options.dataDir, 'admin.token'), `${adminToken}\n`));
    const tls = await serverCredentials(authority, serverNames(options.host), now, (renewed) => {
      if (renewed instanceof Error) log.error({ error: renewed.message }, 'the own certificate could not be renewed');
      else {
        api.renew(renewed);
        log.info({ expiresAt: new Date(renewed.expiresAtMs).toISOString() }, 'own certificate renewed');
      }
    });
    undo.push(() => tls.close());

    // Policies: read once before anything serves, beside what was in force before the start, then watched.
    const store = new PolicyStore({
      dataDir: options.dataDir,
      directory: options.policies,
      onError: (error) => log.error({ error: error.message }, 'the policies in force could not be stored'),
    });
    undo.push(() => store.close());
    const remembered = readStored(store, (warning) => log.warn(warning));
    const source = await openPolicies(options.policies, remembered, {
      onChange(state) {
        log.info({ revision: state.revision, problems: state.problems.length }, 'policies changed');
        take(state);
        renewNeeds(state);
        registry.setPolicies(state.resources);
      },
      onTrouble: (error) => log.warn({ error: error.message }, 'watching policies failed; comparing at intervals'),
    });
    undo.push(() => source.close());
    const take = (state: PolicyState): void => {
      for (const problem of state.problems) log.warn({ ...problem }, fateOf(problem));
      store.save(state);
    };
    take(source.state);

    // The index and those who write to it: policies and registered workloads.
    const trust = () => ({ trustDomain, roots: authority.trustBundle, revocations: revocations.list() });
    let policies = new PolicyNeeds(source.state.resources, trust(), null);
    const renewNeeds = (state: PolicyState): void => {
      policies = new PolicyNeeds(state.resources, trust(), policies);
      index.setPolicies((id) => policies.of(id));
    };
    const index = new Index((id) => policies.of(id));
    const registry = await open(
      () =>
        new Registry(
          {
            dataDir: options.dataDir,
            graceMs: options.registrationGrace,
            index,
            onWithdraw({ spiffeId, workloadId }, reason) {
              metrics.registered.inc({ outcome: reason });
              log.info({ spiffeId, workloadId, reason }, 'workload withdrawn');
            },
            onError: (error) => log.error({ error: error.message }, 'registrations could not be stored'),
          },
          source.state.resources,
        ),
    );
    undo.push(() => registry.close());

    // Who is connected, and what is counted.
    const sessions = new Sessions(
      {
        onOpen: ({ stream, peer }) => log.info({ spiffeId: stream.spiffeId, peer }, 'sidecar connected'),
        onSend(typeUrl, bytes) {
          metrics.pushes.inc({ type: typeLabel(typeUrl) });
          metrics.pushedBytes.inc({ type: typeLabel(typeUrl) }, bytes);
        },
        onAck: (typeUrl, waitMs) => metrics.ackSeconds.observe({ type: typeLabel(typeUrl) }, waitMs / 1000),
        onReject({ stream }, typeUrl, reasons) {
          metrics.rejects.inc({ type: typeLabel(typeUrl) });
          log.warn({ spiffeId: stream.spiffeId, typeUrl, reasons }, 'a sidecar refused resources');
        },
        onClose: ({ stream, peer }) => log.info({ spiffeId: stream.spiffeId, peer }, 'sidecar gone'),
      },
      now,
    );
    undo.push(() => sessions.endAll('the control plane ends; connect again'));
    const metrics = createMetrics({
      sidecars: () => sessions.list().length,
      registrations: () => registry.size,
      revocations: () => revocations.list().length,
      policyProblems: () => source.state.problems.length,
      revision: () => source.state.revision,
    });

    // gRPC for machines.
    const attest = (call: Parameters<typeof attestPeer>[0]) => attestPeer(call, trustDomain, now(), revocations);
    const signing = identityService(
      {
        authority,
        tokens,
        revocations,
        limit: new SignLimit(() => performance.now()),
        dnsNames: (namespace, serviceAccount) => servedNames(source.state.resources, namespace, serviceAccount),
      },
      now,
      {
        onSigned(spiffeId, credential, expiresAtMs) {
          metrics.signed.inc({ credential });
          log.info({ spiffeId, credential, expiresAt: new Date(expiresAtMs).toISOString() }, 'certificate signed');
        },
        onRefused(code, error) {
          metrics.signRefused.inc({ code });
          log.warn({ code, error }, 'certificate refused');
        },
        onFailure: (error) => log.error({ error: error.stack }, 'signing failed'),
      },
    );
    const workloads = workloadService(registry, attest, {
      onRegister({ spiffeId, workloadId }, peer, endpoints) {
        metrics.registered.inc({ outcome: 'taken' });
        workloadIds.set(peer, workloadId);
        log.info({ spiffeId, workloadId, endpoints }, 'workload registered');
      },
      onRefuse(spiffeId, error) {
        metrics.registered.inc({ outcome: 'refused' });
        log.warn({ spiffeId, error }, 'registration refused');
      },
      onClose: (peer) => workloadIds.delete(peer),
      onFailure: (error) => log.error({ error: error.stack }, 'a registration could not be stored'),
    });
    /** By the address of the connection, which a sidecar's streams share. */
    const workloadIds = new Map<string, string>();
    undo.push(() => workloads.endAll('the control plane ends; connect again'));
    const grpc = new Server(GRPC_OPTIONS);
    grpc.addService(IDENTITY_DEFINITION, signing);
    grpc.addService(
      DISCOVERY_DEFINITION,
      discoveryService(
        index,
        (call) => {
          const peer = attest(call);
          return peer.ok ? { spiffeId: peer.spiffeId, serial: peer.serial } : { error: peer.error };
        },
        sessions,
      ),
    );
    grpc.addService(WORKLOAD_DEFINITION, workloads.implementation);
    const grpcPort = await bindGrpc(grpc, options.host, options.grpcPort, tls.credentials, '--grpc-port');
    const shutdowns = [grpc];
    const ports: Record<string, number> = { grpc: grpcPort };
    if (options.plaintextPort !== NO_PORT) {
      // Without TLS no workload is attested, so none can register or renew here: Sign takes a join token, and discovery
      // tells tools that hold the admin token.
      const plaintext = new Server(GRPC_OPTIONS);
      plaintext.addService(IDENTITY_DEFINITION, signing);
      const asTool: Attest = (call) => {
        const tool = attestTool(call, adminToken, trustDomain);
        return tool.ok ? { spiffeId: tool.spiffeId, serial: '' } : { error: tool.error };
      };
      plaintext.addService(DISCOVERY_DEFINITION, discoveryService(index, asTool, sessions));
      const insecure = ServerCredentials.createInsecure();
      ports.plaintext = await bindGrpc(plaintext, '127.0.0.1', options.plaintextPort, insecure, '--plaintext-port');
      shutdowns.push(plaintext);
    }
    // Last but the lock, when all streams were told to end: `undo` runs backwards.
    undo.splice(1, 0, () => Promise.all(shutdowns.map(shutDown)));

    // HTTP for people and for Prometheus.
    let ready = true;
    undo.push(() => {
      ready = false;
    });
    const api = apiServer({
      adminToken,
      host: options.apiHost,
      identity: tls.current(),
      status: () => ({ policies: source.state, sessions: sessions.list(), workloadIds }),
      trustDomain,
      tokens,
      revocations,
      onRevocations() {
        log.warn({ revocations: revocations.list().length }, 'revocations changed');
        renewNeeds(source.state);
        sessions.endRefused((peer) => revocations.refusal(peer));
        workloads
          .endRefused((peer) => revocations.refusal(peer))
          .catch((error: Error) => log.error({ error: error.stack }, 'a withdrawal could not be stored'));
      },
      needsOf: (spiffeId) => index.snapshot(spiffeId),
      endpoints: () => registry.endpoints(),
      onFailure: (error) => log.error({ error: error.stack }, 'an API call failed'),
    });
    ports.api = await listen(api.server, options.apiHost, options.apiPort, '--api-port');
    undo.push(() => api.close());
    const http = metricsServer(metrics, () => ready);
    ports.metrics = await listen(http, options.host, options.metricsPort, '--metrics-port');
    undo.push(() => {
      http.close();
      http.closeAllConnections();
    });

    if (options.readyFile !== '') {
      await open(() => writeReadyFile(options.readyFile, ports));
      undo.push(() => removeReadyFile(options.readyFile));
    }
    log.info({ ports, trustDomain, dataDir: options.dataDir, policies: source.state.resources.length }, 'serving');
    return {
      ports,
      async close() {
        log.info('ending');
        await unwind(undo);
      },
    };
  } catch (error) {
    await unwind(undo);
    throw error;
  }
}

/** Backwards, each once. */
async function unwind(undo: (() => unknown)[]): Promise<void> {
  for (const step of undo.splice(0).reverse()) await step();
}

/** Names under which people and tools reach this host; sidecars verify the SPIFFE id instead. */
function serverNames(host: string): { dns: string[]; addresses: string[] } {
  const wildcard = host === '0.0.0.0' || host === '::';
  return { dns: ['localhost', hostname()], addresses: wildcard ? ['127.0.0.1', '::1'] : ['127.0.0.1', '::1', host] };
}

/** What is on the disk and not usable is for the operator to mend. */
async function open<T>(build: () => T | Promise<T>): Promise<T> {
  try {
    return await build();
  } catch (error) {
    throw error instanceof StartError ? error : new StartError(EXIT.unavailable, (error as Error).message);
  }
}

/** What is of no use is told of and replaced by the next write; until then the start is as strict as a first one. */
function readStored(store: PolicyStore, warn: (message: string) => void): Remembered | null {
  try {
    return store.read();
  } catch (error) {
    warn(`${store.path} is not used: ${(error as Error).message}; without it no last good state of a policy is known`);
    return null;
  }
}

function bindGrpc(
  server: Server,
  host: string,
  port: number,
  credentials: ServerCredentials,
  option: string,
): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(authorityText(host, port), credentials, (error, bound) => {
      if (error === null) resolve(bound);
      else reject(bindError(option, host, port, error));
    });
  });
}

/** Lets calls end, and cuts those that do not. */
function shutDown(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      server.forceShutdown();
      resolve();
    }, SHUTDOWN_MS);
    server.tryShutdown(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
