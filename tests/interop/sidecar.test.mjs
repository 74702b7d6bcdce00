// Tokens that better-auth signs and an Edgepass issuer revokes: the examples `better-auth` and
// `worker-oauth-provider`, as their users would run them.
//
// EDGEPASS_PROGRAM is the command `edgepass`, EDGEPASS_INSTALLED a folder with the packed package.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import test, { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Issuer, claims, mayRevoke } from '../stage/issuer.mjs';
import { freePort } from '../stage/ports.mjs';
import { startWorkers } from '../stage/workerd.mjs';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const AUDIENCE = 'https://api.example';

let issuer; let examples; let login; let server; let worker; let api;
before(async () => {
  issuer = await Issuer.start({ change: (text) => mayRevoke(text).replace('may = ["revoke"]', 'may = ["revoke"]\nallots = true') });
  examples = mkdtempSync(join(root, 'target', 'examples-'));
  for (const name of ['better-auth', 'worker-oauth-provider']) {
    cpSync(join(root, 'examples', name), join(examples, name), { recursive: true });
    const modules = join(examples, name, 'node_modules');
    mkdirSync(join(modules, '@cloudflare'), { recursive: true });
    symlinkSync(join(process.env.EDGEPASS_INSTALLED, 'node_modules/edgepass'), join(modules, 'edgepass'));
    for (const dependency of ['better-auth', '@cloudflare/workers-oauth-provider']) {
      symlinkSync(fileURLToPath(new URL(`node_modules/${dependency}`, import.meta.url)), join(modules, dependency));
    }
  }
  login = await startLogin();
  // The identifier of a resource names its port.
  const port = await freePort();
  const resource = `http://127.0.0.1:${port}`;
  const folder = join(examples, 'worker-oauth-provider');
  await run(join(root, 'node_modules/.bin/wrangler'), ['deploy', '--dry-run', '--outdir', 'bundle'], {
    cwd: folder, env: { ...process.env, WRANGLER_SEND_METRICS: 'false' },
  });
  const bundle = join(folder, 'bundle');
  const wasm = readdirSync(bundle).filter((file) => file.endsWith('.wasm'));
  worker = await startWorkers([{
    name: 'api', modulesRoot: bundle,
    modules: [{ type: 'ESModule', path: join(bundle, 'index.js') }, ...wasm.map((file) => ({ type: 'CompiledWasm', path: join(bundle, file) }))],
    bindings: { ISSUER: login, EDGEPASS: issuer.url, AUDIENCE, RESOURCE: resource },
  }], { port });
  api = resource;
});
after(async () => {
  server?.kill();
  await worker?.stop();
  await issuer?.remove();
  rmSync(examples, { recursive: true });
});

async function startLogin() {
  const env = {
    ...process.env, EDGEPASS: issuer.url, CLIENT: 'example-service', SECRET: issuer.secret, AUDIENCE, PORT: String(await freePort()),
    BETTER_AUTH_TELEMETRY: '0',
  };
  server = spawn(process.execPath, ['server.js'], { cwd: join(examples, 'better-auth'), env, stdio: ['ignore', 'pipe', 'ignore'] });
  for await (const line of createInterface({ input: server.stdout })) {
    if (line.startsWith('http://')) return line;
  }
  throw new Error('the server ended');
}

/** Signs a user up. Returns what gets a token for the user. */
async function user(email) {
  const account = { email, password: 'a long password', name: 'Ada' };
  const signed = await fetch(`${login}/api/auth/sign-up/email`, {
    method: 'POST', headers: { 'content-type': 'application/json', origin: login }, body: JSON.stringify(account),
  });
  assert.equal(signed.status, 200, await signed.text());
  const cookie = signed.headers.getSetCookie().map((field) => field.split(';')[0]).join('; ');
  return () => fetch(`${login}/api/auth/token`, { headers: { cookie } });
}

const call = (token) => fetch(`${api}/`, { headers: token ? { authorization: `Bearer ${token}` } : {} });

test('a token of better-auth is accepted until the Edgepass issuer revokes it', { timeout: 60_000 }, async () => {
  const token = async (get) => (await (await get()).json()).token;
  const [ada, eve] = [await user('ada@example.com'), await user('eve@example.com')];
  const [one, two, other] = [await token(ada), await token(ada), await token(eve)];
  const { jti, sub, exp, iat, status } = claims(one);
  assert.ok(status.status_list.uri.startsWith(`${issuer.url}/status-lists/`));
  assert.equal(exp - iat, 300);
  assert.notEqual(claims(two).jti, jti);
  const accepted = await call(one);
  assert.deepEqual([accepted.status, await accepted.json()], [200, { client: sub, invoices: [{ id: 1 }] }]);
  assert.equal((await call(other)).status, 200);
  const without = await call();
  assert.equal(without.status, 401);
  assert.match(without.headers.get('www-authenticate'), /resource_metadata=/);
  // The issuer of the lists is trusted for lists alone.
  assert.equal((await call((await issuer.token()).token)).status, 401);

  assert.ok(await issuer.revoke(jti));
  const from = Date.now();
  while ((await call(one)).status === 200) {
    assert.ok(Date.now() - from < 10_000, 'accepted past the revocation deadline');
    await setTimeout(100);
  }
  assert.equal((await call(one)).status, 401);
  assert.equal((await call(two)).status, 200, 'the user\'s other token');
  // All of one user: her tokens have her `sub`.
  await issuer.edgepass('revoke', '--subject', sub, '--reason', 'account closed');
  const closed = Date.now();
  while ((await call(two)).status === 200) {
    assert.ok(Date.now() - closed < 10_000, 'accepted past the revocation deadline');
    await setTimeout(100);
  }
  assert.equal((await call(other)).status, 200, 'another user');
});

test('without a status entry no token is signed', { timeout: 60_000 }, async () => {
  const eve = await user('eve2@example.com');
  const { token } = await (await eve()).json();
  await issuer.kill();
  const refused = await eve();
  assert.equal(refused.status, 500);
  assert.ok(!(await refused.text()).includes('eyJ'));
  // Held copies go on to serve while the issuer is away; docs/architecture.md says how long.
  assert.equal((await call(token)).status, 200);
  await issuer.serve();
  assert.equal((await eve()).status, 200);
});
