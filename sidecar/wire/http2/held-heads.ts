// Request heads that wait for the peer's settings: an extended CONNECT may not be sent before they have said that it is
// taken (RFC 8441 §3), and heads behind it wait, too, since a stream with a higher id would close its own (RFC 9113 §5.1.1).

import { ProxyError } from '../error.ts';
import type { Head } from '../stream.ts';
import type { Http2Session } from './session.ts';
import type { Http2Stream } from './stream.ts';

interface HeldHead {
  readonly stream: Http2Stream;
  readonly head: Head;
  readonly end: boolean;
}

const NO_EXTENDED_CONNECT = new ProxyError(
  'noUpgrade',
  'local',
  'the upstream speaks HTTP/2 without extended CONNECT (SETTINGS_ENABLE_CONNECT_PROTOCOL, RFC 8441); let it offer that, or declare the Service HTTP1',
);

/** Of one client connection. */
export class HeldHeads {
  private readonly session: Http2Session;
  /** Null: none waits. */
  private held: HeldHead[] | null = null;

  constructor(session: Http2Session) {
    this.session = session;
  }

  /** Whether the head has to wait, and now does. */
  takes(stream: Http2Stream, head: Head, end: boolean): boolean {
    const { session } = this;
    if (this.held === null && (head.protocol === '' || session.peerConnectProtocol)) return false;
    stream.headHeld = true;
    this.held ??= [];
    this.held.push({ stream, head, end });
    // No event comes inside of a call to the same stream.
    if (session.settled && this.held.length === 1) queueMicrotask(() => this.releaseContained());
    return true;
  }

  /** The peer's settings are known: what waited is sent, or fails. */
  release(): void {
    const { session, held } = this;
    if (held === null || session.closed) return;
    this.held = null;
    for (const { stream, head, end } of held) {
      stream.headHeld = false;
      if (stream.dead) continue;
      if (head.protocol !== '' && !session.peerConnectProtocol) {
        session.forget(stream);
        stream.fail(NO_EXTENDED_CONNECT);
        continue;
      }
      session.sender.sendHead(stream, head, end);
      session.sender.pump(stream);
      stream.drained();
    }
  }

  /** Outside the socket's callbacks nothing else would contain a throw to this connection. */
  private releaseContained(): void {
    try {
      this.release();
    } catch (error) {
      this.session.contain(error as Error);
    }
  }
}
