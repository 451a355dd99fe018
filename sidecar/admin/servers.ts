// The three small servers of a sidecar: readiness, metrics, admin.

import type { SidecarOptions } from '../options.ts';
import { type AdminParts, adminTable } from './admin.ts';
import { EXPOSITION_TYPE } from './exposition.ts';
import { type SmallServer, serveTable } from './http.ts';
import { type Readiness, readinessTable } from './readiness.ts';

type OnError = (error: Error) => void;

/** For kubelets and scripts, which ask under any name. */
export function serveReadiness(options: SidecarOptions, readiness: Readiness, onError: OnError): Promise<SmallServer> {
  return serveTable(
    {
      name: 'readiness',
      host: options.metricsHost,
      port: options.readinessPort,
      loopbackNamesOnly: false,
      onError,
    },
    readinessTable(readiness),
  );
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
