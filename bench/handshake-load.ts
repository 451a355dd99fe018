// A full handshake for each request: connect, GET, close, on some connections at once. wrk and h2load keep their
// connections and show no client certificate, and openssl s_time sends neither SNI nor a Host.

import { type ClientTarget, connector, requestText } from './http-client.ts';
import { programParameters, reportLoad } from './load-program.ts';

/** What the handshake suite tells it. */
export interface HandshakeLoad extends ClientTarget {
  readonly seconds: number;
  /** Handshakes under way. */
  readonly connections: number;
}

const { seconds, connections, ...target } = programParameters<HandshakeLoad>();
const open = connector(target);
const request = requestText('/bench', true);
const startMs = performance.now();
const endMs = startMs + seconds * 1000;
const times: number[] = [];
let errors = 0;
await Promise.all(Array.from({ length: connections }, loop));
reportLoad(times, errors, (performance.now() - startMs) / 1000);

async function loop(): Promise<void> {
  while (performance.now() < endMs) {
    const beginMs = performance.now();
    const connection = open();
    const status = await new Promise<number>((resolve) => connection.ask(request, resolve));
    if (status === 200) times.push(performance.now() - beginMs);
    else errors++;
    connection.socket.destroy();
  }
}
