// Start-up memory. Loading a program fills V8's young generation with what stays for good, and V8 doubles it each time,
// to 16 MiB a thread that nothing at rest needs. Held small until everything is loaded and the control plane has spoken or is not there,
// it grows with the requests as ever.

import { setFlagsFromString } from 'node:v8';

/** Until `releaseYoungGeneration`, the young generation of every thread keeps its size. For before anything is loaded. */
export function holdYoungGeneration(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}

/** V8's own factor, 2. */
export function releaseYoungGeneration(): void {
  setFlagsFromString('--semi-space-growth-factor=2');
}
