// What a program costs: CPU time and memory of its whole process tree, as Linux counts them in /proc.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** CPU time comes in ticks of this many per second, 100 on every Linux that matters. */
const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** User and system CPU time in µs of the processes and all their descendants, every thread included. */
export function cpuMicros(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of tree(pids)) ticks += statTicks(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  return (ticks / TICKS_PER_SECOND) * 1e6;
}

/** Resident memory in MB (10^6 bytes) of the processes and all their descendants; shared pages count in each. */
export function rssMb(pids: readonly number[]): number {
  return (memoryKib(pids, 'Rss') * 1024) / 1e6;
}

/** Anonymous memory in KiB of the processes and all their descendants: what is theirs alone, without files and binaries. */
export function anonymousKib(pids: readonly number[]): number {
  return memoryKib(pids, 'Anonymous');
}

function memoryKib(pids: readonly number[], field: string): number {
  const pattern = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm');
  let kib = 0;
  for (const pid of tree(pids)) {
    kib += Number(pattern.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'))?.[1] ?? 0);
  }
  return kib;
}

/** `utime + stime` of one line of /proc/PID/stat (proc_pid_stat(5), fields 14 and 15): threads that ended count too. */
export function statTicks(stat: string): number {
  // The command's name stands in parentheses and may hold spaces and parentheses itself.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

function tree(pids: readonly number[]): number[] {
  const found = [...pids];
  for (let i = 0; i < found.length; i++) {
    for (const task of readdirSync(`/proc/${found[i]}/task`)) {
      const children = readFileSync(`/proc/${found[i]}/task/${task}/children`, 'latin1').trim();
      if (children !== '') found.push(...children.split(' ').map(Number));
    }
  }
  return found;
}
