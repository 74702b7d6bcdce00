// An issuer, guards in workerd and what lies between them, as processes that can be hurt.

import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Log, LogLevel, Miniflare, convertV4MiniflareOptions } from 'miniflare';

const { EDGEPASS_GUARD: build, EDGEPASS_PROGRAM: program } = process.env;
const run = promisify(execFile);
export const METRICS = 'the-secret-that-opens-the-counters';

/** An issuer in a folder of its own, seen by the public through a proxy that can be told to fail. */
export class Issuer {
  static async start(t, change = (text) => text, env = {}) {
    const issuer = new Issuer();
    issuer.folder = await mkdtemp(join(tmpdir(), 'edgepass-'));
    issuer.env = { ...process.env, ...env };
    const port = await freePort();
    issuer.own = `http://127.0.0.1:${port}`;
    issuer.proxy = new Proxy_(issuer.own);
    issuer.url = await issuer.proxy.listen();
    const made = await issuer.edgepass(
      'init', '.', '--issuer', issuer.url, '--listen', `127.0.0.1:${port}`, '--json',
    );
    issuer.secret = JSON.parse(made).client_secret;
    const file = join(issuer.folder, 'edgepass.toml');
    const text = (await readFile(file, 'utf8'))
      .replace('id = "example-service"', 'id = "example-service"\nmay = ["revoke"]');
    await writeFile(file, change(text));
    t.after(async () => {
      issuer.kill();
      issuer.proxy.close();
      await rm(issuer.folder, { recursive: true, force: true });
    });
    await issuer.serve();
    return issuer;
  }

  /** Run `edgepass`; rejects on another exit code than 0, with `code` and `stdout`. */
  async edgepass(...argv) {
    const { stdout } = await run(program, argv, {
      cwd: this.folder, env: this.env, maxBuffer: 1 << 26,
    });
    return stdout;
  }

  async serve() {
    // With SIGXFSZ ignored a file that may not grow is an error of a write, much as on a full disk.
    this.process = spawn('sh', ['-c', 'trap "" XFSZ; exec "$0" serve', program], {
      cwd: this.folder, env: { ...this.env, EDGEPASS_LOG: 'error' }, stdio: ['ignore', 'ignore', 'ignore'],
    });
    for (let tries = 0; tries < 500 && !(await this.isReady()); tries += 1) await setTimeout(10);
    if (!(await this.isReady())) throw new Error('the issuer is not ready');
  }

  isReady() {
    return fetch(`${this.own}/readyz`).then(({ ok }) => ok, () => false);
  }

  /** Let its files grow no more, or again. */
  async limit(on) {
    const { size } = await stat(join(this.folder, 'data', 'edgepass.db-wal'));
    await run('prlimit', ['--pid', this.process.pid, `--fsize=${on ? size : 'unlimited'}:`]);
  }

  /** Without warning. */
  kill() {
    this.process.kill('SIGKILL');
  }

  get #basic() {
    return `Basic ${Buffer.from(`example-service:${this.secret}`).toString('base64')}`;
  }

  /** A token over HTTP, its `jti`, and the URI of its list. */
  async token() {
    const response = await fetch(`${this.own}/oauth/token`, {
      method: 'POST', headers: { authorization: this.#basic },
      body: new URLSearchParams({ grant_type: 'client_credentials' }),
    });
    if (!response.ok) throw new Error(`no token: ${response.status} ${await response.text()}`);
    const { access_token: token } = await response.json();
    const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
    return { token, jti: claims.jti, list: claims.status.status_list.uri };
  }

  /** So many tokens of one list: a window may end between two of them. */
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

  /** True once every target shows it; false when it is recorded at most. */
  async revoke(jti) {
    const response = await fetch(`${this.own}/status-acts`, {
      method: 'POST', headers: { authorization: this.#basic, 'content-type': 'application/json' },
      body: JSON.stringify({ act: 'revoke', jwt_ids: [jti], reason: 'test' }),
    }).catch(() => undefined);
    await response?.text();
    return response?.ok ?? false;
  }
}

/** What lies between the public and a server: it passes on, or fails as it is told. */
class Proxy_ {
  /** By path: what answers have been seen, the oldest first. */
  seen = new Map();
  /** `(request) => reply` answers instead of the server; `null` destroys the connection, `'silence'`
   * never answers. */
  refuse = () => undefined;
  /** `(request, reply) => reply` changes what the server answered; `null` loses it. */
  fault = (_, reply) => reply;
  requests = 0;

  constructor(target) {
    this.target = target;
  }

  listen() {
    this.server = createServer((incoming, outgoing) => this.#pass(incoming, outgoing));
    return new Promise((resolve) => {
      this.server.listen(0, '127.0.0.1', () => {
        resolve(`http://127.0.0.1:${this.server.address().port}`);
      });
    });
  }

  close() {
    this.server.close();
    this.server.closeAllConnections();
  }

  /** Nothing gets through. */
  down() {
    this.refuse = () => null;
    this.server.closeAllConnections();
  }

  up() {
    this.refuse = () => undefined;
    this.fault = (_, reply) => reply;
  }

  #pass(incoming, outgoing) {
    this.requests += 1;
    const chunks = [];
    incoming.on('data', (chunk) => chunks.push(chunk));
    incoming.on('error', () => outgoing.destroy());
    incoming.on('end', () => {
      const refused = this.refuse(incoming);
      if (refused === null) return outgoing.destroy();
      if (refused === 'silence') return undefined;
      if (refused) return outgoing.writeHead(refused.status).end(refused.body);
      const onward = request(this.target + incoming.url, {
        method: incoming.method, headers: incoming.headers, agent: false,
      }, (answer) => {
        const body = [];
        answer.on('data', (chunk) => body.push(chunk));
        answer.on('end', () => {
          const { statusCode: status, headers } = answer;
          const reply = { status, headers, body: Buffer.concat(body) };
          if (status === 200 && incoming.method === 'GET') {
            const before = this.seen.get(incoming.url) ?? [];
            if (before.at(-1)?.headers.etag !== headers.etag) before.push(reply);
            this.seen.set(incoming.url, before);
          }
          const told = this.fault(incoming, reply);
          if (told === null) return outgoing.destroy();
          const { connection, 'transfer-encoding': coding, ...kept } = told.headers;
          outgoing.writeHead(told.status, { ...kept, 'content-length': told.body.length });
          return outgoing.end(told.body);
        });
      });
      onward.on('error', () => outgoing.destroy());
      return onward.end(Buffer.concat(chunks));
    });
  }
}

export { Proxy_ as Proxy };

/** The guard's module behind one that sets its clock apart from the machine's. */
const SHIFTED = `
  import guard from './index.js';
  const real = Date.now;
  let shift = 0;
  Date.now = () => real() + shift;
  export default {
    fetch(request, env, context) {
      const { pathname, searchParams } = new URL(request.url);
      if (pathname !== '/.test/clock') return guard.fetch(request, env, context);
      shift = Number(searchParams.get('by'));
      return new Response(null);
    },
  };`;

/** Guards in workerd, each a process of its own, before an origin that says yes. */
export async function guards(t, issuer, count) {
  const origin = createServer((_, response) => response.end('{}'));
  await new Promise((resolve) => { origin.listen(0, '127.0.0.1', resolve); });
  t.after(() => { origin.close(); origin.closeAllConnections(); });
  return Promise.all(Array.from({ length: count }, () => guard(t, issuer, origin.address().port)));
}

async function guard(t, issuer, origin) {
  const miniflare = new Miniflare(convertV4MiniflareOptions({
    host: '127.0.0.1', port: 0, cf: false, log: new Log(LogLevel.NONE),
    handleStructuredLogs: () => {},
    workers: [{
      name: 'guard', compatibilityDate: '2026-10-01', modulesRoot: build,
      modules: [
        { type: 'ESModule', path: `${build}/shifted.js`, contents: SHIFTED },
        { type: 'ESModule', path: `${build}/index.js` },
        { type: 'CompiledWasm', path: `${build}/index_bg.wasm` },
      ],
      bindings: {
        ISSUER: issuer.url, AUDIENCE: 'https://api.example', CACHE: 'none',
        ORIGIN_URL: `http://127.0.0.1:${origin}`, METRICS_TOKEN: METRICS,
      },
      unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
    }],
  }));
  t.after(() => miniflare.dispose());
  await miniflare.ready;
  const url = (await miniflare.unsafeGetDirectURL('guard')).origin;
  return {
    /** Status, and the code of a refusal. */
    async call(token) {
      const response = await fetch(`${url}/invoices`, {
        headers: { authorization: `Bearer ${token}` },
      });
      const text = await response.text();
      return response.ok ? '200' : JSON.parse(text).code;
    },
    /** Set the guard's clock apart, in milliseconds. */
    shift: (by) => fetch(`${url}/.test/clock?by=${by}`),
    /** One of its counters. */
    async counter(line) {
      const response = await fetch(`${url}/.edgepass/metrics`, {
        headers: { authorization: `Bearer ${METRICS}` },
      });
      const found = (await response.text()).split('\n').find((one) => one.startsWith(line));
      if (!found) throw new Error(`no counter is named ${line}`);
      return Number(found.split(' ').at(-1));
    },
  };
}

let drawn = process.pid;

/**
 * A port to listen at, and to come back to after a restart. It is below those that outgoing
 * connections are given: one of them could take it while nobody listens.
 */
export async function freePort() {
  for (let tries = 0; tries < 100; tries += 1) {
    drawn += 61;
    const port = 12_000 + (drawn % 10_000);
    const server = createServer();
    const listens = await new Promise((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!listens) continue;
    await new Promise((resolve) => { server.close(resolve); });
    return port;
  }
  throw new Error('no port between 12,000 and 22,000 can be listened at');
}

export const random = () => randomBytes(8).toString('hex');
