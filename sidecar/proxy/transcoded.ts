// Puts the transcoder between a caller that speaks JSON and the exchange, once the route has said that the Service
// wants gRPC. The request is routed as its caller wrote it; what goes upstream is the gRPC call.

import type { MethodIndex } from '../../proto/kit/transcoded-methods.ts';
import { TranscoderStream } from '../transcode/transcoder-stream.ts';
import type { HeaderList } from '../wire/headers.ts';
import type { Head } from '../wire/stream.ts';
import type { Decision } from './decide.ts';
import { ProxiedRequest, type RequestServer } from './serve.ts';

export class TranscodedRequest extends TranscoderStream {
  private readonly server: RequestServer;
  private readonly outer: ProxiedRequest;
  private readonly decision: Decision;
  private inner: ProxiedRequest | null = null;

  private constructor(server: RequestServer, outer: ProxiedRequest, decision: Decision, index: MethodIndex) {
    super(outer.downstream, index);
    this.server = server;
    this.outer = outer;
    this.decision = decision;
  }

  /** Takes the place of `outer` as the receiver of its stream's events. */
  static begin(
    server: RequestServer,
    outer: ProxiedRequest,
    head: Head,
    end: boolean,
    decision: Decision,
    index: MethodIndex,
  ): void {
    outer.trace = server.traceOf(head, decision.destination);
    const transcoded = new TranscodedRequest(server, outer, decision, index);
    const inner = new ProxiedRequest(transcoded, server);
    inner.decided = decision;
    inner.trace = outer.trace;
    transcoded.events = inner;
    transcoded.inner = inner;
    outer.downstream.events = transcoded;
    transcoded.onHead(head, end);
  }

  protected override onDiscard(): void {
    this.inner?.discard();
  }

  /** An answer before anything went upstream (no such method, bad JSON) is counted here; later ones by the inner request. */
  protected override reply(status: number, contentType: string, body: string, more?: HeaderList): void {
    super.reply(status, contentType, body, more);
    if (this.forwarded) return;
    this.server.note(this.outer, this.decision.destination, this.decision.rule.name);
    this.server.answered(this.outer, this.outer.head, status);
  }
}
