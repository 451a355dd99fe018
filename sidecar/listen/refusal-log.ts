// Handshakes that the inbound port refuses, as log lines: the first of each reason at once, and then one line a minute
// with their number, however many strangers knock. Reasons are a closed set and the peer is an address that the kernel
// wrote: nothing that a caller sent reaches the log.

import { type TimerWheel, WheelTimer } from '../base/timer-wheel.ts';
import type { HandshakeFailure } from '../wire/tls.ts';

/** One line a minute and reason: seen by whoever looks, and no flood for whoever stores. */
const REFUSAL_LOG_MS = 60_000;

/** What a reason means and what to do; null: a probe of a load balancer or a kubelet looks the same, so it is only counted. */
const REFUSED: Readonly<Record<HandshakeFailure, string | null>> = {
  timeout: 'the handshake was not complete in time; is the network slow, or the caller not a sidecar?',
  closed: null,
  protocol: 'no TLS 1.3; callers must be sidecars of this mesh',
  alpn: 'neither h2 nor http/1.1 was offered; callers must be sidecars of this mesh',
  noIdentity: 'this sidecar has no certificate yet; /ready says what is missing',
  serverName:
    'no server name, or none that an application here answers to; do --app and the Service agree on its ports?',
  noCertificate: 'the caller showed no certificate; callers must be sidecars of this mesh, or the port SIMPLE or OFF',
  untrusted: "the caller's certificate is not signed by a root of this mesh; does it belong to another control plane?",
  expired: "the caller's certificate has expired or is not valid yet; are the clocks right?",
  authority: "the caller's certificate may sign others; a workload's must be a leaf",
  spiffeId: "the caller's certificate holds not exactly one SPIFFE id",
  trustDomain: "the caller's certificate is of another trust domain",
  revoked: 'the caller is revoked; weft get revocations says why, and who is',
  proxyHeader:
    'it did not begin with the PROXY header that the port asks for (proxyProtocol.accept); does the balancer send one, and does anybody else reach the port? weft_proxy_headers_refused_total says what was wrong',
  plaintext: 'the caller spoke no TLS, and no port here is OFF; does it call past its own sidecar?',
};

/** So many handshakes were refused since the last word of this reason. */
export interface Refusals {
  readonly reason: HandshakeFailure;
  readonly count: number;
  /** Address of the last one; empty: not known. */
  readonly peer: string;
  /** What the reason means and what to do. */
  readonly why: string;
}

export type TellRefusals = (refusals: Refusals) => void;

export class RefusalLog {
  private readonly wheel: TimerWheel;
  private readonly tell: TellRefusals;
  private readonly waiting = new Map<HandshakeFailure, { count: number; peer: string }>();

  constructor(wheel: TimerWheel, tell: TellRefusals) {
    this.wheel = wheel;
    this.tell = tell;
  }

  note(reason: HandshakeFailure, peer: string): void {
    const why = REFUSED[reason];
    if (why === null) return;
    const since = this.waiting.get(reason);
    if (since !== undefined) {
      since.count++;
      since.peer = peer;
      return;
    }
    this.say({ reason, count: 1, peer, why });
  }

  /** A minute has passed: tells what came since, and listens on for another one if anything did. */
  private settle(reason: HandshakeFailure, why: string): void {
    const { count = 0, peer = '' } = this.waiting.get(reason) ?? {};
    this.waiting.delete(reason);
    if (count === 0) return;
    this.say({ reason, count, peer, why });
  }

  private say(refusals: Refusals): void {
    const { reason, why } = refusals;
    this.waiting.set(reason, { count: 0, peer: '' });
    this.tell(refusals);
    this.wheel.arm(new WheelTimer(() => this.settle(reason, why)), REFUSAL_LOG_MS);
  }
}
