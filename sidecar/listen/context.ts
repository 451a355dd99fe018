// What every listener of a worker works with: configuration, identity, time, counters, and the list of connections
// that a drain must end. Built once by worker.ts; listeners get it and keep no globals.

import type { SecureContext } from 'node:tls';
import type { GuardName } from '../base/guards.ts';
import type { ListenerConfig, WorkerIdentity, WorkerStart } from '../base/messages.ts';
import type { PeerIdentity } from '../filters/authorization/run.ts';
import type { LivePeers } from '../identity/revoked.ts';
import type { ServeContext } from '../proxy/origin.ts';
import type { TellRefusals } from './refusal-log.ts';

/** This workload's identity, ready for use. */
export interface IdentityState {
  readonly identity: WorkerIdentity;
  /** The own id, parsed. */
  readonly self: PeerIdentity;
  /** Key, chain and roots for TLS 1.3 in both roles. New connections take the newest, old ones keep theirs. */
  readonly secureContext: SecureContext;
}

/** An accepted connection, as a drain and the overload ladder see it. */
export interface Accepted {
  readonly listener: ListenerConfig['kind'];
  /** Bytes of messages under way. */
  readonly heldBytes: number;
  /** Nothing is under way, so that ending it costs nobody a request. */
  readonly isIdle: boolean;
  /** Ends what moves too slowly. */
  look(): void;
  /** No new requests: GOAWAY, or `connection: close` with the next response; an idle one closes at once. */
  drain(): void;
  /** The drain's deadline has passed, or it is what is shed. */
  destroy(): void;
}

/** What a worker's listeners share. */
export interface WorkerContext extends ServeContext {
  readonly start: WorkerStart;
  /** Null until the first `identity` message: mutual TLS is impossible so far. Replaced on renewal. */
  identity: IdentityState | null;
  /** Whether a drain has begun there: connections accepted in the last moment drain at once. */
  isDraining(listener: Accepted['listener']): boolean;
  /** The mesh peers that are connected, and who of them is revoked. */
  readonly peers: LivePeers;
  /** Adds an accepted connection until the returned function is called (its close). Also counts `connections` by listener. */
  track(connection: Accepted): () => void;
  /** Counts a connection or a request that a guard ended. */
  guard(listener: Accepted['listener'], name: GuardName): void;
  /** Calls back with each new identity, and at once if there is one. For listeners that hold a TLS server. */
  onIdentity(listener: (state: IdentityState) => void): void;
  /** Has main log refused handshakes of one reason. */
  readonly tellRefusals: TellRefusals;
  /** Counts and reports a throw that was contained to one connection. */
  contain(error: Error): void;
}

/** A socket that listens. */
export interface Listener {
  /** Stops to accept; connections live on. */
  stop(): void;
}

/** Opens a listener of one kind; resolves when it listens, rejects with the bind error. */
export type OpenListener = (context: WorkerContext, config: ListenerConfig) => Promise<Listener>;
