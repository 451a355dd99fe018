// The three small servers of a sidecar: readiness, metrics, admin.

import type { SidecarOptions } from '../options.ts';
import { type AdminParts, adminTable } from './admin.ts';
import { EXPOSITION_TYPE } from './exposition.ts';
import { type SmallServer, serveTable } from './http.ts';
import { type Readiness, readinessTable } from './readiness.ts';

type OnError = (error: Error) => void;

/** For kubelets and scripts, which ask under any name. @param lastPort of the last run, taken again where the option says 0; 0: none. */
export async function serveReadiness(
  options: SidecarOptions,
  lastPort: number,
  readiness: Readiness,
  onError: OnError,
): Promise<SmallServer> {
  const serve = (port: number): Promise<SmallServer> =>
    serveTable(
      { name: 'readiness', host: options.metricsHost, port, loopbackNamesOnly: false, onError },
      readinessTable(readiness),
    );
  if (options.readinessPort !== 0 || lastPort === 0) return serve(options.readinessPort);
  // Taken in the meantime: any other will do.
  return serve(lastPort).catch(() => serve(0));
}

/** @param expose everything that is counted, in the Prometheus format. */
export function serveMetrics(
  options: SidecarOptions,
  port: number,
  expose: () => string,
  onError: OnError,
): Promise<SmallServer> {
  return serveTable(
    { name: 'metrics', host: options.metricsHost, port, loopbackNamesOnly: false, onError },
    { 'GET /metrics': () => ({ status: 200, body: expose(), type: EXPOSITION_TYPE }) },
  );
}

/** Under loopback names only, whatever address it is bound to. */
export function serveAdmin(
  options: SidecarOptions,
  port: number,
  parts: AdminParts,
  onError: OnError,
): Promise<SmallServer> {
  return serveTable(
    { name: 'admin', host: options.adminHost, port, loopbackNamesOnly: true, onError },
    adminTable(parts),
  );
}
