// The link to the control plane: sessions one after the other, each with a connection of its own that shows the
// certificate of its time. Loaded only when there is a control plane, since gRPC's library costs memory.

import type { Random } from '../base/random.ts';
import { CHANNEL_OPTIONS, controlPlaneCredentials, target } from '../identity/channel.ts';
import type { HeldIdentity } from '../identity/stored.ts';
import type { HostPort } from '../options.ts';
import { backoffMs } from '../upstream/backoff.ts';
import { type Registering, type Registration, register, WorkloadClient } from './register.ts';
import { DiscoveryClient, type SubscribeParts, subscribe } from './subscribe.ts';

/** Between attempts: full jitter up to 500 ms at first, up to 15 s later, so that a mesh returns spread out and soon. */
const RETRY_BASE_MS = 500;
const RETRY_MAX_MS = 15_000;
/** Never a tight loop. */
const RETRY_MIN_MS = 50;

/** A session that lived this long was a good one: the next wait is short again. */
const GOOD_SESSION_MS = 10_000;

/** SIGTERM does not wait longer than this for a control plane to take note. */
const DRAIN_TIMEOUT_MS = 2_000;

export interface LinkParts extends SubscribeParts {
  readonly where: HostPort;
  identity(): HeldIdentity;
  /** Null: no application to register. */
  readonly registration: Registration | null;
  readonly random: Random;
  /** What happens, for the log; `connected` also for status. */
  onConnected(): void;
  onLost(reason: string, retryMs: number): void;
  onRegistered(endpoints: readonly string[]): void;
  /** @param refused see RegistrationEnd. */
  onRegisterFailed(reason: string, retryMs: number, refused: boolean): void;
}

/** A running link. */
export interface Link {
  /** Whether the control plane's stream is up and has told everything. */
  readonly connected: boolean;
  /** Says that no new requests are wanted. */
  drain(): Promise<void>;
  close(): void;
}

interface Client {
  close(): void;
  deltaAggregatedResources(): Parameters<typeof subscribe>[0];
  register(): Parameters<typeof register>[0];
}

/** Connects, and again whenever the link is lost, until closed. */
export function openLink(parts: LinkParts): Link {
  let closed = false;
  let draining = false;
  let connected = false;
  let registering: Registering | null = null;
  let endSession: () => void = () => {};
  let wake: () => void = () => {};

  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  /** Registers until the session is over. */
  const keepRegistered = async (workload: Client, registration: Registration, isOpen: () => boolean): Promise<void> => {
    for (let failures = 0; isOpen() && !draining; failures++) {
      const current = register(workload.register(), registration, (endpoints) => {
        failures = 0;
        parts.onRegistered(endpoints);
      });
      registering = current;
      const { reason, refused } = await current.ended;
      registering = null;
      if (!isOpen() || draining) return;
      const retryMs = RETRY_MIN_MS + backoffMs(failures, parts.random, RETRY_BASE_MS, RETRY_MAX_MS);
      parts.onRegisterFailed(reason, retryMs, refused);
      await new Promise<void>((resolve) => setTimeout(resolve, retryMs).unref());
    }
  };

  const session = async (): Promise<string> => {
    const identity = parts.identity();
    const credentials = controlPlaneCredentials(identity.trustDomain, identity.rootsPem, identity);
    const client = new DiscoveryClient(target(parts.where), credentials, CHANNEL_OPTIONS) as unknown as Client;
    const workload = new WorkloadClient(target(parts.where), credentials, {
      // Both streams on one connection.
      channelOverride: (client as unknown as { getChannel(): object }).getChannel(),
    } as never) as unknown as Client;
    const call = client.deltaAggregatedResources();
    let open = true;
    endSession = () => call.cancel();
    const reason = await subscribe(call, {
      versions: parts.versions.bind(parts),
      apply: parts.apply.bind(parts),
      onSynced: () => {
        connected = true;
        parts.onSynced();
        parts.onConnected();
        if (parts.registration !== null) void keepRegistered(workload, parts.registration, () => open && !closed);
      },
    });
    open = false;
    connected = false;
    client.close();
    return reason;
  };

  const run = async (): Promise<void> => {
    for (let failures = 0; !closed; failures++) {
      const startedMs = performance.now();
      const reason = await session();
      if (closed) return;
      if (performance.now() - startedMs >= GOOD_SESSION_MS) failures = 0;
      const retryMs = RETRY_MIN_MS + backoffMs(failures, parts.random, RETRY_BASE_MS, RETRY_MAX_MS);
      parts.onLost(reason, retryMs);
      await pause(retryMs);
    }
  };
  void run();

  return {
    get connected() {
      return connected;
    },
    async drain() {
      draining = true;
      if (registering === null) return;
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, DRAIN_TIMEOUT_MS);
      });
      await Promise.race([registering.drain(), late]);
      clearTimeout(timer);
    },
    close() {
      closed = true;
      endSession();
      wake();
    },
  };
}
