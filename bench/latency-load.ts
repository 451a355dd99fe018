// Small GETs at a fixed rate in an open loop: requests leave when they are due, whether or not earlier ones were
// answered, on a free connection or a new one. wrk sends as fast as answers come; h2load paces each connection for
// itself, all in step, so that its requests arrive in bursts as large as their number.

import { type ClientConnection, connector, requestText } from './http-client.ts';
import { programParameters, reportLoad } from './load-program.ts';

/** What the latency suite tells it. */
export interface LatencyLoad {
  /** On loopback, in the clear. */
  readonly port: number;
  readonly seconds: number;
  /** Requests a second. */
  readonly rate: number;
}

/** Opened before the clock starts: as many as the other suites' load has. */
const CONNECTIONS = 64;
/** A proxy that does not keep up is an error, not a flood of sockets. */
const CONNECTIONS_MAX = 1_000;

const { port, seconds, rate } = programParameters<LatencyLoad>();
const open = connector({ port, sni: null, identity: null });
const request = requestText('/bench');
const free: ClientConnection[] = [];
const times: number[] = [];
let connections = 0;
let errors = 0;
let answered = 0;

await Promise.all(Array.from({ length: CONNECTIONS }, warm));
const total = rate * seconds;
const startMs = performance.now();
await new Promise<void>((resolve) => tick(0, resolve));
reportLoad(times, errors, seconds);
process.exit();

/** Sends what is due, and comes back in 1 ms, which is as exact as timers are. */
function tick(sent: number, resolve: () => void): void {
  const due = Math.min(total, Math.floor(((performance.now() - startMs) / 1000) * rate) + 1);
  for (let number = sent; number < due; number++) send(resolve);
  if (due < total) setTimeout(tick, 1, due, resolve);
}

function send(resolve: () => void): void {
  const connection = free.pop() ?? (connections < CONNECTIONS_MAX ? connected() : null);
  const sentMs = performance.now();
  const done = (status: number): void => {
    if (status === 200) times.push(performance.now() - sentMs);
    else errors++;
    if (status !== 0 && connection !== null) free.push(connection);
    if (++answered === total) resolve();
  };
  if (connection === null) done(0);
  else connection.ask(request, done);
}

function connected(): ClientConnection {
  connections++;
  return open();
}

async function warm(): Promise<void> {
  const connection = connected();
  await new Promise((resolve) => connection.ask(request, resolve));
  free.push(connection);
}
