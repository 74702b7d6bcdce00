// Several processes on one PostgreSQL database: they are killed or stopped, and so is their database.

import { setTimeout as sleep } from 'node:timers/promises';
import { faults as control } from './cluster-control.mjs';
import { Broken, Ledger } from './ledger.mjs';
import { load } from './load.mjs';
import { Cluster } from './nodes.mjs';
import { needsPooler, needsServer, Server } from './postgres.mjs';
import { endsWithin } from './server.mjs';
import { faults as throughput } from './throughput.mjs';

/** Time in milliseconds between two kills of a process, and until it is started again. */
const KILL_PAUSE = 2_000;
const DOWN = 1_000;
/** Time in milliseconds for which the leader is stopped: twice its lease. */
const HANG = 6_000;
/** The revocation deadline of the configuration, in milliseconds. */
const DEADLINE = 10_000;

/** A server with three processes. `isPooled`: behind PgBouncer. */
async function start({ isPooled = false, ...options } = {}) {
  const server = await Server.start();
  const port = isPooled ? await server.pooler() : undefined;
  const ledger = new Ledger();
  return { server, ledger, cluster: await Cluster.start(server, ledger, { port, ...options }) };
}

/** Runs `disturb` under load, then all checks. Returns what was seen. */
async function underLoad(cluster, ledger, disturb) {
  const watch = cluster.watch();
  const clients = load(cluster, ledger);
  await sleep(500);
  let seen;
  try {
    await disturb();
    await cluster.ready();
    await sleep(500);
  } finally {
    seen = await clients.stop();
    await watch.stop();
  }
  const text = said(cluster, { seen, watch });
  try {
    await cluster.check(watch);
  } catch (error) {
    throw Object.assign(error, { seen: text, runs: cluster.runs });
  }
  return text;
}

/** What was seen, as the table shows it. */
function said({ exits, takeovers }, { seen, watch }) {
  const late = (most) => (most > DEADLINE ? ` (the deadline of ${DEADLINE} ms is missed)` : '');
  const parts = [
    `${seen.tokens} tokens and ${seen.revocations} revocations acknowledged`,
    `${seen.unavailable} requests refused with 503, ${seen.unanswered} cut off`,
    `${watch.documents} lists compared`,
  ];
  const most = Math.max(...takeovers);
  if (takeovers.length > 0) parts.push(`another process leads in ${most} ms at most${late(most)}`);
  const { longest, longestIssue } = watch;
  parts.push(`a token takes ${longestIssue} ms at most, a revocation ${longest} ms${late(longest)}`);
  const codes = [...new Set(exits)].join(', ');
  if (exits.length > 0) parts.push(`${exits.length} times a process ended by itself with exit code ${codes}`);
  return parts.join('; ');
}

/** Kills a process, and starts it again. Returns whether it led. */
async function killOne(cluster, node) {
  const isLeading = await cluster.leader() === node;
  const { pid } = node.process;
  await cluster.kill(node);
  const from = Date.now();
  const taken = isLeading ? cluster.takeover(pid, from) : undefined;
  taken?.catch(() => {});
  await sleep(DOWN);
  cluster.restart(node);
  await sleep(KILL_PAUSE - DOWN);
  await taken;
  return isLeading;
}

async function killed({ seconds, ...options }) {
  const { cluster, ledger } = await start(options);
  let [inTurn, most] = [0, 0];
  const seen = await underLoad(cluster, ledger, async () => {
    for (const from = Date.now(); Date.now() - from < seconds * 1_000; cluster.runs += 1) {
      const hasLed = await killOne(cluster, cluster.nodes[Math.floor(Math.random() * cluster.nodes.length)]);
      inTurn = hasLed ? inTurn + 1 : 0;
      most = Math.max(most, inTurn);
    }
  });
  return { runs: cluster.runs, seen: `${most} leaders killed in turn at most; ${seen}` };
}

/** Stops a process for some time: the leader, or one that follows. */
async function hanging({ runs, isLeader = true, ...options }) {
  const { cluster, ledger } = await start({ patience: 1_500, ...options });
  const seen = await underLoad(cluster, ledger, async () => {
    for (; cluster.runs < runs; cluster.runs += 1) {
      const leader = await cluster.leader();
      if (!leader) throw new Broken('no process leads');
      const node = isLeader ? leader : cluster.nodes.find((one) => one !== leader);
      const { process, ended } = node;
      process.kill('SIGSTOP');
      const from = Date.now();
      if (isLeader) await cluster.takeover(process.pid, from);
      await sleep(HANG - (Date.now() - from));
      process.kill('SIGCONT');
      if (isLeader) await mustGiveUp({ process, ended });
      await sleep(2_000);
      await cluster.ready();
    }
  });
  return { runs, seen };
}

/** Throws [`Broken`] unless a process that has lost the lease ends. */
async function mustGiveUp({ process, ended }) {
  if (!await endsWithin({ process, ended }, 5_000)) throw new Broken('it runs on after it has lost the lease');
  if (process.exitCode !== 3) throw new Broken(`after it has lost the lease, it ends with ${process.exitCode}`);
}

async function terminated(options) {
  const { server, cluster, ledger } = await start(options);
  let connections = 0;
  const seen = await underLoad(cluster, ledger, async () => {
    for (; cluster.runs < options.rounds; cluster.runs += 1) {
      connections += await server.terminate(cluster.name);
      await sleep(1_000);
    }
  });
  return { runs: options.rounds, seen: `${connections} connections ended; ${seen}` };
}

/** Ends the server by `end` three times, and starts it again. */
async function restarted(end, options) {
  const { server, cluster, ledger } = await start(options);
  const times = [];
  const seen = await underLoad(cluster, ledger, async () => {
    for (; cluster.runs < 3; cluster.runs += 1) {
      await end(server);
      await server.up();
      const from = Date.now();
      await cluster.ready();
      times.push(Date.now() - from);
      await sleep(3_000);
    }
  });
  const ready = `all processes ready ${Math.max(...times)} ms after the server at most`;
  return { runs: 3, seen: `${ready}; ${seen}` };
}

const checked = 'all invariants, in every process';
const isPooled = true;

export const faults = [
  ...control,
  {
    name: 'cluster-kill', fault: 'one of three processes killed with -9 every 2 s under load', checked,
    needs: needsServer, run: ({ seconds }) => killed({ seconds }),
  },
  {
    name: 'cluster-hang', fault: 'the leader stopped for 6 s by SIGSTOP under load',
    checked: `exit code 3, nothing published by it, ${checked}`, needs: needsServer,
    run: ({ seconds }) => hanging({ runs: Math.max(1, Math.round(seconds / 40)) }),
  },
  {
    name: 'cluster-hang-other', fault: 'a process that does not lead stopped for 6 s by SIGSTOP', checked,
    needs: needsServer, run: () => hanging({ runs: 1, isLeader: false }),
  },
  {
    name: 'cluster-backends', fault: 'every connection ended by `pg_terminate_backend` each second', checked,
    needs: needsServer, run: () => terminated({ rounds: 10 }),
  },
  {
    name: 'cluster-restart', fault: 'the server restarted as by `pg_ctl restart -m immediate`', checked,
    needs: needsServer, run: () => restarted((server) => server.stop()),
  },
  {
    name: 'cluster-server-kill', fault: 'kill -9 of every process of the server under load', checked,
    needs: needsServer, run: () => restarted((server) => server.kill()),
  },
  {
    name: 'pooled-kill', fault: 'through PgBouncer: one of three processes killed every 2 s', checked,
    needs: needsPooler, run: ({ seconds }) => killed({ seconds: Math.min(seconds, 20), isPooled }),
  },
  {
    name: 'pooled-backends', fault: 'through PgBouncer: every connection to the server ended each second', checked,
    needs: needsPooler, run: () => terminated({ rounds: 5, isPooled }),
  },
  {
    name: 'pooled-restart', fault: 'through PgBouncer: the server restarted', checked,
    needs: needsPooler, run: () => restarted((server) => server.stop(), { isPooled }),
  },
  {
    name: 'pooled-hang', fault: 'through PgBouncer: the leader stopped for 6 s',
    checked: `exit code 3, nothing published by it, ${checked}`, needs: needsPooler,
    run: () => hanging({ runs: 1, isPooled }),
  },
  ...throughput,
];
