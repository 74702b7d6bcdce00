// Another process holds the database's lock.

import { DatabaseSync } from 'node:sqlite';
import { setTimeout } from 'node:timers/promises';
import { check, checkKeySet, checkLists, databaseFile } from './check.mjs';
import { Broken, Ledger } from './ledger.mjs';
import { ask, mustBeUnavailable, mustSucceed, newIssuer, revoke, untilReady } from './server.mjs';

/** Time in milliseconds for which the issuer waits for the lock: twice 5 s, and some for a busy machine. */
const LONGEST_WAIT = 13_000;

/** Holds `BEGIN EXCLUSIVE` for `hold` milliseconds while a token and a revocation are requested. */
async function locked(hold, isRefused) {
  const [issuer, ledger] = [await newIssuer(), new Ledger()];
  const { jti } = await ask(issuer, ledger);
  const lock = new DatabaseSync(databaseFile(issuer.folder), { timeout: 5_000 });
  lock.exec('BEGIN EXCLUSIVE');
  const held = setTimeout(hold).then(() => {
    lock.exec('ROLLBACK');
    lock.close();
  });
  const outcomes = Promise.all([ask(issuer, ledger), revoke(issuer, ledger, jti)]);
  // Reading goes on.
  await checkKeySet(issuer, ledger);
  await checkLists(issuer, ledger);
  const answers = await outcomes;
  await held;
  for (const [at, what] of ['a token request', 'a revocation'].entries()) {
    const answer = answers[at];
    if (answer.took > LONGEST_WAIT) throw new Broken(`${what} waits ${answer.took} ms`);
    if (isRefused && answer.status !== 200) mustBeUnavailable(`${what} while the database is locked`, answer);
    if (!isRefused) mustSucceed(`${what} while the database is locked`, answer);
  }
  if (isRefused && answers.every(({ status }) => status === 200)) throw new Broken('nothing was refused');
  const ready = await untilReady(issuer);
  mustSucceed('a token after the lock', await ask(issuer, ledger));
  await revoke(issuer, ledger, jti);
  if (!ledger.revoked.has(jti)) throw new Broken('a revocation after the lock is refused');
  await check(issuer, ledger);
  const shown = answers.map(({ status, took }) => `${status} after ${(took / 1000).toFixed(1)} s`);
  return { runs: 1, seen: `token ${shown[0]}, revocation ${shown[1]}; ready ${ready} ms after the lock` };
}

export const faults = [
  {
    name: 'locked-1s', fault: '`BEGIN EXCLUSIVE` by another process for 1 s',
    checked: 'requests wait and succeed, documents served', run: () => locked(1_000, false),
  },
  {
    name: 'locked-7s', fault: '`BEGIN EXCLUSIVE` by another process for 7 s',
    checked: 'bounded wait, 503 with Retry-After; recovers by itself', run: () => locked(7_000, true),
  },
];
