// The local ports that policies ask for, as one worker serves them: they come and go with the config.

import type { ListenerConfig } from '../base/messages.ts';
import type { Listener, WorkerContext } from './context.ts';
import { openLocal } from './outbound.ts';

export class PolicyPorts {
  private readonly context: WorkerContext;
  private readonly onLost: (port: number, reason: string) => void;
  private readonly open = new Map<string, Listener>();
  private last: Promise<void> = Promise.resolve();

  constructor(context: WorkerContext, onLost: (port: number, reason: string) => void) {
    this.context = context;
    this.onLost = onLost;
  }

  /** Serves these and no others; connections of a port that goes live on. One change after the other. */
  take(listeners: readonly ListenerConfig[]): void {
    this.last = this.last.then(() => this.change(listeners));
  }

  private async change(listeners: readonly ListenerConfig[]): Promise<void> {
    const wanted = new Map(listeners.map((one) => [`${one.port} ${one.service}`, one]));
    for (const [key, listener] of this.open) {
      if (wanted.has(key)) continue;
      listener.stop();
      this.open.delete(key);
    }
    for (const [key, config] of wanted) {
      if (this.open.has(key)) continue;
      try {
        this.open.set(key, await openLocal(this.context, config));
      } catch (error) {
        this.onLost(config.port, (error as Error).message);
      }
    }
  }
}
