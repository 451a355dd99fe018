// What the suites ask of every proxy: to stand up one scenario with comparable features, and to say how.

import type { Identities } from '../certificates.ts';
import { PROXY_CORE, type Started, start } from '../processes.ts';

/** What is measured. The application's protocol is that of the caller. */
export interface Scenario {
  readonly name: string;
  /** For people, in the report. */
  readonly title: string;
  /** `h2` is gRPC-shaped: POST, and `grpc-status` in trailers. */
  readonly protocol: 'h1' | 'h2';
  /** How the load reaches the first proxy: in the clear, over TLS 1.3, or with a client certificate (one hop only). */
  readonly front: 'clear' | 'tls' | 'mutual';
  /** 2: a caller's proxy and a receiver's, with mutual TLS between them. */
  readonly hops: 1 | 2;
}

/** One scenario, ready for a peer. */
export interface Site {
  readonly scenario: Scenario;
  /** An empty folder for the peer's files. */
  readonly folder: string;
  /** Loopback ports of the application's instances: two for one hop in the clear, else one. */
  readonly backends: readonly number[];
  readonly identities: Identities;
}

/** A peer that serves. */
export interface Launched {
  /** Where the load connects. */
  readonly port: number;
  readonly programs: readonly Started[];
  /** What it was told, for the report. */
  readonly config: string;
  /** Port of Weft's admin, of the first program. */
  readonly admin?: number;
}

export interface Peer {
  readonly name: string;
  /** Name and version; null: not installed. */
  version(): string | null;
  /** Stands the scenario up; null: this peer cannot do it. */
  launch(site: Site): Promise<Launched | null>;
}

/** The host by which every scenario's Service is called. */
export const HOST = 'echo';
/** SNI between sidecars: port, service, namespace. */
export const SNI = '80.echo.default';

/** Starts a proxy alone on its core, or on the `cores` of a scenario that needs more. */
export function startProxy(name: string, command: readonly string[], cwd?: string, cores = PROXY_CORE): Started {
  return start(name, cores, command, cwd);
}
