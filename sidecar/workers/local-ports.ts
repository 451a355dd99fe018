// The local ports that policies ask for: opened when the config that names them is in force, closed when it no longer does.
// One that is not to be had costs that port alone: the Service can still be called by its host.

import type { ListenerConfig } from '../base/messages.ts';
import { whyTaken } from './ports.ts';

/** `spec.localPort` of a Service. */
export interface PolicyPort {
  /** `namespace/name`. */
  readonly service: string;
  readonly port: number;
}

/** What the ports need of the rest of main. */
export interface LocalPortsOwner {
  readonly host: string;
  readonly reusePort: boolean;
  /** Ports that the options hold already. */
  readonly held: ReadonlySet<number>;
  /** Tells every worker which local ports to serve beside those of the options. */
  listen(listeners: readonly ListenerConfig[]): void;
  info(sentence: string): void;
  warn(sentence: string): void;
}

export class LocalPorts {
  readonly #owner: LocalPortsOwner;
  #open: readonly ListenerConfig[] = [];
  /** Told once, until it changes. */
  #complaints = new Set<string>();
  #last: Promise<void> = Promise.resolve();

  constructor(owner: LocalPortsOwner) {
    this.#owner = owner;
  }

  /** Takes what the config in force asks for; one change after the other. */
  update(wanted: readonly PolicyPort[]): Promise<void> {
    this.#last = this.#last.then(() => this.#take(wanted));
    return this.#last;
  }

  async #take(wanted: readonly PolicyPort[]): Promise<void> {
    const { host, reusePort, held, listen, info, warn } = this.#owner;
    const open: ListenerConfig[] = [];
    const complaints = new Set<string>();
    for (const { service, port } of wanted) {
      const known = this.#open.find((one) => one.port === port && one.service === service);
      // A port that changes hands is this sidecar's own, and free once its workers let go of it.
      const own = known !== undefined || this.#open.some((one) => one.port === port);
      const why = held.has(port) ? 'is in use by this sidecar itself' : own ? null : await whyTaken(host, port);
      if (why === null) open.push(known ?? { kind: 'local', host, port, service, servicePort: 0, reusePort });
      else complaints.add(complaint(service, host, port, why));
    }
    for (const sentence of complaints) if (!this.#complaints.has(sentence)) warn(sentence);
    this.#complaints = complaints;
    const changed = open.length !== this.#open.length || open.some((one) => !this.#open.includes(one));
    if (!changed) return;
    for (const one of open) {
      if (!this.#open.includes(one)) info(`${one.service} is at ${host}:${one.port}, as its localPort says`);
    }
    this.#open = open;
    listen(open);
  }
}

function complaint(service: string, host: string, port: number, why: string): string {
  return (
    `Service ${service} asks for local port ${port}, which is not to be had: ${host}:${port} ${why}; ` +
    'choose another spec.localPort, open one by --local, or call the Service by its host'
  );
}
