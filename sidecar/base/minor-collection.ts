// Garbage of bodies. A chunk is a small object before much memory outside of the heap, so V8 lets tens of MiB of them die
// before its young generation is full. Collected by the byte instead, bodies of any length pass in a few MiB.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Bytes written between two collections: few enough that their garbage is small, many enough that collecting costs no CPU that could be measured. */
const COLLECT_BYTES = 8 * 1024 * 1024;

type Collect = (options: { type: 'minor' }) => void;

let collect: Collect | null = null;
let bytesLeft = COLLECT_BYTES;

/** Counts bytes that this thread has moved, and collects the young generation when they are many. */
export function noteMoved(bytes: number): void {
  bytesLeft -= bytes;
  if (bytesLeft > 0) return;
  bytesLeft = COLLECT_BYTES;
  // Made with the first bytes, because its context takes memory that a sidecar at rest does not need.
  collect ??= minorCollection();
  collect({ type: 'minor' });
}

function minorCollection(): Collect {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as Collect;
}
