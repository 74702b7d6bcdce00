// How many tokens one, two and three processes issue on one server, and which program the processor works for.

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Ledger } from './ledger.mjs';
import { Cluster } from './nodes.mjs';
import { needsServer, Server } from './postgres.mjs';
import { ask, mustSucceed } from './server.mjs';

/** Connections to each process. Each requests a token when it has received one. */
const CONNECTIONS = 16;
const WARM_UP = 1_000;
const MEASURED = 5_000;
/** Ticks of Linux in a second, in which it counts the time of processors. */
const TICKS = 100;

/** Seconds of processor time that processes have used. `ended`: with that of children that have ended. */
function used(pids, { ended = false } = {}) {
  return pids.reduce((sum, pid) => {
    let text;
    try {
      text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    } catch {
      return sum;
    }
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ').slice(11, ended ? 15 : 13);
    return sum + fields.reduce((all, one) => all + Number(one), 0) / TICKS;
  }, 0);
}

/** Seconds for which the processors had nothing to do. */
const idle = () => Number(readFileSync('/proc/stat', 'utf8').split('\n')[0].trim().split(/\s+/)[4]) / TICKS;

async function measured(server, count) {
  const cluster = await Cluster.start(server, new Ledger(), { count, name: `issuer${count}` });
  let [tokens, stopped] = [0, false];
  const client = async (node) => {
    while (!stopped) {
      mustSucceed('a token', await ask(node, cluster.ledger));
      tokens += 1;
    }
  };
  const clients = Promise.all(cluster.nodes.flatMap((node) => Array.from({ length: CONNECTIONS }, () => client(node))));
  clients.catch(() => {});
  await sleep(WARM_UP);
  const state = () => ({
    at: performance.now(), tokens, issuer: used(cluster.nodes.map(({ process: { pid } }) => pid)),
    database: used(server.pids(), { ended: true }), idle: idle(),
    clients: Object.values(process.cpuUsage()).reduce((sum, one) => sum + one / 1e6, 0),
  });
  const before = state();
  await sleep(MEASURED);
  const after = state();
  stopped = true;
  await clients;
  await cluster.check();
  for (const node of cluster.nodes) await cluster.kill(node);
  const seconds = (after.at - before.at) / 1_000;
  const rate = Math.round((after.tokens - before.tokens) / seconds);
  const shown = ['issuer', 'database', 'clients', 'idle']
    .map((what) => `${what} ${((after[what] - before[what]) / seconds).toFixed(2)}`).join(', ');
  return `${count}: ${rate} tokens/s (processors: ${shown})`;
}

async function throughput() {
  const server = await Server.start();
  const seen = [];
  for (const count of [1, 2, 3]) seen.push(await measured(server, count));
  return { runs: 3, seen: seen.join('; ') };
}

export const faults = [
  {
    name: 'throughput', fault: 'none: 1, 2 and 3 processes with 16 connections each for 5 s',
    checked: 'all invariants', needs: needsServer, run: throughput,
  },
];
