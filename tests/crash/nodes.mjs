// Several `serve` processes of one issuer on one PostgreSQL database, each in a folder of its own, as on
// several machines.

import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Issuer, mayRevoke } from '../stage/issuer.mjs';
import { freePort } from '../stage/ports.mjs';
import { checkKeySet, checkLists, checkRows, checkTrail } from './check.mjs';
import { folder, later } from './cleanup.mjs';
import { Broken } from './ledger.mjs';
import { issuers } from './server.mjs';
import { Watch } from './watch.mjs';

/** The exit code of a process that cannot reach its database, or has lost the lease. */
const UNAVAILABLE = 3;
/** Time in milliseconds after which a process that has ended is started again. */
const START_AGAIN = 1_000;
/** Time in milliseconds for which clients leave out a process that is not reached, or does not answer in time. */
const LEFT_OUT = 1_000;
const LEFT_OUT_LATE = 5_000;
/** Time in milliseconds within which all processes are ready after a fault. */
const READY_LIMIT = 20_000;

/** The processes, as clients see them behind a balancer. It has the methods of `Issuer` that a load needs. */
export class Cluster {
  nodes = [];
  /** Exit codes of processes that ended by themselves. */
  exits = [];
  /** What was wrong meanwhile, a text for each case. */
  found = [];
  /** Milliseconds from the end of each leader to the next one. */
  takeovers = [];
  /** How often the fault was injected. */
  runs = 0;
  #turn = 0;

  /**
   * Starts `count` processes on a new database `name` of a server. `port`: of a pooler in front of it.
   * `patience`: milliseconds after which a client gives a request up.
   */
  static async start(server, ledger, { count = 3, name = 'issuer', port, patience = 30_000 } = {}) {
    const cluster = new Cluster();
    Object.assign(cluster, { server, ledger, name, patience });
    await server.create(name);
    const url = new URL(server.url(name));
    if (port) url.port = port;
    const own = await folder('issuer');
    const first = await Issuer.start({
      change: mayRevoke, folder: own, logFile: join(own, 'log'), log: 'warn', env: { EDGEPASS_DATABASE_URL: url.href },
    });
    cluster.#add(first);
    for (let at = 1; at < count; at += 1) cluster.#add(await another(first));
    await cluster.ready();
    return cluster;
  }

  #add(node) {
    // Each process has a view of its own: what it serves must never become older.
    node.view = Object.assign(this.ledger.copy(), {
      tokens: this.ledger.tokens, places: this.ledger.places, revoked: this.ledger.revoked,
    });
    node.rows = () => this.server.rows(this.name);
    node.leftOutUntil = 0;
    this.nodes.push(node);
    issuers.push(node);
    later(() => {
      node.isDown = true;
      return node.kill();
    });
    this.#supervise(node);
  }

  /** Starts a process again when it ends by itself, as a service manager does. */
  #supervise(node) {
    node.isDown = false;
    const { process } = node;
    node.ended.then(async () => {
      if (node.isDown) return;
      const { exitCode, signalCode } = process;
      this.exits.push(exitCode);
      if (exitCode !== UNAVAILABLE) this.found.push(`serve ended by itself with ${exitCode ?? signalCode}`);
      await sleep(START_AGAIN);
      if (!node.isDown) this.restart(node);
    });
  }

  /** Kills a process. It stays down until [`restart`]. */
  async kill(node) {
    node.isDown = true;
    await node.kill();
  }

  restart(node) {
    node.spawn();
    this.#supervise(node);
  }

  /** The process that leads, or `undefined`. */
  async leader() {
    const text = `SELECT split_part(holder, '-', 1) FROM lease
      WHERE expires_at_ms > extract(epoch FROM clock_timestamp()) * 1000`;
    const pid = Number(await this.server.ask(this.name, text));
    return this.nodes.find(({ process }) => process.pid === pid);
  }

  /** Waits until a process leads whose number is not `pid`. Adds the time since `from` to `takeovers`. */
  async takeover(pid, from) {
    for (; ; await sleep(50)) {
      const leader = await this.leader().catch(() => undefined);
      if (leader && leader.process.pid !== pid) break;
      if (Date.now() - from > READY_LIMIT) throw new Broken(`no other process leads after ${READY_LIMIT} ms`);
    }
    this.takeovers.push(Date.now() - from);
  }

  /** Waits until every process is ready. */
  async ready() {
    const from = Date.now();
    for (const node of this.nodes) {
      while (!await node.isReady()) {
        if (Date.now() - from > READY_LIMIT) {
          const said = (await readFile(node.logFile, 'utf8')).slice(-1_000);
          throw new Broken(`a process is not ready ${READY_LIMIT} ms after the fault: ${said}`);
        }
        await sleep(50);
      }
    }
    return Date.now() - from;
  }

  /** Runs `work` with the next process that clients do not leave out. */
  async #balance(work) {
    let node;
    for (let tries = 0; tries < this.nodes.length; tries += 1) {
      this.#turn += 1;
      node = this.nodes[this.#turn % this.nodes.length];
      if (!node.isDown && node.leftOutUntil < Date.now()) break;
    }
    try {
      return await work(node, { signal: AbortSignal.timeout(this.patience) });
    } catch (error) {
      node.leftOutUntil = Date.now() + (error.name === 'TimeoutError' ? LEFT_OUT_LATE : LEFT_OUT);
      throw error;
    }
  }

  requestToken() {
    return this.#balance((node, options) => node.requestToken(options));
  }

  requestRevocation(jti) {
    return this.#balance((node, options) => node.requestRevocation(jti, options));
  }

  /** Runs a command on the machine of the process whose turn it is. */
  edgepass(...argv) {
    this.#turn += 1;
    return this.nodes[this.#turn % this.nodes.length].edgepass(...argv);
  }

  /** Watches the documents of all processes until `stop()`. */
  watch() {
    return new Watch(this);
  }

  /** Checks the database and what every process serves, and throws what was found before. `watch`: has ended. */
  async check(watch) {
    await this.ready();
    // By then, each process has seen the last acknowledged revocation.
    await sleep(1_000);
    try {
      await this.#check();
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      this.found.unshift(error.message);
    }
    watch?.finish();
    if (this.found.length > 0) throw new Broken(this.found.slice(0, 10).join('\n'));
  }

  async #check() {
    checkRows(await this.server.rows(this.name), this.ledger);
    const damage = await this.server.damage(this.name);
    if (damage) throw new Broken(`pg_amcheck: ${damage}`);
    for (const node of this.nodes) {
      await checkKeySet(node, node.view);
      await checkLists(node, node.view);
    }
    await checkTrail(this.nodes[0]);
  }
}

/** Starts another process of the same issuer, with a folder and an address of its own. */
async function another(first) {
  const own = await folder('issuer');
  const address = `127.0.0.1:${await freePort()}`;
  const node = Object.assign(new Issuer(), {
    program: first.program, folder: own, env: first.env, log: first.log, logFile: join(own, 'log'),
    own: `http://${address}`, url: first.url, secret: first.secret,
  });
  const text = await readFile(join(first.folder, 'edgepass.toml'), 'utf8');
  await writeFile(join(own, 'edgepass.toml'), text.replace(/^listen = .*$/m, `listen = "${address}"`));
  await cp(join(first.folder, 'master.key'), join(own, 'master.key'));
  await node.serve();
  return node;
}
