// Real shared caches in front of an issuer, healthy, down and back: no acceptance past the bound that is
// stated for each.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { describe } from 'node:test';
import { CACHES, freePort, startCache } from './proxies.mjs';

const { Verifier } = createRequire(`${process.env.EDGEPASS_INSTALLED}/x.js`)('edgepass');
const program = process.env.EDGEPASS_PROGRAM;
const STALE_IF_ERROR = 5_000;

/** What each adds, as docs/operations.md says: to `shared_max_age`, and to the deadline. */
const STATED = {
  nginx: { sharedMaxAge: '2s', deadline: 10_000 },
  // Its default grace of 10 s is served with a true Age: later than the deadline by as much.
  varnish: { sharedMaxAge: '1s', deadline: 20_000 },
  haproxy: { sharedMaxAge: '1s', deadline: 10_000 },
  squid: { sharedMaxAge: '1s', deadline: 10_000 },
  apache: { sharedMaxAge: '1s', deadline: 10_000 },
};

/** An issuer whose public address is that of a cache. */
async function issuerBehind(t, kind, more) {
  const folder = mkdtempSync(join(tmpdir(), 'edgepass-issuer-'));
  const [own, front] = [await freePort(), await freePort()];
  const [issuer, listen] = [`http://127.0.0.1:${front}`, `127.0.0.1:${own}`];
  const edgepass = (...argv) => execFileSync(program, argv, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  edgepass('init', '.', '--issuer', issuer, '--listen', listen);
  const file = join(folder, 'edgepass.toml');
  writeFileSync(file, readFileSync(file, 'utf8').replace('shared_max_age = "1s"', `shared_max_age = "${STATED[kind].sharedMaxAge}"`));
  let serve;
  const start = async () => {
    serve = spawn(program, ['serve'], { cwd: folder, stdio: 'ignore' });
    for (let tries = 0; tries < 500; tries += 1) {
      const ready = await fetch(`http://${listen}/readyz`).catch(() => null);
      if (ready?.ok) return;
      await sleep(20);
    }
    throw new Error('the issuer is not ready');
  };
  const kill = () => new Promise((resolve) => { serve.once('exit', resolve); serve.kill('SIGKILL'); });
  await start();
  t.after(async () => { await kill(); rmSync(folder, { recursive: true }); });
  await startCache(t, kind, front, `http://${listen}`, more);
  return { issuer, edgepass, start, kill };
}

/** Ask every 100 ms until nothing has been accepted for so long; when the last acceptance was. */
async function lastAcceptance(verify, from, quiet, most) {
  let last = 0;
  while (Date.now() - from < most && Date.now() - from - last < quiet) {
    if ((await verify()).accepted) last = Date.now() - from;
    await sleep(100);
  }
  return last;
}

describe('shared caches in front of an issuer', { concurrency: CACHES.length }, () => {
  for (const kind of CACHES) test(kind, async (t) => {
    const { sharedMaxAge, deadline } = STATED[kind];
    const { issuer, edgepass, start, kill } = await issuerBehind(t, kind);
    const make = () => Verifier.create({
      issuer, audience: 'https://api.example', background: 'detach',
      freshness: { sharedMaxAge, staleIfError: `${STALE_IF_ERROR}ms` },
    });
    const [busy, idle] = [make(), make()];
    const issue = () => JSON.parse(edgepass('issue', '--role', 'invoice-reader', '--json'));
    const [first, second, live] = [issue(), issue(), issue()];
    for (const verifier of [busy, idle]) {
      for (const { access_token: token } of [first, second, live]) {
        // A cache that has just started may still answer for its source that it is away.
        let verdict = await verifier.verify(token);
        for (let tries = 0; tries < 50 && verdict.code === 'keys_unavailable'; tries += 1) {
          await sleep(100);
          verdict = await verifier.verify(token);
        }
        assert.ok(verdict.accepted, verdict.code);
      }
    }

    edgepass('revoke', '--jti', first.jti, '--reason', 'test');
    const revoked = Date.now();
    const asleep = sleep(deadline + 200).then(() => idle.verify(first.access_token));
    const healthy = await lastAcceptance(() => busy.verify(first.access_token), revoked, 3_000, 30_000);
    assert.ok(healthy <= deadline, `accepted ${healthy} ms after its revocation`);
    assert.equal((await asleep).code, 'token_revoked', 'who had not asked for long accepts it');
    assert.ok((await busy.verify(live.access_token)).accepted);

    edgepass('revoke', '--jti', second.jti, '--reason', 'test');
    await kill();
    const down = Date.now();
    const most = deadline + STALE_IF_ERROR;
    const outage = await lastAcceptance(() => busy.verify(second.access_token), down, 6_000, most + 15_000);
    assert.ok(outage <= most, `accepted ${outage} ms after its issuer had gone`);
    const gone = await busy.verify(live.access_token);
    assert.match(gone.code, /_unavailable$/, 'a live token is accepted although nobody can know');

    await start();
    const back = Date.now();
    let code;
    while (Date.now() - back < 150_000) {
      ({ code } = await busy.verify(live.access_token));
      if (code === null) break;
      await sleep(100);
    }
    assert.equal(code, null, 'the issuer is back, and its tokens are refused');
    const took = Date.now() - back;
    assert.equal((await busy.verify(second.access_token)).code, 'token_revoked');
    t.diagnostic(`latest acceptance ${healthy} ms (bound ${deadline}), issuer down ${outage} ms (bound ${most}), back after ${took} ms`);
  });
});
