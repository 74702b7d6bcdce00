// Runs each example against an issuer, on the runtime that it is for. The examples use the packed
// package as their users would install it.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { after, before } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { launch } from '../hosts/browser.mjs';
import { serveFolder } from '../stage/files.mjs';
import { Issuer, mayRevoke } from '../stage/issuer.mjs';
import { freePort, listen } from '../stage/ports.mjs';
import { startWorkers } from '../stage/workerd.mjs';

const run = promisify(execFile);
const { EDGEPASS_INSTALLED: installed, EDGEPASS_DENO: deno, EDGEPASS_AXUM: axum } = process.env;
const root = fileURLToPath(new URL('../..', import.meta.url));
const AUDIENCE = 'https://api.example';

let issuer;
/** A copy of the examples, with the packages that each depends on. */
let examples;

before(async () => {
  issuer = await Issuer.start({ change: mayRevoke });
  examples = mkdtempSync(join(root, 'target', 'examples-'));
  // An nginx that root starts runs its workers as another user.
  chmodSync(examples, 0o755);
  cpSync(join(root, 'examples'), examples, { recursive: true });
  for (const name of readdirSync(examples)) {
    if (!readdirSync(join(root, 'examples')).includes(name) || name.includes('.')) continue;
    const modules = join(examples, name, 'node_modules');
    mkdirSync(modules);
    symlinkSync(join(installed, 'node_modules/edgepass'), join(modules, 'edgepass'));
    symlinkSync(join(root, 'node_modules/hono'), join(modules, 'hono'));
  }
});

after(async () => {
  await issuer?.remove();
  if (examples) rmSync(examples, { recursive: true });
});

/** Calls an API at `url`. Returns its status, and its body as JSON. */
async function call(url, token, method = 'GET') {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const response = await fetch(new URL('/invoices', url), { method, headers });
  return [response.status, await response.json()];
}

/** Checks what all servers of the examples have in common, revocation included. */
async function isGuarded(url) {
  const { token, jti } = await issuer.token();
  assert.deepEqual(await call(url, token), [200, { client: 'example-service', invoices: [{ id: 1 }] }]);
  const [status, { code }] = await call(url);
  assert.deepEqual([status, code], [401, 'token_missing']);
  assert.ok(await issuer.revoke(jti));
  const from = Date.now();
  for (;;) {
    const [, answer] = await call(url, token);
    const took = Date.now() - from;
    if (answer.code) {
      assert.equal(answer.code, 'token_revoked');
      break;
    }
    assert.ok(took < 10_000, `accepted ${took} ms after its revocation`);
    await setTimeout(100);
  }
}

/** Bundles a Worker with wrangler and starts the bundle in workerd. Returns its URL. */
async function deployed(t, name) {
  const folder = join(examples, name);
  await run(join(root, 'node_modules/.bin/wrangler'), ['deploy', '--dry-run', '--outdir', 'bundle'], {
    cwd: folder, env: { ...process.env, WRANGLER_SEND_METRICS: 'false' },
  });
  const bundle = join(folder, 'bundle');
  const wasm = readdirSync(bundle).filter((file) => file.endsWith('.wasm'));
  const modules = [
    { type: 'ESModule', path: join(bundle, 'index.js') },
    ...wasm.map((file) => ({ type: 'CompiledWasm', path: join(bundle, file) })),
  ];
  const { url, stop } = await startWorkers([{
    name, modulesRoot: bundle, modules, bindings: { ISSUER: issuer.url, AUDIENCE },
  }]);
  t.after(stop);
  return url;
}

/** Starts a server that prints its URL. Returns the URL. */
async function started(t, program, argv, name) {
  const env = { ...process.env, ISSUER: issuer.url, AUDIENCE, PORT: '0', NO_COLOR: '1' };
  const server = spawn(program, argv, {
    cwd: join(examples, name), env, stdio: ['ignore', 'pipe', 'pipe'], detached: true,
  });
  // The whole group: the program may be a wrapper.
  t.after(() => process.kill(-server.pid, 'SIGKILL'));
  let output = '';
  for (const stream of [server.stdout, server.stderr]) {
    const line = new Promise((resolve) => {
      createInterface({ input: stream }).on('line', (text) => {
        output += `${text}\n`;
        const url = /http:\/\/127\.0\.0\.1:\d+/.exec(text);
        if (url) resolve(url[0]);
      });
    });
    stream.url = line;
  }
  const ended = new Promise((resolve) => { server.once('exit', () => resolve(undefined)); });
  const url = await Promise.race([server.stdout.url, server.stderr.url, ended]);
  assert.ok(url, `${name} ended: ${output}`);
  return url;
}

test('worker', { timeout: 120_000 }, async (t) => {
  await isGuarded(await deployed(t, 'worker'));
});

test('worker-hono', { timeout: 120_000 }, async (t) => {
  const url = await deployed(t, 'worker-hono');
  assert.equal((await fetch(new URL('/health', url))).status, 200);
  const { token } = await issuer.token();
  const [status, { code }] = await call(url, token, 'POST');
  assert.deepEqual([status, code], [403, 'scope_insufficient']);
  await isGuarded(url);
});

test('node', { timeout: 60_000 }, async (t) => {
  const url = await started(t, process.execPath, ['server.js'], 'node');
  const raw = (text) => new Promise((resolve, reject) => {
    const socket = connect(new URL(url).port, '127.0.0.1', () => socket.end(text));
    let answer = '';
    socket.setEncoding('utf8').on('data', (data) => { answer += data; }).on('end', () => resolve(answer));
    socket.on('error', reject);
  });
  // Requests that the Fetch API cannot represent must not end the process.
  for (const line of ['TRACE / HTTP/1.1', 'GET // HTTP/1.1', 'GET http://[ HTTP/1.1']) {
    assert.match(await raw(`${line}\r\nHost: x\r\nConnection: close\r\n\r\n`), /^HTTP\/1.1 40[01] /, line);
  }
  const two = 'Authorization: Bearer a.b.c\r\nAuthorization: Bearer d.e.f\r\n';
  assert.match(await raw(`GET /invoices HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${two}\r\n`), /request_invalid/);
  await isGuarded(url);
});

test('axum', { timeout: 60_000 }, async (t) => {
  const url = await started(t, axum, [], 'axum');
  const { token } = await issuer.token();
  const answers = await Promise.all(Array.from({ length: 50 }, () => call(url, token)));
  assert.ok(answers.every(([status]) => status === 200), JSON.stringify(answers));
  const twice = await new Promise((resolve, reject) => {
    const socket = connect(new URL(url).port, '127.0.0.1', () => socket.write(
      `GET /invoices HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ${token}\r\nAuthorization: Bearer \xff\r\n\r\n`, 'latin1',
    ));
    let answer = '';
    socket.setEncoding('utf8').on('data', (data) => { answer += data; }).on('end', () => resolve(answer)).on('error', reject);
  });
  assert.match(twice, /^HTTP\/1.1 400 .*request_invalid/s);
  assert.match(twice, /www-authenticate: Bearer realm="edgepass"/);
  await isGuarded(url);
});

test('deno', { timeout: 60_000 }, async (t) => {
  const { start } = JSON.parse(readFileSync(join(examples, 'deno/deno.json'), 'utf8')).tasks;
  const [, ...argv] = start.split(' ');
  await isGuarded(await started(t, deno, argv, 'deno'));
  await run(deno, ['check', 'main.ts'], { cwd: join(examples, 'deno') });
});

test('browser', { timeout: 60_000 }, async (t) => {
  const server = createServer(serveFolder(join(examples, 'browser')));
  const url = await listen(server);
  t.after(() => server.close());
  const browser = await launch();
  t.after(() => browser.close());
  const { token, jti } = await issuer.token();
  const verified = async () => {
    const page = await browser.newPage();
    await page.goto(url);
    await page.fill('[name=issuer]', issuer.url);
    await page.fill('[name=audience]', AUDIENCE);
    await page.fill('[name=token]', token);
    await page.click('button');
    await page.waitForFunction(() => document.querySelector('output').value !== '');
    return page.inputValue('output').catch(() => page.textContent('output'));
  };
  assert.match(await verified(), /^valid until /);
  assert.ok(await issuer.revoke(jti));
  await setTimeout(1_500);
  assert.match(await verified(), /^refused: token_revoked/);
});

test('nginx', { timeout: 60_000 }, async (t) => {
  const folder = join(examples, 'nginx');
  const port = await freePort();
  const behind = await Issuer.start({
    url: () => `http://127.0.0.1:${port}`,
    change: (text) => mayRevoke(text).replace('shared_max_age = "1s"', 'shared_max_age = "2s"'),
  });
  t.after(() => behind.remove());
  const example = readFileSync(join(folder, 'nginx.conf'), 'utf8')
    .replaceAll('127.0.0.1:8787', new URL(behind.own).host).replace('/var/cache/nginx/edgepass', `${folder}/cache`);

  // TLS as written, with a certificate of the test: nginx accepts the configuration.
  await run('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=issuer.example',
    '-keyout', `${folder}/privkey.pem`, '-out', `${folder}/fullchain.pem`]);
  const nginx = '/usr/sbin/nginx';
  const options = ['-e', 'stderr', '-p', folder];
  const temporary = `pid ${folder}/pid; `;
  writeFileSync(`${folder}/tls.conf`, temporary + example.replaceAll('/etc/letsencrypt/live/issuer.example', folder));
  await run(nginx, ['-t', ...options, '-c', `${folder}/tls.conf`]);

  // Without TLS, which `edgepass verify` would refuse with that certificate.
  const plain = example.replace('listen 443 ssl;', `listen 127.0.0.1:${port};`).replaceAll(/^ *ssl_.*$/gm, '');
  writeFileSync(`${folder}/plain.conf`, `daemon off; ${temporary}${plain}`);
  const server = spawn(nginx, [...options, '-c', `${folder}/plain.conf`], {
    stdio: ['ignore', 'ignore', 'inherit'], detached: true,
  });
  t.after(() => process.kill(-server.pid, 'SIGKILL'));
  const ready = () => fetch(`${behind.url}/readyz`).then(({ ok }) => ok, () => false);
  for (let tries = 0; tries < 100 && !await ready(); tries += 1) await setTimeout(50);

  const { status } = await fetch(`${behind.url}/oauth/token`, { method: 'POST', body: new URLSearchParams() });
  assert.ok([400, 401].includes(status), `the token endpoint answers ${status}`);
  const { token, jti, list } = await behind.token();
  assert.ok(list.startsWith(behind.url), list);
  writeFileSync(join(behind.folder, 'token.txt'), token);
  const verify = () => behind.edgepass('verify', 'token.txt', '--issuer', behind.url, '--audience', AUDIENCE)
    .then(() => 0, ({ code }) => code);
  assert.equal(await verify(), 0);
  assert.ok(await behind.revoke(jti));
  const from = Date.now();
  while (await verify() !== 1) assert.ok(Date.now() - from < 5_000, 'the cache still serves the old list');
});
