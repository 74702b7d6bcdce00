// A PostgreSQL server and PgBouncer, which are started, stopped and killed, and the rows of a database.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../stage/ports.mjs';
import { folder, later, run } from './cleanup.mjs';
import { issuers } from './server.mjs';

/** The words before a command. The server refuses to run as root. */
const OTHER_USER = process.getuid() === 0
  ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups'] : ['env'];

/** The folder of the newest server's programs, as Debian installs them, or one of `PATH`. */
function programs() {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((one, other) => other - one) : [];
  const folders = [...versions.map((version) => join(debian, version, 'bin')), ...process.env.PATH.split(':')];
  return folders.find((path) => existsSync(join(path, 'initdb')));
}

const pooler = () => ['/usr/sbin', ...process.env.PATH.split(':')]
  .map((path) => join(path, 'pgbouncer')).find((path) => existsSync(path));

/** What a fault on a server lacks here, or `undefined`. */
export const needsServer = () => (programs() ? undefined : 'no PostgreSQL server: apt-get install postgresql');
export const needsPooler = () => needsServer() ?? (pooler() ? undefined : 'no PgBouncer: apt-get install pgbouncer');

/** Everything that the checks read, in one statement: of one state of the database. */
const ROWS = `SELECT json_build_object(
  'tokens', (SELECT coalesce(json_agg(json_build_object('jwt_id', jwt_id, 'list_id', list_id,
    'list_index', list_index, 'status', status)), '[]') FROM tokens),
  'entries', (SELECT coalesce(json_agg(json_build_object('seq', seq, 'act', leaf::json ->> 'act',
    'jti', leaf::json ->> 'jwt_id') ORDER BY seq), '[]') FROM audit),
  'places', (SELECT coalesce(json_agg(place), '[]') FROM (SELECT list_id, list_index, count(*) AS times
    FROM tokens GROUP BY 1, 2 HAVING count(*) > 1) AS place),
  'keys', (SELECT coalesce(json_agg(json_build_object('key_id', key_id, 'use', use)), '[]') FROM signing_keys))`;

/** A server with a data folder of its own. It ends with the fault. */
export class Server {
  /** Makes the data folder and starts the server. `logs` is the folder of its log and of PgBouncer's. */
  static async start() {
    const server = new Server();
    server.programs = programs();
    server.folder = await folder('postgres');
    server.logs = join(server.folder, 'log');
    await mkdir(server.logs);
    // It is kept with the folders of the issuers.
    issuers.push({ folder: server.logs });
    server.port = await freePort();
    if (process.getuid() === 0) await run('chown', ['-R', 'postgres', server.folder]);
    await server.#program(
      'initdb', `--pgdata=${server.folder}/data`, '--username=postgres', '--auth=trust', '--encoding=UTF8',
      '--no-locale', '--no-sync', '--data-checksums',
    );
    later(() => server.kill());
    await server.up();
    return server;
  }

  #program(name, ...argv) {
    const [first, ...others] = [...OTHER_USER, join(this.programs, name), ...argv];
    return run(first, others, { cwd: this.folder, maxBuffer: 1 << 29 });
  }

  /** Starts the server with settings such as `fsync=off`, and waits until it takes connections. */
  async up(...settings) {
    const log = openSync(join(this.logs, 'postgres.log'), 'a');
    const own = ['listen_addresses=127.0.0.1', `port=${this.port}`, 'max_connections=200', ...settings];
    const argv = [
      '-D', join(this.folder, 'data'), '-k', this.folder, ...own.flatMap((setting) => ['-c', setting]),
    ];
    const [first, ...others] = [...OTHER_USER, join(this.programs, 'postgres'), ...argv];
    this.process = spawn(first, others, { cwd: this.folder, stdio: ['ignore', log, log] });
    this.ended = new Promise((resolve) => { this.process.once('exit', resolve); });
    for (const from = Date.now(); Date.now() - from < 60_000; await sleep(50)) {
      const ready = this.#program('pg_isready', '-q', '-h', '127.0.0.1', '-p', String(this.port));
      if (await ready.then(() => true, () => false)) return;
      if (this.process.exitCode !== null) break;
    }
    throw new Error(`the server does not start: ${readFileSync(join(this.logs, 'postgres.log'), 'utf8').slice(-500)}`);
  }

  /** Ends the server as `pg_ctl stop -m immediate` (`SIGQUIT`) or `-m fast` (`SIGINT`) does. */
  async stop(signal = 'SIGQUIT') {
    this.process.kill(signal);
    await this.ended;
  }

  /** Kills the server and each of its processes with SIGKILL. */
  async kill() {
    // Stopped, it starts no further process meanwhile.
    this.process.kill('SIGSTOP');
    for (const pid of this.pids()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
    await this.ended;
  }

  /** The processes of the server. */
  pids() {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return [];
    const { pid } = this.process;
    let children = '';
    try {
      children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' });
    } catch {
      // It has none yet.
    }
    return [pid, ...children.trim().split(/\s+/).filter(Boolean).map(Number)];
  }

  /** Creates an empty database. */
  async create(name) {
    await this.ask('postgres', `CREATE DATABASE ${name}`);
  }

  /** The URL of a database of the server. */
  url(name) {
    return `postgres://postgres@127.0.0.1:${this.port}/${name}`;
  }

  /** Runs statements. Returns what they return as text: a line for each row. */
  async ask(name, text) {
    const database = `${this.url(name)}?options=-csearch_path%3Dedgepass`;
    const { stdout } = await this.#program('psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', database, '-c', text);
    return stdout.trim();
  }

  /** The rows of an issuer's database, as the checks take them. `change`: is applied, and undone again. */
  async rows(name, change) {
    const text = change ? `BEGIN; ${change}; ${ROWS}; ROLLBACK` : ROWS;
    return { integrity: ['ok'], foreign: 0, ...JSON.parse(await this.ask(name, text)) };
  }

  /** What `pg_amcheck` says about the tables and indexes of a database. Empty: they are sound. */
  async damage(name) {
    const at = ['-h', '127.0.0.1', '-p', String(this.port), '-U', 'postgres'];
    const done = this.#program('pg_amcheck', ...at, '--install-missing', '--heapallindexed', '-d', name);
    return done.then(() => '', (error) => `${error.stdout}${error.stderr}`.trim());
  }

  /** Ends all connections to a database, apart from that of the call. Returns how many. */
  async terminate(name) {
    const text = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
      WHERE datname = '${name}' AND pid <> pg_backend_pid()`;
    return Number(await this.ask(name, text));
  }

  /** Starts PgBouncer in front of the server, in transaction pooling mode. Returns its port. */
  async pooler() {
    const port = await freePort();
    const file = join(this.folder, 'pgbouncer.ini');
    await writeFile(file, [
      '[databases]', `* = host=127.0.0.1 port=${this.port} user=postgres`,
      '[pgbouncer]', 'listen_addr = 127.0.0.1', `listen_port = ${port}`, 'unix_socket_dir =',
      'auth_type = any', 'pool_mode = transaction', 'server_login_retry = 1', 'max_client_conn = 200',
      'default_pool_size = 20', '',
    ].join('\n'));
    const log = openSync(join(this.logs, 'pgbouncer.log'), 'a');
    const [first, ...others] = [...OTHER_USER, pooler(), file];
    const bouncer = spawn(first, others, { cwd: this.folder, stdio: ['ignore', log, log] });
    const ended = new Promise((resolve) => { bouncer.once('exit', resolve); });
    later(() => {
      bouncer.kill('SIGKILL');
      return ended;
    });
    for (const from = Date.now(); Date.now() - from < 10_000; await sleep(50)) {
      const ready = this.#program('pg_isready', '-q', '-h', '127.0.0.1', '-p', String(port));
      if (await ready.then(() => true, () => false)) return port;
    }
    throw new Error('PgBouncer does not start');
  }
}
