// The maxima of HTTP/1.1, each with its reason: nothing a peer sends may grow without one.

/** Bytes of a request or response head, and of a trailer section. 60 KiB, as Envoy's max_request_headers_kb. */
export const HEAD_BYTES_MAX = 60 * 1024;

/** Fields in one head or trailer section. 100, as Envoy's max_headers_count. */
export const FIELDS_MAX = 100;

/** Bytes of a request target. 8 KiB: RFC 9112 §3 asks for at least 8,000. */
export const URI_BYTES_MAX = 8 * 1024;

/** Bytes of a method. 32: the longest registered one has 17. */
export const METHOD_BYTES_MAX = 32;

/** Bytes of chunk extensions in one message. 16 KiB: they are read and thrown away, so more is an attack (CVE-2023-39326, CVE-2024-22019). */
export const CHUNK_EXTENSION_BYTES_MAX = 16 * 1024;

/** Hex digits of a chunk size. 13 digits stay below 2^53, so that no size is ever rounded. */
export const CHUNK_SIZE_DIGITS_MAX = 13;

/** Digits of a Content-Length. 15 digits stay below 2^53. */
export const LENGTH_DIGITS_MAX = 15;

/** Bytes of empty lines before a request line. 4, two lines: RFC 9112 §2.2 asks for one. */
export const EMPTY_LINE_BYTES_MAX = 4;

/** Informational heads before one final head. 32: a few early hints and some progress; a stream of them would hold a request forever. */
export const INTERIM_HEADS_MAX = 32;

/** Pipelined bytes kept while an earlier request is answered; above it the socket is not read. 64 KiB: one read. */
export const PIPELINED_BYTES_MAX = 64 * 1024;

/** Bytes read and thrown away after an early answer, so that the peer can read it before the connection resets (RFC 9112 §9.6). */
export const LINGER_BYTES_MAX = 1024 * 1024;

/** How long that takes at most. 2 s: a few round trips on a bad link. */
export const LINGER_MS = 2000;
