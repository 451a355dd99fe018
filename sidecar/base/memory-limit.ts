// From the memory that a sidecar may take to the bounds of each of its workers.

import { totalmem } from 'node:os';
import { LIMITS } from './limits.ts';
import type { OverloadLimits } from './overload.ts';

/** Bounds of one worker. @param limitBytes of the process; 0: the container's limit, at most LIMITS.memoryBytesMax. */
export function overloadLimits(limitBytes: number, workers: number): OverloadLimits {
  const bytes = limitBytes > 0 ? limitBytes : defaultLimit(process.constrainedMemory(), totalmem());
  // A limit near what the program itself takes still leaves its workers something.
  const forWorkers = Math.max(bytes - LIMITS.restBytes, bytes / 4);
  return { heldBytesMax: (bytes * LIMITS.heldPercent) / 100 / workers, heapBytesMax: forWorkers / workers };
}

/** @param constrainedBytes the container's limit; 0 or all of the machine: there is none. */
export function defaultLimit(constrainedBytes: number, machineBytes: number): number {
  const isLimited = constrainedBytes > 0 && constrainedBytes < machineBytes;
  return isLimited ? Math.min(constrainedBytes, LIMITS.memoryBytesMax) : LIMITS.memoryBytesMax;
}
