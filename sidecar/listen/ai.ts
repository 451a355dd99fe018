// The AI port: applications speak OpenAI's chat completions to localhost and hold no provider's key. The model that a
// request names decides the provider; what it used is counted in tokens and money.

import type { ChatCall, ChatOptions, ChatTarget } from '../ai/chat-stream.ts';
import { ChatStream } from '../ai/chat-stream.ts';
import { LIMITS } from '../base/limits.ts';
import { isLocalName, isLocalOrigin } from '../base/local-name.ts';
import type { ModelState, ModelTargetState } from '../config/snapshot.ts';
import { type Decision, NO_LABELS } from '../proxy/decide.ts';
import { finish } from '../proxy/finish.ts';
import type { Origin } from '../proxy/origin.ts';
import { exchangeTo, type ProxiedRequest } from '../proxy/serve.ts';
import { ProxyError } from '../wire/error.ts';
import { WireSocket } from '../wire/socket.ts';
import type { Head, HttpStream } from '../wire/stream.ts';
import { bindListener } from './bind.ts';
import { serveClear } from './connection.ts';
import type { OpenListener, WorkerContext } from './context.ts';

const ORIGIN: Origin = { direction: 'ai', service: '', port: 0, peer: null };

/** The own application, which has as many calls under way as it has users. */
const SETTINGS = { listener: 'ai', scheme: 'http', streamsMax: LIMITS.peerStreamsMax } as const;

/** Opens the AI listener: HTTP/1.1, and HTTP/2 with prior knowledge. */
export const openAi: OpenListener = (context, config) =>
  bindListener(context, config, (socket) => {
    const accept = (stream: HttpStream): ChatStream => new ModelCall(context, stream).chat;
    serveClear(context, new WireSocket(socket), accept, SETTINGS);
  });

/** One call: the chat stream faces the application, the exchange faces the provider. */
class ModelCall implements ChatOptions {
  readonly chat: ChatStream;
  private readonly context: WorkerContext;
  private readonly request: ProxiedRequest;
  private readonly startMs: number;
  private model: ModelState | null = null;
  private target: ModelTargetState | null = null;

  constructor(context: WorkerContext, downstream: HttpStream) {
    this.context = context;
    this.startMs = context.clock.nowMs();
    this.chat = new ChatStream(downstream, this);
    this.request = exchangeTo(context, ORIGIN, this.chat, () => this.decide());
    this.chat.events = this.request;
  }

  /** The key is spent for whoever may call this port: for no page in a browser that has made its own name resolve to it. */
  servesHost(authority: string): boolean {
    return isLocalName(authority);
  }

  /** A browser sends a simple POST of any page to localhost without asking first. */
  servesOrigin(origin: string): boolean {
    return isLocalOrigin(origin);
  }

  resolveModel(alias: string): ChatTarget | null {
    this.model = this.context.snapshot.models.get(alias) ?? null;
    this.target = this.model === null ? null : pickTarget(this.model.targets, this.context.random());
    return this.target?.chat ?? null;
  }

  listModels(): readonly string[] {
    return [...this.context.snapshot.models.keys()].sort();
  }

  onUsage(call: ChatCall): void {
    const { series } = this.context;
    const labels = [this.model?.name ?? '', this.target?.provider.name ?? ''];
    series.counter('aiRequests', ...labels, call.outcome).add(1);
    const { usage } = call;
    if (usage === null) {
      // A lower bound: the answer broke off before the provider said what it used.
      if (call.choiceEvents > 0) series.counter('aiTokens', ...labels, 'output_estimated').add(call.choiceEvents);
      return;
    }
    series.counter('aiTokens', ...labels, 'input').add(usage.promptTokens);
    series.counter('aiTokens', ...labels, 'output').add(usage.completionTokens);
    if (usage.cachedTokens > 0) series.counter('aiTokens', ...labels, 'cached_input').add(usage.cachedTokens);
    const costMicroUsd = Number(call.costMicroDollars ?? 0n);
    if (costMicroUsd > 0) series.counter('aiCost', ...labels).add(costMicroUsd);
    this.request.usage = {
      model: call.model,
      inputTokens: usage.promptTokens,
      outputTokens: usage.completionTokens,
      costMicroUsd,
    };
  }

  onDiscard(): void {
    this.request.discard();
  }

  onLocal(head: Head, status: number): void {
    const { context, request } = this;
    const called = status === 200 ? null : context.series;
    called?.counter('aiRequests', this.model?.name ?? '', this.target?.provider.name ?? '', 'refused').add(1);
    request.startMs = this.startMs;
    request.head = head;
    request.localStatus = status;
    request.stats.active.add(1);
    request.telemetry = context.snapshot.telemetry;
    const left =
      status === 0 ? new ProxyError('cancelled', 'downstream', 'the client left before its request was whole') : null;
    finish(context, request, left);
  }

  private decide(): Decision | ProxyError {
    const { target } = this;
    if (target === null) return new ProxyError('noRoute', 'local', 'the request names no model');
    return { rule: target.provider.rule, destination: target.provider.destination, labels: NO_LABELS };
  }
}

/** @param random in [0, 1). Null: the weights of all targets are 0. */
function pickTarget(targets: readonly ModelTargetState[], random: number): ModelTargetState | null {
  const at = random * (targets.at(-1)?.cumulativeWeight ?? 0);
  for (const target of targets) if (at < target.cumulativeWeight) return target;
  return null;
}
