// Twenty target directories that hang delay no other target and leave no thread behind.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'node:test';
import { Issuer, claims } from '../stage/issuer.mjs';

const SECONDS = Number(process.env.EDGEPASS_HUNG ?? 60);
const HUNG = 20;

test(`${HUNG} hung directories for ${SECONDS} s`, async (t) => {
  const scratch = mkdtempSync(join(tmpdir(), 'edgepass-hung-'));
  const shim = join(scratch, 'hang.so');
  const source = new URL('hang.c', import.meta.url).pathname;
  execFileSync('cc', ['-shared', '-fPIC', '-o', shim, source, '-ldl']);
  const flag = join(scratch, 'hangs');
  const places = ['good', ...Array.from({ length: HUNG }, (_, place) => `hung${place}`)];
  const targets = places.map((place) => `\n[[target]]\nkind = "directory"\npath = "public/${place}"\n`);
  const issuer = await Issuer.start({
    env: { LD_PRELOAD: shim, EDGEPASS_HANGS: flag }, change: (text) => text + targets.join(''),
  });
  const { folder } = issuer;
  t.after(async () => {
    rmSync(flag, { force: true });
    await issuer.remove();
    rmSync(scratch, { recursive: true });
  });
  const until = async (what, done, most = 20_000) => {
    const from = Date.now();
    while (!await done()) {
      assert.ok(Date.now() - from < most, `${what}: not after ${most} ms`);
      await sleep(20);
    }
    return Date.now() - from;
  };
  const threads = () => Number(/Threads:\s+(\d+)/.exec(readFileSync(`/proc/${issuer.process.pid}/status`, 'utf8'))[1]);
  const lists = join(folder, 'public/good/status-lists');
  // A file with `#` in its name is still being written.
  const names = (at) => readdirSync(at).filter((name) => !name.includes('#')).sort();

  await issuer.edgepass('issue', '--role', 'invoice-reader');
  await sleep(500);
  writeFileSync(flag, '');
  const revoke = async () => {
    const issued = await issuer.edgepass('issue', '--role', 'invoice-reader', '--json');
    const { access_token: token, jti } = JSON.parse(issued);
    const list = join(lists, claims(token).status.status_list.uri.split('/').at(-1));
    const number = () => claims(readFileSync(list, 'utf8')).number;
    await until('the healthy target has the list', () => existsSync(list));
    const before = number();
    // The command waits for all targets and fails. Only the healthy target's list matters here.
    const revoking = issuer.edgepass('revoke', '--jti', jti, '--reason', 'test').catch(() => {});
    const took = await until('the healthy target has the revocation', () => number() > before);
    await revoking;
    return took;
  };
  // The first revocation makes the runtime start its own threads before they are counted.
  await revoke();
  const first = threads();
  const [took, counts] = [[], []];
  for (const from = Date.now(); Date.now() - from < SECONDS * 1000;) {
    took.push(await revoke());
    counts.push(threads());
    assert.equal(await issuer.isReady(), false, 'ready, although targets hang');
    await sleep(Math.min(5_000, SECONDS * 50));
  }
  const most = Math.max(...counts);
  t.diagnostic(`${took.length} revocations, published to the healthy target within ${Math.max(...took)} ms; ${first} threads at first, ${most} at most`);
  assert.ok(most <= first + 8, `threads grow: ${counts.join(', ')}`);
  assert.ok(Math.max(...took) < 2_000, `the healthy target lags: ${took.join(', ')} ms`);

  // An issuer that starts while targets hang publishes to the healthy target, too.
  await issuer.kill();
  issuer.spawn();
  await until('it answers', async () => (await fetch(`${issuer.own}/healthz`).catch(() => null))?.ok ?? false);
  t.diagnostic(`after a start, at the healthy target after ${await revoke()} ms`);

  rmSync(flag);
  const back = await until('everything is published once they answer', () => issuer.isReady());
  t.diagnostic(`ready ${back} ms after they answered again`);
  for (const place of places) {
    assert.deepEqual(names(join(folder, 'public', place, 'status-lists')), names(lists), place);
  }
});
