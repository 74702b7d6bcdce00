// Clients that mean no good, beside clients that do: how long a good one waits, and what the others get.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { check } from './check.mjs';
import { later } from './cleanup.mjs';
import { Broken, Ledger } from './ledger.mjs';
import { ask, mustSucceed, newIssuer } from './server.mjs';

/** Token requests of the good clients in one measurement. */
const REQUESTS = 400;
/** The longest p99 in milliseconds: far above what is aimed at, since the machine may be busy. */
const LIMIT = 1_000;
/** Time in milliseconds for which the others are at work before good clients ask. */
const WARM = 1_000;

/** The p99 in milliseconds of good clients, four at once. */
async function p99(issuer, ledger) {
  const took = [];
  await Promise.all(Array.from({ length: 4 }, async () => {
    while (took.length < REQUESTS) {
      const outcome = await ask(issuer, ledger);
      mustSucceed('a good client', outcome);
      took.push(outcome.took);
    }
  }));
  return took.sort((a, b) => a - b)[Math.floor(took.length * 0.99)];
}

/** Starts the others. Returns how many connections they have, and `stop()`, which returns their answers. */
async function attack(kind, issuer) {
  const program = new URL('attack.mjs', import.meta.url).pathname;
  const port = new URL(issuer.own).port;
  // Where the limit of open files is lower, fewer connections come together.
  const others = spawn('sh', ['-c', 'ulimit -n 12000 2>/dev/null; exec "$0" "$@"', process.execPath, program, kind, port], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  later(() => others.kill('SIGKILL'));
  const lines = createInterface({ input: others.stdout })[Symbol.asyncIterator]();
  const line = async () => JSON.parse((await lines.next()).value);
  const { connections } = await line();
  await sleep(WARM);
  return {
    connections,
    async stop() {
      others.stdin.end();
      return (await line()).answers;
    },
  };
}

/** `expected` are the statuses that the others may get; `must` is one that they must get. */
async function beside(kind, expected, must) {
  // On loopback, where a proxy may be in front, only a limit that is written holds. The others have another address.
  const change = (text) => `${text}\n[limits]\nfailures_per_address = 120\n`;
  const [issuer, ledger] = [await newIssuer({ change }), new Ledger()];
  const alone = await p99(issuer, ledger);
  const others = await attack(kind, issuer);
  const from = Date.now();
  const attacked = await p99(issuer, ledger);
  const seconds = (Date.now() - from) / 1000;
  const { closed = 0, ...answers } = await others.stop();
  const statuses = Object.keys(answers);
  const other = statuses.find((status) => !expected.includes(status));
  if (other || (must && !answers[must])) {
    throw new Broken(`the others are answered with ${JSON.stringify(answers)}`);
  }
  if (attacked > LIMIT) throw new Broken(`a good client waits ${attacked} ms at p99, ${alone} ms without the others`);
  await check(issuer, ledger);
  const said = statuses.map((status) => `${answers[status]} times ${status}`);
  const got = [...said, closed > 0 && `${closed} connections ended`].filter(Boolean).join(', ') || 'nothing';
  return { runs: 1, seen: `${others.connections} connections; good clients' p99 ${attacked} ms, alone ${alone} ms; the others in ${seconds.toFixed(1)} s: ${got}` };
}

const fault = (name, what, expected, must) => ({
  name, fault: what, checked: `good clients are served, the others get ${expected.join(' or ') || 'nothing'}`,
  run: () => beside(name, expected, must),
});

export const faults = [
  fault('idle', '10,000 connections that send nothing', []),
  fault('slow-header', '1,000 connections that send an octet of a header each second', []),
  fault('slow-body', '500 connections that send an octet of a body each second', ['408', '503']),
  fault('endless-header', 'headers without end, on 20 connections at once', ['431'], '431'),
  fault('huge-body', 'bodies of 100 MB, on 20 connections at once', ['413'], '413'),
  fault('wrong-secret', 'wrong secrets as fast as 50 connections take them', ['401', '429'], '429'),
];
