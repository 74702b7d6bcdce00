// The issuer is killed at every write and every sync of one act, or the call fails there.

import { setTimeout } from 'node:timers/promises';
import { DatabaseSync } from 'node:sqlite';
import { check, checkKeySet, checkLists, databaseFile } from './check.mjs';
import { run } from './cleanup.mjs';
import { Broken, Ledger } from './ledger.mjs';
import {
  ask, configure, endsWithin, hasEnded, mustBeUnavailable, mustSucceed, newIssuer, restart, revoke,
  savedData, slowest, stop, untilReady,
} from './server.mjs';
import { SYNC, WRITE, attach, killAt, killedCommand, noStrace } from './strace.mjs';

/** More calls than any act makes. */
const MOST_CALLS = 300;
/** Time in milliseconds in which the issuer does what follows its start or an act. */
const SETTLE = 120;

/**
 * Injects a fault at each call of an act. `begin(nth)` prepares one run and returns the act, which
 * resolves to whether the fault happened. Ends with the act that makes fewer calls. Returns the number of
 * faults.
 */
async function atEach(begin) {
  for (let nth = 1; nth <= MOST_CALLS; nth += 1) {
    const act = await begin(nth);
    if (!await act()) return nth - 1;
  }
  throw new Error(`an act makes more than ${MOST_CALLS} calls`);
}

/** Kills `serve` at every write and sync of `act(issuer, ledger)`, on one database. */
async function killServe(act) {
  const [issuer, ledger, times] = [await newIssuer(), new Ledger(), []];
  const counts = [];
  for (const calls of [WRITE, SYNC]) {
    counts.push(await atEach(async (nth) => {
      const prepared = await act(issuer, ledger);
      await setTimeout(SETTLE);
      const detach = await killAt(issuer.process, calls, nth);
      return async () => {
        await prepared();
        const isKilled = await endsWithin(issuer, SETTLE);
        await detach();
        if (isKilled) await restart(issuer, times);
        await check(issuer, ledger);
        return isKilled;
      };
    }));
  }
  return killed(counts, times);
}

const killed = ([writes, syncs], times) => {
  const text = `killed at ${writes} writes and ${syncs} syncs`;
  if (writes === 0 || syncs === 0) throw new Error(`${text}: strace injects nothing`);
  return { runs: writes + syncs, seen: `${text}; ${slowest(times)}` };
};

const issuing = async (issuer, ledger) => () => ask(issuer, ledger);

async function revoking(issuer, ledger) {
  const { jti } = await ask(issuer, ledger);
  return () => revoke(issuer, ledger, jti);
}

let policies = 0;

/** Changes the policy's file. The act makes `serve` take it; once acknowledged, it stays. */
async function applying(issuer) {
  policies += 1;
  const scope = `policy:${policies}`;
  const scopes = /scopes = \["invoices:read"[^\]]*\]/;
  await configure(issuer, (text) => text.replace(scopes, `scopes = ["invoices:read", "${scope}"]`));
  return async () => {
    // The command waits for a `serve` that was killed; the test does not.
    const late = new AbortController();
    issuer.ended.then(() => late.abort());
    const { signal } = late;
    const place = { cwd: issuer.folder, env: issuer.env };
    const command = run(issuer.program, ['policy', 'apply'], { ...place, signal });
    const done = await command.then(() => true, () => false);
    if (done && !recordedScopes(issuer).has(scope)) {
      throw new Broken(`the acknowledged policy with ${scope} is not recorded`);
    }
  };
}

/** The scopes in all stored versions of the policy. */
function recordedScopes(issuer) {
  const database = new DatabaseSync(databaseFile(issuer.folder), { readOnly: true, timeout: 5_000 });
  const texts = database.prepare('SELECT text FROM policies').all().map(({ text }) => text);
  database.close();
  return new Set(texts.flatMap((text) => JSON.parse(text).roles.flatMap(({ scope }) => scope.split(' '))));
}

/** Kills the command `keys rotate` at each of its calls, or `serve` while it publishes the rotation. */
async function killRotation() {
  const [issuer, before, times] = [await newIssuer(), new Ledger(), []];
  await ask(issuer, before);
  await stop(issuer);
  // A standby key may sign 30 s after its publication: let that be long ago.
  const database = new DatabaseSync(databaseFile(issuer.folder));
  database.exec('UPDATE signing_keys SET published_at = published_at - 3600');
  database.close();
  const reset = await savedData(issuer);
  const counts = { command: [], serve: [] };
  for (const killsServe of [false, true]) {
    for (const calls of [WRITE, SYNC]) {
      const count = await atEach(async (nth) => {
        if (!hasEnded(issuer)) await issuer.kill();
        await reset();
        const ledger = before.copy();
        await restart(issuer, times);
        await setTimeout(SETTLE);
        const detach = killsServe ? await killAt(issuer.process, calls, nth) : () => {};
        return async () => {
          const isCommandKilled = await rotate(issuer, killsServe ? [] : killedCommand(calls, nth));
          const isServeKilled = await endsWithin(issuer, SETTLE);
          await detach();
          if (isServeKilled) await restart(issuer, times);
          await check(issuer, ledger);
          mustSucceed('a token after the rotation', await ask(issuer, ledger));
          await check(issuer, ledger);
          return isCommandKilled || isServeKilled;
        };
      });
      counts[killsServe ? 'serve' : 'command'].push(count);
    }
  }
  const [one, other] = [killed(counts.command, times), killed(counts.serve, times)];
  return { runs: one.runs + other.runs, seen: `the command ${one.seen}; serve ${other.seen}` };
}

/** Runs `keys rotate`. Returns whether it was killed. If it says that it is done, the standby key signs. */
async function rotate(issuer, tracer) {
  const keys = async () => JSON.parse(await issuer.edgepass('keys', 'list', '--json'));
  const signing = (all) => all.find(({ use }) => use === 'signing').kid;
  const old = signing(await keys());
  const [program, ...argv] = [...tracer, issuer.program, 'keys', 'rotate'];
  const command = run(program, argv, { cwd: issuer.folder, env: issuer.env });
  const failure = await command.then(() => undefined, (error) => error);
  if (!failure && signing(await keys()) === old) throw new Broken('an acknowledged rotation did not happen');
  return failure?.signal === 'SIGKILL' || failure?.code === 137;
}

/** Lets every write of one issue and one revocation fail once, each in turn, with `error`. */
async function failEachWrite(error) {
  const [issuer, ledger] = [await newIssuer(), new Ledger()];
  let [runs, refused] = [0, 0];
  for (const act of [issuing, revoking]) {
    runs += await atEach(async (nth) => {
      const prepared = await act(issuer, ledger);
      await setTimeout(SETTLE);
      const detach = await attach(issuer.process, WRITE, `error=${error}:when=${nth}`);
      return async () => {
        const outcome = await prepared();
        // A write of the publication may fail after the answer.
        await setTimeout(SETTLE);
        const isInjected = await detach();
        if (outcome.status !== 200) mustBeUnavailable(`the act whose write ${nth} fails`, outcome);
        refused += Number(outcome.status !== 200);
        await untilReady(issuer);
        mustSucceed('a token after the failure', await ask(issuer, ledger));
        await check(issuer, ledger);
        return isInjected;
      };
    });
  }
  if (refused === 0) throw new Error('no act failed: strace injects nothing');
  return { runs, seen: `${refused} acts refused with 503, ${runs - refused} done; the next one succeeded` };
}

/** Lets all calls fail with `error` for a while. `recovers`: without a restart. */
async function failAll(calls, error, recovers) {
  const [issuer, ledger, times] = [await newIssuer(), new Ledger(), []];
  const { jti } = await ask(issuer, ledger);
  await setTimeout(SETTLE);
  const detach = await attach(issuer.process, calls, `error=${error}:when=1+`);
  mustBeUnavailable('a token request', await ask(issuer, ledger));
  mustBeUnavailable('a revocation', await revoke(issuer, ledger, jti));
  if (await issuer.isReady()) throw new Broken(`/readyz answers 200 while ${calls} fails with ${error}`);
  // Keys and lists are still served, and are no older.
  await checkKeySet(issuer, ledger);
  await checkLists(issuer, ledger);
  await detach();
  if (!recovers) {
    await setTimeout(500);
    mustBeUnavailable('a token request, though syncs succeed again', await ask(issuer, ledger));
    if (await issuer.isReady()) throw new Broken('/readyz answers 200 after a failed sync');
    await issuer.kill();
    await restart(issuer, times);
  }
  const after = await untilReady(issuer);
  mustSucceed('a token after the fault', await ask(issuer, ledger));
  mustSucceed('a revocation after the fault', await revoke(issuer, ledger, jti));
  await check(issuer, ledger);
  return { runs: 1, seen: recovers ? `ready ${after} ms after the fault` : slowest(times) };
}

const REFUSES = '503 with Retry-After, /readyz 503, documents served';
const HEALS = `${REFUSES}; recovers by itself`;

const killing = (name, act, work) => ({
  name, fault: `kill at every write and sync of one ${act}`, checked: 'all invariants, ready again',
  needs: noStrace, run: work,
});
const failing = (name, fault, checked, work) => ({ name, fault, checked, needs: noStrace, run: work });
const once = (name, error) => failing(
  name, `each write of an issue and a revocation fails once (${error})`,
  'nothing half done, all invariants', () => failEachWrite(error),
);

export const faults = [
  killing('kill-issue', 'issue', () => killServe(issuing)),
  killing('kill-revocation', 'revocation', () => killServe(revoking)),
  killing('kill-policy', '`policy apply`', () => killServe(applying)),
  killing('kill-rotation', '`keys rotate`', killRotation),
  failing(
    'sync-error', 'every sync fails (EIO), then none', `${REFUSES}; nothing recorded until a restart`,
    () => failAll(SYNC, 'EIO', false),
  ),
  failing('no-space', 'every write fails (ENOSPC), then none', HEALS, () => failAll(WRITE, 'ENOSPC', true)),
  failing(
    'now-read-only', 'every write fails (EROFS), then none', HEALS, () => failAll(WRITE, 'EROFS', true),
  ),
  once('write-errors', 'EIO'),
  once('space-errors', 'ENOSPC'),
];
