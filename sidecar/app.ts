// Every part of the sidecar's main thread, built once and in order: addresses, identity, config, workers, the control
// plane's link. What it holds is enough to start a worker anew at any time.

import { join } from 'node:path';
import { EXIT } from '../proto/kit/exit.ts';
import { removeReadyFile, writeReadyFile } from '../proto/kit/ready-file.ts';
import { parseSpiffeId } from '../proto/kit/spiffe.ts';
import { allPorts, apps, listeners, namedServices } from './addresses.ts';
import { expose, exposeOwn, processMetrics } from './admin/exposition.ts';
import { Readiness } from './admin/readiness.ts';
import { serveAdmin, serveMetrics, serveReadiness } from './admin/servers.ts';
import { certificateView, ownMetrics, revocationsView, type Seen, statsView } from './admin/views.ts';
import { counterColumn, createCounterMemory } from './base/counters.ts';
import { overloadLimits } from './base/memory-limit.ts';
import { readOtelEnvironment } from './base/otel-environment.ts';
import { SeriesTable } from './base/series.ts';
import { SeriesKeeper } from './base/series-families.ts';
import { StartError } from './base/start-error.ts';
import { releaseYoungGeneration } from './base/young-generation.ts';
import { ConfigInForce } from './config/in-force.ts';
import { unknownServices } from './config/named-services.ts';
import { loadSnapshot } from './config/start-snapshot.ts';
import { localPorts, ResourceStore, servicePorts } from './config/store.ts';
import { readPorts, writePorts } from './config/workload.ts';
import { ExpiryWatch, expired, remedy } from './identity/expiry.ts';
import { watchIdentityFiles } from './identity/files.ts';
import { obtainIdentity, prepareStateDir } from './identity/obtain.ts';
import { type HeldIdentity, writeStoredIdentity } from './identity/stored.ts';
import { joinMesh } from './join.ts';
import type { SidecarOptions } from './options.ts';
import { createAccessLog, createLog, type Logger } from './telemetry/log.ts';
import { TelemetrySink } from './telemetry/sink.ts';
import { LocalPorts } from './workers/local-ports.ts';
import { WorkerPool } from './workers/pool.ts';
import { checkSocketPath, holdPorts } from './workers/ports.ts';

/**
 * Numbers in a column of the counter memory: what all label sets of all families together may use before a series is
 * counted as `overflow`. 512 KiB a worker, of which the system gives only the pages that are used.
 */
const COUNTER_SLOTS = 65_536;

const MIB = 1024 * 1024;

/** Without identity and snapshot there is no other. */
const DEFAULT_TRUST_DOMAIN = 'mesh.local';
const DEFAULT_NAMESPACE = 'default';

const NO_IDENTITY =
  'there is no identity: calls to Services with TLS MUTUAL, the default, fail, and nobody can call the applications here; give --identity-key, --identity-cert and --trust-bundle, or a --state-dir that has joined';

/** Idle series are looked for this often; they are idle after ten minutes. */
const SWEEP_EVERY_MS = 60_000;

/** A sidecar that runs. */
export interface Sidecar {
  /** Lets work in flight end, says so to the control plane, and closes everything. */
  drain(): Promise<void>;
}

/**
 * Starts; resolves once workers listen, with config or while it still waits for it (readiness and the ready file tell).
 * @param worker the data path's entry. `stop`: a signal came while it starts. `onFatal`: it cannot go on.
 * @throws StartError with the exit code.
 */
export async function startSidecar(
  options: SidecarOptions,
  worker: URL,
  stop: AbortSignal,
  onFatal: (error: unknown) => void,
): Promise<Sidecar> {
  const log = createLog(options.logLevel);
  const fail = (what: string) => (error: Error) => log.error({ error: error.message }, what);
  await prepareStateDir(options.stateDir);
  const seen: Seen = {
    startedMs: Date.now(),
    workerDeaths: 0,
    contained: 0,
    link: null,
    linkError: '',
    registration: null,
    identity: null,
    renewalFailures: 0,
  };

  // Addresses: all of them are ours before anything else is done.
  for (const { name, path } of options.local) if (path !== '') await checkSocketPath(name, path);
  const lastPorts = readPorts(options.stateDir);
  const held = await holdPorts(allPorts(options, lastPorts));
  const readiness = new Readiness();
  const memory = createCounterMemory(options.workers + 1, COUNTER_SLOTS);
  const table = new SeriesTable(memory);
  const series = new SeriesKeeper(table, counterColumn(memory, 0));
  const readinessServer = await serveReadiness(options, lastPorts['readiness'] ?? 0, readiness, fail('readiness'));

  // Identity and config: from disk where they are good, which needs nobody.
  const identity = await obtainIdentity(options, log, stop);
  seen.identity = identity;
  const snapshot = loadSnapshot(options, log);
  if (identity === null) log.warn(NO_IDENTITY);
  const names = parseSpiffeId(identity?.spiffeId ?? snapshot?.spiffeId ?? '');
  const trustDomain = names.ok ? names.identity.trustDomain : DEFAULT_TRUST_DOMAIN;
  const namespace = names.ok ? names.identity.namespace : DEFAULT_NAMESPACE;
  if (identity !== null && snapshot !== null && snapshot.spiffeId !== identity.spiffeId) {
    log.warn(`the snapshot is for ${snapshot.spiffeId}, this sidecar is ${identity.spiffeId}`);
  }
  const storePath = options.stateDir === '' ? '' : join(options.stateDir, 'snapshot.json');
  const store = new ResourceStore(storePath, fail('the last good config could not be written'));
  store.spiffeId = identity?.spiffeId ?? snapshot?.spiffeId ?? '';
  if (snapshot !== null) store.take(snapshot.resources, []);

  // The data path: threads that can be started again from what is held here.
  const otel = readOtelEnvironment(process.env);
  for (const mistake of otel.mistakes) log.warn(mistake);
  const telemetry = new TelemetrySink(
    createAccessLog(),
    names.ok ? names.identity.serviceAccount : 'weft',
    otel.exportsSpans,
    fail('spans were not exported'),
  );
  const pool = new WorkerPool({
    start: {
      trustDomain,
      namespace,
      apps: apps(options.app, namespace),
      listeners: listeners(options, held.ports, namespace),
      counters: memory,
      overload: overloadLimits(options.memoryLimit * MIB, options.workers),
      spans: telemetry.exportsSpans,
    },
    workers: options.workers,
    entry: worker,
    resources: () => store.all(),
    identity: () => (seen.identity === null ? null : forWorkers(seen.identity)),
    onSeries: (family, labels) => series.slot(family, labels),
    onTelemetry: (records, dropped) => {
      telemetry.take(records);
      if (dropped > 0) series.add('telemetryDropped', dropped);
    },
    onPortLost: (port, reason) => log.warn(`local port ${port} could not be opened: ${reason}`),
    onRefused: ({ reason, count, peer, why }) => {
      const where = peer === '' ? {} : { peer };
      log.warn({ reason, count, ...where }, `handshakes refused on the inbound port: ${why}`);
    },
    onRevoked: ({ side, serial, spiffeId, count }) =>
      log.warn({ side, serial, spiffeId, count }, 'connections ended: their peer is revoked (weft get revocations)'),
    onContained: (stack) => {
      seen.contained++;
      log.error({ stack }, 'a throw ended one connection; this is a bug');
    },
    onRejected: (errors) => {
      config.note(errors);
      for (const { typeUrl, name, error } of errors) log.warn({ typeUrl, name }, `not in force: ${error}`);
    },
    onDeath: (index, reason) => {
      seen.workerDeaths++;
      table.retire(index + 1);
      log.error({ worker: index, reason }, 'a data-path worker died and is started again');
    },
    onFatal,
  });
  const config = new ConfigInForce(
    store,
    async (upserts, removed) => pool.apply(upserts, removed),
    (domain, rootsPem) => {
      if (seen.identity !== null && domain === trustDomain) takeIdentity({ ...seen.identity, rootsPem });
    },
  );
  const expiry = new ExpiryWatch((sentence) => {
    log.error(
      `${sentence}: other sidecars refuse this one from now on, and calls over mutual TLS fail; ${remedy(options)}`,
    );
  }, Date.now);
  if (identity !== null) expiry.watch(identity);
  readiness.expired = () => expired(seen.identity, Date.now());
  const takeIdentity = (next: HeldIdentity): void => {
    seen.identity = next;
    expiry.watch(next);
    pool.setIdentity(forWorkers(next));
    if (options.stateDir === '' || options.identityKey !== '') return;
    try {
      writeStoredIdentity(options.stateDir, next);
    } catch (error) {
      fail('the identity could not be stored')(error as Error);
    }
  };
  const endWatch =
    options.identityKey === ''
      ? null
      : watchIdentityFiles({
          options,
          current: () => seen.identity as HeldIdentity,
          onReplaced: (next) => {
            takeIdentity(next);
            log.info(`the identity files were replaced, valid until ${new Date(next.notAfterMs).toISOString()}`);
          },
          onUnusable: (reason) =>
            log.warn(`the identity files were replaced, and are not usable, so the last ones stay: ${reason}`),
        });
  await held.release();
  await pool.start();
  readiness.workers = () => pool.serving;
  readiness.identity = identity !== null || options.controlPlane === null;
  const ports: Record<string, number> = { ...held.ports, readiness: readinessServer.port };
  try {
    writePorts(options.stateDir, ports);
  } catch (error) {
    fail('the ports could not be stored; the next run may get others')(error as Error);
  }

  // What operators and scrapers see.
  const own = [...processMetrics(), ...ownMetrics(seen, config)];
  const metricsServer = await serveMetrics(
    options,
    held.ports.metrics as number,
    () => expose(table, series.families()) + exposeOwn(own),
    fail('metrics'),
  );
  const adminServer = await serveAdmin(
    options,
    held.ports.admin as number,
    {
      config: () => store.toJson(),
      dump: () => pool.dump(),
      certificate: () => certificateView(seen.identity),
      revocations: () => revocationsView(store),
      stats: () => statsView(seen, config, options),
      explain: (query) => pool.explain(query),
      logLevel: () => log.level,
      setLogLevel: options.adminLogLevel ? (level) => setLevel(log, level) : null,
    },
    fail('admin'),
  );
  const sweep = setInterval(() => void series.sweep((idle) => pool.forget(idle)), SWEEP_EVERY_MS);
  sweep.unref();

  const policyPorts = new LocalPorts({
    host: options.host,
    reusePort: options.workers > 1,
    held: new Set(Object.values(ports)),
    listen: (wanted) => pool.setLocalPorts(wanted),
    info: (sentence) => log.info(sentence),
    warn: (sentence) => log.warn(sentence),
  });

  let serving = false;
  const configured = (): void => {
    readiness.config = true;
    void policyPorts.update(localPorts(store));
    if (serving) return;
    serving = true;
    for (const sentence of unknownServices(namedServices(options, namespace), servicePorts(store))) log.warn(sentence);
    log.info({ ports, identity: seen.identity?.spiffeId }, 'serving');
    try {
      if (options.readyFile !== '') writeReadyFile(options.readyFile, ports);
    } catch (error) {
      onFatal(new StartError(EXIT.unavailable, (error as Error).message));
    }
  };
  if (snapshot !== null) configured();

  // The control plane: policies, endpoints, registration, renewal.
  const membership =
    options.controlPlane === null || identity === null
      ? null
      : await joinMesh({
          options,
          where: options.controlPlane,
          identity: () => seen.identity as HeldIdentity,
          takeIdentity,
          inboundPort: held.ports.inbound as number,
          config,
          seen,
          readiness,
          log,
          onSynced: configured,
          onSettled: releaseYoungGeneration,
        });
  if (membership === null) releaseYoungGeneration();

  return {
    async drain() {
      readiness.draining = true;
      log.info(`draining for at most ${options.drainTime} ms`);
      clearInterval(sweep);
      expiry.close();
      endWatch?.();
      // First the mesh sends elsewhere, then the listeners close.
      await membership?.leave();
      const stuck = await pool.drain(options.drainTime);
      if (stuck > 0) log.error(`${stuck} data-path workers did not end within the drain time; this is a bug`);
      membership?.close();
      store.flush();
      await telemetry.close();
      await pool.close();
      await Promise.all([adminServer.close(), metricsServer.close(), readinessServer.close()]);
      if (options.readyFile !== '') removeReadyFile(options.readyFile);
      log.info('drained');
    },
  };
}

/** What a worker is told: no more than it needs. */
function forWorkers({ spiffeId, privateKeyPem, chainPem, rootsPem }: HeldIdentity) {
  return { spiffeId, privateKeyPem, chainPem, rootsPem };
}

function setLevel(log: Logger, level: string): boolean {
  if (!['trace', 'debug', 'info', 'warn', 'error', 'silent'].includes(level)) return false;
  log.level = level;
  return true;
}
