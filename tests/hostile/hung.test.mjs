// Twenty directories that hang hold up no other, and leave no thread behind.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'node:test';
import { freePort } from './proxies.mjs';

const program = process.env.EDGEPASS_PROGRAM;
const SECONDS = Number(process.env.EDGEPASS_HUNG ?? 60);
const HUNG = 20;

/** The claims of a JWS. */
const claims = (text) => JSON.parse(Buffer.from(text.split('.')[1], 'base64url'));

test(`${HUNG} hung directories for ${SECONDS} s`, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'edgepass-hung-'));
  const shim = join(folder, 'hang.so');
  const source = new URL('hang.c', import.meta.url).pathname;
  execFileSync('cc', ['-shared', '-fPIC', '-o', shim, source, '-ldl']);
  const port = await freePort();
  const issuer = `http://127.0.0.1:${port}`;
  const flag = join(folder, 'hangs');
  const env = { ...process.env, LD_PRELOAD: shim, EDGEPASS_HANGS: flag };
  const edgepass = (...argv) => execFileSync(program, argv, { cwd: folder, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  edgepass('init', '.', '--listen', `127.0.0.1:${port}`);
  const places = ['good', ...Array.from({ length: HUNG }, (_, place) => `hung${place}`)];
  appendFileSync(join(folder, 'edgepass.toml'), places.map((place) => (
    `\n[[target]]\nkind = "directory"\npath = "public/${place}"\n`)).join(''));
  const start = () => spawn(program, ['serve'], { cwd: folder, stdio: 'ignore', env });
  const stop = async () => {
    const ended = new Promise((resolve) => { serve.once('exit', resolve); });
    serve.kill('SIGKILL');
    await ended;
  };
  let serve = start();
  t.after(async () => {
    rmSync(flag, { force: true });
    await stop();
    rmSync(folder, { recursive: true });
  });
  const isReady = async () => (await fetch(`${issuer}/readyz`).catch(() => null))?.ok ?? false;
  const until = async (what, done, most = 20_000) => {
    const from = Date.now();
    while (!await done()) {
      assert.ok(Date.now() - from < most, `${what}: not after ${most} ms`);
      await sleep(20);
    }
    return Date.now() - from;
  };
  await until('ready', isReady);
  const threads = () => Number(/Threads:\s+(\d+)/.exec(readFileSync(`/proc/${serve.pid}/status`, 'utf8'))[1]);
  const lists = join(folder, 'public/good/status-lists');
  // A name with `#` is a file that is being written.
  const names = (at) => readdirSync(at).filter((name) => !name.includes('#')).sort();

  edgepass('issue', '--role', 'invoice-reader');
  await sleep(500);
  writeFileSync(flag, '');
  // What the runtime starts for itself is there before it is counted.
  const revoke = async () => {
    const { access_token: token, jti } = JSON.parse(edgepass('issue', '--role', 'invoice-reader', '--json'));
    const list = join(lists, claims(token).status.status_list.uri.split('/').at(-1));
    const number = () => claims(readFileSync(list, 'utf8')).number;
    await until('the healthy target has the list', () => existsSync(list));
    const before = number();
    // It waits for all targets in vain, and says so; what counts is what the healthy one has.
    const revoking = spawn(program, ['revoke', '--jti', jti, '--reason', 'test'], { cwd: folder, env, stdio: 'ignore' });
    const took = await until('the healthy target has the revocation', () => number() > before);
    await new Promise((resolve) => { revoking.once('exit', resolve); });
    return took;
  };
  await revoke();
  const first = threads();
  const [took, counts] = [[], []];
  for (const from = Date.now(); Date.now() - from < SECONDS * 1000;) {
    took.push(await revoke());
    counts.push(threads());
    assert.equal(await isReady(), false, 'ready, although targets hang');
    await sleep(Math.min(5_000, SECONDS * 50));
  }
  const most = Math.max(...counts);
  t.diagnostic(`${took.length} revocations, at the healthy target after at most ${Math.max(...took)} ms; ${first} threads at first, ${most} at most`);
  assert.ok(most <= first + 8, `threads grow: ${counts.join(', ')}`);
  assert.ok(Math.max(...took) < 2_000, `the healthy target lags: ${took.join(', ')} ms`);

  // One that starts while they hang serves the healthy one, too.
  await stop();
  serve = start();
  await until('it answers', async () => (await fetch(`${issuer}/healthz`).catch(() => null))?.ok ?? false);
  t.diagnostic(`after a start, at the healthy target after ${await revoke()} ms`);

  rmSync(flag);
  const back = await until('everything is published once they answer', isReady);
  t.diagnostic(`ready ${back} ms after they answered again`);
  for (const place of places) {
    assert.deepEqual(names(join(folder, 'public', place, 'status-lists')), names(lists), place);
  }
});
