// An issuer of its own: `edgepass` in a new folder, with `serve` as a child process.

import { execFile, spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from './ports.mjs';

const run = promisify(execFile);

export class Issuer {
  /**
   * Creates an issuer and starts it. `url(own)` returns its public address, if that differs from the
   * address that it listens on. `init` are further arguments of `edgepass init`. `change(text)` returns
   * the configuration to use. `reports`: whether it has a client `guard` for reports of use, with the secret
   * `guardSecret`. `program` is the command `edgepass`.
   */
  static async start({
    program = process.env.EDGEPASS_PROGRAM, url = (own) => own, init = [], change = (text) => text, env = {},
    folder, log = 'error', logFile, reports = false,
  } = {}) {
    const issuer = new Issuer();
    issuer.program = program;
    issuer.folder = folder ?? await mkdtemp(join(tmpdir(), 'edgepass-'));
    issuer.env = { ...process.env, ...env };
    issuer.log = log;
    issuer.logFile = logFile;
    const address = `127.0.0.1:${await freePort()}`;
    issuer.own = `http://${address}`;
    issuer.url = await url(issuer.own);
    const made = await issuer.edgepass(
      'init', issuer.folder, '--issuer', issuer.url, '--listen', address, '--json', ...init,
    );
    issuer.secret = JSON.parse(made).client_secret;
    const file = join(issuer.folder, 'edgepass.toml');
    await writeFile(file, change(await readFile(file, 'utf8')));
    if (reports) {
      const added = await issuer.edgepass(
        'client', 'add', 'guard', '--role', 'edgepass-guard', '--reports-use-of', 'https://api.example', '--json',
      );
      issuer.guardSecret = JSON.parse(added).client_secret;
    }
    try {
      await issuer.serve();
    } catch (error) {
      await issuer.remove();
      throw error;
    }
    return issuer;
  }

  /** Runs `edgepass`. Throws an error with `code` and `stdout` if the exit code is not 0. */
  async edgepass(...argv) {
    const cwd = argv[0] === 'init' ? undefined : this.folder;
    const { stdout } = await run(this.program, argv, { cwd, env: this.env, maxBuffer: 1 << 26 });
    return stdout;
  }

  /** Starts `serve`. */
  spawn() {
    const stderr = this.logFile ? openSync(this.logFile, 'a') : this.log === 'warn' ? 'inherit' : 'ignore';
    // With SIGXFSZ ignored, a write beyond the size limit fails, much as on a full disk.
    this.process = spawn('sh', ['-c', 'trap "" XFSZ; exec "$0" serve', this.program], {
      cwd: this.folder, env: { ...this.env, EDGEPASS_LOG: this.log }, stdio: ['ignore', 'ignore', stderr],
    });
    this.ended = new Promise((resolve) => { this.process.once('exit', resolve); });
  }

  /** Starts `serve` and waits until it is ready. */
  async serve() {
    this.spawn();
    for (const from = Date.now(); Date.now() - from < 20_000; await setTimeout(10)) {
      if (await this.isReady()) return;
      if (this.process.exitCode !== null) throw new Error(`the issuer ended with exit code ${this.process.exitCode}`);
    }
    throw new Error('the issuer was not ready within 20 s');
  }

  isReady() {
    return fetch(`${this.own}/readyz`).then(({ ok }) => ok, () => false);
  }

  /** Stops the issuer's files from growing (`on`), or lets them grow again. */
  async limit(on) {
    const { size } = await stat(join(this.folder, 'data', 'edgepass.db-wal'));
    await run('prlimit', ['--pid', this.process.pid, `--fsize=${on ? size : 'unlimited'}:`]);
  }

  /** Kills the issuer with SIGKILL. Resolves when it has ended. */
  kill() {
    this.process.kill('SIGKILL');
    return this.ended;
  }

  /** Kills the issuer and removes its folder. */
  async remove() {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }

  get #basic() {
    return `Basic ${Buffer.from(`example-service:${this.secret}`).toString('base64')}`;
  }

  /** Requests a token over HTTP. Returns the response. `options` are further ones of `fetch`. */
  requestToken(options = {}) {
    return fetch(`${this.own}/oauth/token`, {
      ...options, method: 'POST', headers: { authorization: this.#basic },
      body: new URLSearchParams({ grant_type: 'client_credentials' }),
    });
  }

  /** Requests a token over HTTP. Returns it with its `jti` and the URI of its list. */
  async token() {
    const response = await this.requestToken();
    if (!response.ok) throw new Error(`no token: ${response.status} ${await response.text()}`);
    const { access_token: token } = await response.json();
    const { jti, status } = claims(token);
    return { token, jti, list: status.status_list.uri };
  }

  /** Requests tokens until `count` are of one list: a window may end between two of them. */
  async tokensOfOneList(count) {
    const lists = new Map();
    for (;;) {
      const token = await this.token();
      const tokens = lists.get(token.list) ?? [];
      tokens.push(token);
      if (tokens.length === count) return tokens;
      lists.set(token.list, tokens);
    }
  }

  /** Requests the revocation of a token over HTTP. As [`requestToken`]. */
  requestRevocation(jti, options = {}) {
    return fetch(`${this.own}/status-acts`, {
      ...options, method: 'POST', headers: { authorization: this.#basic, 'content-type': 'application/json' },
      body: JSON.stringify({ act: 'revoke', jwt_ids: [jti], reason: 'test' }),
    });
  }

  /** Revokes a token. `true`: every target shows it. `false`: it may be recorded, but no more. */
  async revoke(jti) {
    const response = await this.requestRevocation(jti).catch(() => undefined);
    await response?.text();
    return response?.ok ?? false;
  }
}

/** Changes a configuration so that the example client may revoke tokens over HTTP. */
export const mayRevoke = (text) => (
  text.replace('id = "example-service"', 'id = "example-service"\nmay = ["revoke"]'));

/** The claims of a JWS. */
export const claims = (jws) => JSON.parse(Buffer.from(jws.split('.')[1], 'base64url'));
