// Every limit of the HTTP/2 codec with its reason. A peer can make us hold or compute no more than these.

/** Decoded header bytes (name + value + 32 each, RFC 9113 §6.5.2) of one message. 60 KiB: Envoy's default; decoded, since a 1-byte index may stand for 4 KiB (CVE-2016-1544 class). */
export const HEADER_LIST_BYTES_MAX = 60 * 1024;
/** Fields of one message. 100: Envoy's default, three times what real requests carry. */
export const HEADER_FIELDS_MAX = 100;
/** Coded bytes of one header block over HEADERS and CONTINUATION. A block that decodes within the list limit is never larger. */
export const HEADER_BLOCK_BYTES_MAX = 64 * 1024;
/** CONTINUATION frames of one block: 16 KiB frames need four; more are a flood (CVE-2024-27316). */
export const CONTINUATIONS_MAX = 16;
/** Our HPACK decoder table, the protocol's default (RFC 9113 §6.5.2); the encoder uses at most as much. */
export const HPACK_TABLE_BYTES = 4096;
/** Header names whose last value an encoder remembers; real services send fewer than 60. */
export const ENCODER_NAMES_MAX = 256;
/** Coded literals shared by all encoders of a thread; at most 64 bytes each, so about 0.5 MiB. */
export const CODED_LITERALS_MAX = 4096;
/** Longest string worth remembering in coded form; longer ones are rarely repeated. */
export const CODED_LITERAL_CHARS_MAX = 64;
/** Largest frame we accept, the protocol's default and minimum (RFC 9113 §4.2): bounds what a reader assembles. */
export const FRAME_BYTES_MAX = 16384;
/** What a peer may send on one stream before we read it, at first: the protocol's default, so that no stream is promised more before the peer has read our settings. */
export const STREAM_WINDOW_BYTES = 65_535;
/** What a stream's window grows to while a reader keeps up: 1 Gbit/s at 32 ms. */
export const STREAM_WINDOW_BYTES_MAX = 4 * 1024 * 1024;
/** What a peer may send on the connection before we read it, at first: sixteen busy streams. */
export const CONNECTION_WINDOW_BYTES = 1024 * 1024;
/** What the connection's window grows to: two streams that have all they can. */
export const CONNECTION_WINDOW_BYTES_MAX = 2 * STREAM_WINDOW_BYTES_MAX;
/** Share of a stream's window that must arrive in one round trip for it to be doubled: less says that the window is not what slows the sender (gRPC's 0.66). */
export const WINDOW_FULL_SHARE = 2 / 3;
/**
 * Quiet with a stream open after which a peer is asked whether it lives. gRPC servers end connections that ping more
 * often than once in 5 minutes without data (gRFC A8: too_many_pings); 10 s more, so that jitter makes no strike.
 */
export const KEEPALIVE_MS = 310_000;
/** The same towards our own kind, in either role: a lost node is noticed within half a minute (Linkerd: 10 s and 3 s). */
export const MESH_KEEPALIVE_MS = 20_000;
/** From the PING until the connection is given up: gRPC's 20 s is for the internet; TCP resends six times in 10 s. */
export const KEEPALIVE_TIMEOUT_MS = 10_000;
/**
 * Bytes that a connection's paused streams may hold together while the connection window is still replenished: 256
 * streams with a first window, 4 with the largest. Below it a stalled stream never stops its siblings; above it the sender waits.
 */
export const HELD_BYTES_MAX = 16 * 1024 * 1024;
/**
 * Between two measurements of the round trip at least. 50 ms: a window doubles from 64 KiB to 4 MiB within a third of a
 * second, and a peer's flood guard (ours: 100 PINGs a second) sees none where a round trip takes microseconds.
 */
export const PROBE_EVERY_MS = 50;
/** Informational heads before one final head, as in HTTP/1: a stream of them would hold a request for ever. */
export const INTERIM_HEADS_MAX = 32;
/** How long a drain waits for its PING to come back before it names the last stream. 1 s: above any round trip in a mesh. */
export const DRAIN_PING_MS = 1000;
/** DATA frames without bytes and without END_STREAM in a row (CVE-2019-9518). 1, as Envoy: a peer has nothing to say with a second. */
export const EMPTY_DATA_RUN_MAX = 1;
/** Bytes one stream queues before writeData says false: four frames, enough to keep a writer busy for a turn. */
export const STREAM_QUEUE_BYTES = 64 * 1024;
/** Streams a peer may have open at once. 100: the RFC's recommended minimum and HAProxy's default. */
export const CONCURRENT_STREAMS = 100;
/** Streams we reset and whose late frames are ignored; older ones get STREAM_CLOSED. */
export const RESET_MEMORY_STREAMS = 256;
/** Unsent bytes at which a peer that asks but never reads is dropped; full windows stay below. */
export const UNSENT_BYTES_MAX = 4 * 1024 * 1024;

/** Frames that cost the sender nothing: how many at once, and how many a second for ever. */
interface FloodLimit {
  readonly burst: number;
  readonly perSecond: number;
}

/** Named budgets of the flood guard; `onGuard` is told the name. */
export const FLOOD_LIMITS = {
  /**
   * Streams the peer resets before they are answered (CVE-2023-44487) or makes us reset (CVE-2025-8671): as many at once as
   * Envoy looks at before it judges, then nghttp2's rate, and one for each whole answer, as Envoy bears resets of half of all.
   */
  rapidReset: { burst: 500, perSecond: 33 },
  /** PING: gRPC probes bandwidth with about one for each round trip (CVE-2019-9512). */
  ping: { burst: 500, perSecond: 100 },
  /** SETTINGS: real peers send one or two (CVE-2019-9515). */
  settings: { burst: 50, perSecond: 2 },
  /** PRIORITY: browsers of the old scheme sent a handful for each page (CVE-2019-9513). As many at once as Envoy takes for a stream. */
  priority: { burst: 100, perSecond: 100 },
  /** WINDOW_UPDATE beyond what our DATA frames earn: Go peers send two for each. */
  windowUpdate: { burst: 2000, perSecond: 500 },
  /** Frames of unknown type, and of streams long gone. */
  ignored: { burst: 1000, perSecond: 100 },
} as const satisfies Record<string, FloodLimit>;

/** Which budget was exceeded. */
export type FloodKind = keyof typeof FLOOD_LIMITS;
/** WINDOW_UPDATE frames each DATA frame we send earns the peer: stream and connection, twice over. */
export const WINDOW_UPDATES_PER_DATA = 4;
