// The control plane's metrics, for Prometheus. Labels are resource types and closed sets, never what a peer sent.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** Seconds from a push to its ACK: a worker on the same machine, to the 30 s after which a stream is closed. */
const ACK_SECONDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** What is read only when somebody asks. */
export interface MetricSources {
  sidecars(): number;
  registrations(): number;
  policyProblems(): number;
  revocations(): number;
  revision(): number;
}

/** All families, in a registry of their own. */
export type Metrics = ReturnType<typeof createMetrics>;

/** Registers every family. */
export function createMetrics(sources: MetricSources) {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  gauge('weft_sidecars_connected', 'Sidecars with an open discovery stream', sources.sidecars);
  gauge('weft_registrations', 'Workloads registered, those in their grace time included', sources.registrations);
  gauge('weft_revocations', 'Certificates and service accounts that are revoked now', sources.revocations);
  gauge('weft_policy_problems', 'Mistakes in the policy files now', sources.policyProblems);
  gauge('weft_policy_revision', 'Changes of the policies since the start', sources.revision);
  const byType = { labelNames: ['type'] as const, registers };
  return {
    registry,
    pushes: new Counter({ name: 'weft_discovery_pushes_total', help: 'Responses sent to sidecars', ...byType }),
    pushedBytes: new Counter({
      name: 'weft_discovery_pushed_bytes_total',
      help: 'Bytes of resources sent to sidecars',
      ...byType,
    }),
    rejects: new Counter({
      name: 'weft_discovery_rejects_total',
      help: 'Responses of which a sidecar refused a part',
      ...byType,
    }),
    ackSeconds: new Histogram({
      name: 'weft_discovery_ack_seconds',
      help: 'From a push to its ACK: in force in every worker of the sidecar',
      buckets: ACK_SECONDS,
      ...byType,
    }),
    signed: new Counter({
      name: 'weft_certificates_signed_total',
      help: 'Certificates signed, by what proved the workload',
      labelNames: ['credential'] as const,
      registers,
    }),
    signRefused: new Counter({
      name: 'weft_certificates_refused_total',
      help: 'Signing requests refused, by gRPC status',
      labelNames: ['code'] as const,
      registers,
    }),
    registered: new Counter({
      name: 'weft_registration_changes_total',
      help: 'Registrations taken, refused, and withdrawn after a drain or a vanished stream',
      labelNames: ['outcome'] as const,
      registers,
    }),
  };
}

/** `Service` of `type.googleapis.com/weft.mesh.v1.Service`; other types share one label, since peers choose them. */
export function typeLabel(typeUrl: string): string {
  const prefix = 'type.googleapis.com/weft.mesh.v1.';
  return typeUrl.startsWith(prefix) ? typeUrl.slice(prefix.length) : 'other';
}
