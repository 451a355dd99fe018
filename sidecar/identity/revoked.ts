// Peers that are trusted no more, in one worker: none is let in, none is called, and the connections that are open with
// one end when its revocation comes. A certificate lives for a day and a mesh connection for as long, so a list that
// were looked at in handshakes only would come too late.

/** What is revoked, by what a certificate says. */
export interface Revoked {
  /** Hexadecimal, upper-case, as Node prints them. */
  readonly serials: ReadonlySet<string>;
  /** Every certificate of these. */
  readonly spiffeIds: ReadonlySet<string>;
}

/** The certificate of a peer: what revocations are held against. */
export interface PeerCertificate {
  readonly serial: string;
  readonly spiffeId: string;
}

/** A connection over mutual TLS that is open. */
export interface HeldPeer extends PeerCertificate {
  /** `inbound`: it calls; `outbound`: it is called. */
  readonly side: 'inbound' | 'outbound';
  end(error: Error): void;
}

/** So many connections with one peer were ended. */
export interface EndedPeer extends PeerCertificate {
  readonly side: HeldPeer['side'];
  readonly count: number;
}

/** The open connections of a worker with their peers, and who is revoked. */
export class LivePeers {
  private readonly onEnded: (ended: EndedPeer) => void;
  private readonly held = new Set<HeldPeer>();
  private revoked: Revoked = { serials: new Set(), spiffeIds: new Set() };

  /** @param onEnded hears of each peer whose connections were ended. */
  constructor(onEnded: (ended: EndedPeer) => void) {
    this.onEnded = onEnded;
  }

  /** What is revoked of this peer, as the end of a sentence; null: nothing. */
  refusal({ serial, spiffeId }: PeerCertificate): string | null {
    if (this.revoked.spiffeIds.has(spiffeId)) return `is ${spiffeId}, which is revoked`;
    if (this.revoked.serials.has(serial)) return `showed certificate ${serial} of ${spiffeId}, which is revoked`;
    return null;
  }

  /** Keeps a connection until the returned function is called (its close). */
  hold(peer: HeldPeer): () => void {
    this.held.add(peer);
    return () => void this.held.delete(peer);
  }

  /** Takes the whole list in place of the last one, and ends the connections of all that are on it. */
  take(revoked: Revoked): void {
    this.revoked = revoked;
    const ended = new Map<string, EndedPeer>();
    for (const peer of [...this.held]) {
      const why = this.refusal(peer);
      if (why === null) continue;
      this.held.delete(peer);
      const { side, serial, spiffeId } = peer;
      const key = `${side} ${serial} ${spiffeId}`;
      ended.set(key, { side, serial, spiffeId, count: (ended.get(key)?.count ?? 0) + 1 });
      peer.end(new Error(`the peer ${why}`));
    }
    for (const one of ended.values()) this.onEnded(one);
  }
}
