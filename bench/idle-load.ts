// Opens connections, sends a request or more on each, and holds them until it is ended, which no load tool does: an
// idle connection is one that has been used. Started by the memory suite, which waits for the ready file.

import { writeFileSync } from 'node:fs';
import { type ClientTarget, connector, requestText } from './http-client.ts';
import { programParameters } from './load-program.ts';

/** What the memory suite tells it. */
export interface IdleLoad extends ClientTarget {
  readonly connections: number;
  /** On each, one after the other. */
  readonly requests: number;
  /** Written when every connection has its answer. */
  readonly readyFile: string;
}

/** Opened at once: a queue that no backlog refuses, and that leaves no lasting mark on a proxy's pools. */
const OPENING = 20;

const { connections, requests, readyFile, ...target } = programParameters<IdleLoad>();
const open = connector(target);
const request = requestText('/bench');
let left = connections;
await Promise.all(Array.from({ length: OPENING }, openSome));
writeFileSync(readyFile, '{}');

async function openSome(): Promise<void> {
  while (left-- > 0) {
    const connection = open();
    for (let i = 0; i < requests; i++) {
      const status = await new Promise<number>((resolve) => connection.ask(request, resolve));
      if (status !== 200) throw new Error(`a connection was answered ${status} instead of 200`);
    }
  }
}
