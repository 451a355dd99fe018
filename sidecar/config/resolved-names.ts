// The names that are asked for addresses, one question for each user of one. What was good last holds until the answer
// to a new question is there.

import { watchName } from '../upstream/dns.ts';
import type { StateContext } from './state.ts';

interface Watched {
  readonly question: string;
  addresses: readonly string[];
  stop: () => void;
}

export class ResolvedNames {
  private readonly context: StateContext;
  private readonly watched = new Map<string, Watched>();

  constructor(context: StateContext) {
    this.context = context;
  }

  /**
   * Asks for `host` every `refreshMs`; the same question as before goes on.
   * @param slot who wants to know.
   * @param more what else makes another question of it.
   * @param onAddresses called with each new set, at once for an address.
   */
  watch(
    slot: string,
    host: string,
    refreshMs: number,
    more: string,
    onAddresses: (addresses: readonly string[]) => void,
  ): void {
    const question = `${host} ${refreshMs} ${more}`;
    const known = this.watched.get(slot);
    if (known?.question === question) return;
    known?.stop();
    const watched: Watched = { question, addresses: known?.addresses ?? [], stop: () => {} };
    this.watched.set(slot, watched);
    watched.stop = watchName(host, refreshMs, this.context, (found) => {
      watched.addresses = found;
      onAddresses(found);
    });
  }

  addresses(slot: string): readonly string[] {
    return this.watched.get(slot)?.addresses ?? [];
  }

  forget(slot: string): void {
    this.watched.get(slot)?.stop();
    this.watched.delete(slot);
  }

  retain(isUsed: (slot: string) => boolean): void {
    for (const slot of [...this.watched.keys()]) if (!isUsed(slot)) this.forget(slot);
  }

  close(): void {
    this.retain(() => false);
  }
}
