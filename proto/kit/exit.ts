// The exit codes of every program, so that scripts and supervisors can tell mistakes from outages. Values of sysexits.h.

/** How a program ended. Zero for success; the others are those of BSD's sysexits.h. */
export const EXIT = {
  ok: 0,
  /** EX_USAGE: a bad command line or option. */
  commandLine: 64,
  /** EX_DATAERR: bad policies. */
  policies: 65,
  /** EX_UNAVAILABLE: something it needs is not there, such as a directory, a peer or a free port. */
  unavailable: 69,
  /** EX_SOFTWARE: a bug of ours. */
  bug: 70,
} as const;
