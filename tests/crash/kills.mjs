// The issuer is killed at random instants, or asked to end, while clients request and revoke tokens.

import { DatabaseSync } from 'node:sqlite';
import { setTimeout } from 'node:timers/promises';
import { check, databaseFile } from './check.mjs';
import { Broken, Ledger } from './ledger.mjs';
import { load } from './load.mjs';
import { ask, endsWithin, newIssuer, restart, slowest } from './server.mjs';

/** Time in milliseconds in which the issuer ends after SIGTERM. */
const END_LIMIT = 5_000;

const random = (from, to) => from + Math.random() * (to - from);

const total = (all) => all.reduce((sum, one) => sum + one, 0);

async function killedUnderLoad({ kills }) {
  const [issuer, ledger, times, seen] = [await newIssuer(), new Ledger(), [], []];
  for (let round = 0; round < kills; round += 1) {
    const clients = load(issuer, ledger);
    await setTimeout(random(20, 500));
    await issuer.kill();
    seen.push(await clients.stop());
    await restart(issuer, times);
    await check(issuer, ledger);
  }
  const of = (what) => total(seen.map((one) => one[what]));
  const acknowledged = `${of('tokens')} tokens and ${of('revocations')} revocations acknowledged`;
  return { runs: kills, seen: `${acknowledged}, ${of('unanswered')} requests cut off; ${slowest(times)}` };
}

async function killedWhileStarting({ kills }) {
  const [issuer, ledger, times] = [await newIssuer(), new Ledger(), []];
  for (let round = 0; round < kills; round += 1) {
    const clients = load(issuer, ledger, { commands: 0 });
    await setTimeout(100);
    await issuer.kill();
    await clients.stop();
    // The database is recovered and the lists are signed in this time.
    issuer.spawn();
    await setTimeout(random(0, 120));
    await issuer.kill();
    await restart(issuer, times);
    await check(issuer, ledger);
  }
  return { runs: kills, seen: slowest(times) };
}

async function endedUnderLoad({ kills }) {
  const runs = Math.ceil(kills / 4);
  const [issuer, ledger, times, ends] = [await newIssuer(), new Ledger(), [], []];
  let waiting = 0;
  for (let round = 0; round < runs; round += 1) {
    const clients = load(issuer, ledger);
    await setTimeout(random(50, 300));
    // While the database is locked no request is answered, so these are under way at the signal.
    const lock = new DatabaseSync(databaseFile(issuer.folder), { timeout: 5_000 });
    lock.exec('BEGIN EXCLUSIVE');
    const under = Array.from({ length: 8 }, () => ask(issuer, ledger));
    await setTimeout(300);
    const from = Date.now();
    issuer.process.kill('SIGTERM');
    await setTimeout(200);
    lock.exec('ROLLBACK');
    lock.close();
    if (!await endsWithin(issuer, END_LIMIT)) throw new Broken(`it runs on ${END_LIMIT} ms after SIGTERM`);
    ends.push(Date.now() - from);
    const answers = await Promise.all(under);
    await clients.stop();
    const [lost] = answers.filter(({ status }) => status !== 200);
    if (lost) throw new Broken(`a request under way at SIGTERM was answered with ${lost.status}`);
    const { exitCode } = issuer.process;
    if (exitCode !== 0) throw new Broken(`after SIGTERM the exit code is ${exitCode}`);
    waiting += answers.length;
    await restart(issuer, times);
    await check(issuer, ledger);
  }
  const most = Math.max(...ends);
  const seen = `${waiting} requests under way answered; ended in ${most} ms at most; ${slowest(times)}`;
  return { runs, seen };
}

export const faults = [
  {
    name: 'kill', fault: 'kill -9 at a random instant under load',
    checked: 'all invariants, ready again', run: killedUnderLoad,
  },
  {
    name: 'kill-start', fault: 'kill -9, then again in the first 120 ms of the start',
    checked: 'all invariants, ready again', run: killedWhileStarting,
  },
  {
    name: 'sigterm', fault: 'SIGTERM under load',
    checked: 'each is answered, end within 5 s, all invariants', run: endedUnderLoad,
  },
];
