// A full disk and a read-only file system, as real mounts.

import { mkdir, open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { check, checkKeySet, checkLists } from './check.mjs';
import { canMount, folder, mount, run } from './cleanup.mjs';
import { Broken, Ledger } from './ledger.mjs';
import {
  ask, mustBeUnavailable, mustSucceed, newIssuer, restart, revoke, slowest, stop, tryToServe, untilReady,
} from './server.mjs';

const needsMounts = async () => (await canMount() ? undefined : 'needs root and the permission to mount');

/** More tokens than the write-ahead log has room for before it must grow. */
const MOST_TOKENS = 5_000;

/** Writes a file until the file system of `at` is full. Returns the file. */
async function fill(at) {
  const file = join(at, 'filler');
  const out = await open(file, 'w');
  try {
    const { bavail, bsize } = await statfs(at);
    await out.write(Buffer.alloc(bavail * bsize));
    for (;;) await out.write(Buffer.alloc(512));
  } catch (error) {
    if (error.code !== 'ENOSPC') throw error;
  } finally {
    await out.close();
  }
  return file;
}

/** Requests tokens until one is refused. Returns how many came. */
async function untilRefused(issuer, ledger) {
  for (let came = 0; came < MOST_TOKENS; came += 1) {
    const outcome = await ask(issuer, ledger);
    if (outcome.status !== 200) {
      mustBeUnavailable('a token request on a full disk', outcome);
      return came;
    }
  }
  throw new Error(`${MOST_TOKENS} tokens were issued on a full disk`);
}

/** The issuer's whole folder is on a small tmpfs, which is filled and emptied three times. */
async function fullDisk() {
  const at = await folder('full');
  await mount(at, '-t', 'tmpfs', '-o', 'size=16m', 'none');
  const own = join(at, 'issuer');
  await mkdir(own);
  const [issuer, ledger, ready] = [await newIssuer({ at: own }), new Ledger(), []];
  let came = 0;
  const runs = 3;
  for (let round = 0; round < runs; round += 1) {
    const { jti } = await ask(issuer, ledger);
    const filler = await fill(at);
    came += await untilRefused(issuer, ledger);
    const outcome = await revoke(issuer, ledger, jti);
    mustBeUnavailable('a revocation on a full disk', outcome);
    if (await issuer.isReady()) throw new Broken('/readyz answers 200 on a full disk');
    await checkKeySet(issuer, ledger);
    await checkLists(issuer, ledger);
    await rm(filler);
    ready.push(await untilReady(issuer));
    mustSucceed('a token after the disk has space', await ask(issuer, ledger));
    mustSucceed('a revocation after the disk has space', await revoke(issuer, ledger, jti));
    await check(issuer, ledger);
  }
  const most = Math.max(...ready);
  const seen = `${came} tokens fitted into the files; ready ${most} ms at most after there was space`;
  return { runs, seen };
}

/** The data folder is on a file system that is mounted read-only at the start, then writable again. */
async function readOnlyStart() {
  const [issuer, ledger, times] = [await newIssuer(), new Ledger(), []];
  await ask(issuer, ledger);
  await stop(issuer);
  const data = join(issuer.folder, 'data');
  await run('mount', ['--bind', data, data]);
  const unmount = await mount(data, '-o', 'remount,bind,ro');
  const { state, code, said } = await tryToServe(issuer);
  if (state !== 'ended' || code !== 3) throw new Broken(`\`serve\` is ${state} (exit code ${code}): ${said}`);
  if (said.split('\n').length !== 1) throw new Broken(`the error has more than one line: ${said}`);
  await unmount();
  await restart(issuer, times);
  mustSucceed('a token after the start', await ask(issuer, ledger));
  await check(issuer, ledger);
  return { runs: 1, seen: slowest(times) };
}

export const faults = [
  {
    name: 'full-disk', fault: 'a tmpfs of 16 MiB is full, then has space',
    checked: '503 with Retry-After, /readyz 503, documents served; recovers by itself',
    needs: needsMounts, run: fullDisk,
  },
  {
    name: 'read-only', fault: 'start on a read-only file system',
    checked: 'one line, exit code 3; starts once writable', needs: needsMounts, run: readOnlyStart,
  },
];
