// Makes system calls of a process fail, or kills it there, with strace(1).

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { folder, later, run } from './cleanup.mjs';

/** Returns why strace(1) cannot be used here, or `undefined`. */
export async function noStrace() {
  // `serve` forbids other processes of its user to trace it.
  if (process.getuid?.() !== 0) return 'needs root';
  try {
    await run('strace', ['-f', '-o', '/dev/null', ...injecting(SYNC, 'error=EIO:when=99'), 'true']);
    return undefined;
  } catch {
    return 'needs strace, and the permission to trace processes';
  }
}

/** The calls by which SQLite writes to its files, and by which it syncs them. */
export const WRITE = 'pwrite64';
export const SYNC = 'fsync,fdatasync';

/** The options of strace that inject a fault into calls. */
const injecting = (calls, fault) => ['-e', `trace=${calls}`, '-e', `inject=${calls}:${fault}`];
/** The fault that kills the process as it makes its call `nth`, before the call has any effect. */
const killing = (nth) => `signal=KILL:when=${nth}`;

/**
 * Attaches to a process. `fault` is what happens to the calls, such as `error=EIO:when=1+`. Each thread
 * counts its own calls; one thread of the issuer writes. Returns a function that detaches, and tells
 * whether the fault happened.
 */
export async function attach({ pid }, calls, fault) {
  const log = join(await folder('strace'), 'log');
  const argv = ['-f', '-o', log, ...injecting(calls, fault), '-p', String(pid)];
  const tracer = spawn('strace', argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(tracer, 'exit');
  let said = '';
  tracer.stderr.on('data', (text) => { said += text; });
  const detach = later(async () => {
    tracer.kill('SIGINT');
    await ended;
    return (await readFile(log, 'utf8')).includes('(INJECTED)');
  });
  for (const from = Date.now(); !said.includes(' attached'); await setTimeout(2)) {
    const isLate = tracer.exitCode !== null || Date.now() - from > 10_000;
    if (isLate) throw new Error(`strace cannot attach: ${said}`);
  }
  return detach;
}

/** Attaches, so that the process is killed at the call `nth` of `calls`. */
export const killAt = (process, calls, nth) => attach(process, calls, killing(nth));

/** The start of a command that is killed at the call `nth` of `calls`. */
export const killedCommand = (calls, nth) => (
  ['strace', '-f', '-o', '/dev/null', ...injecting(calls, killing(nth))]
);
