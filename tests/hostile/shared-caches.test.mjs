// Real shared caches in front of an issuer that is up, down and up again. No revoked token is
// accepted past the bound that is stated for the cache.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { describe } from 'node:test';
import { Issuer } from '../stage/issuer.mjs';
import { freePort } from '../stage/ports.mjs';
import { CACHES, startCache } from './proxies.mjs';

const { Verifier } = createRequire(`${process.env.EDGEPASS_INSTALLED}/x.js`)('edgepass');
const STALE_IF_ERROR = 5_000;

/** `shared_max_age`, and the deadline in milliseconds, as docs/operations.md states for each. */
const STATED = {
  nginx: { sharedMaxAge: '2s', deadline: 10_000 },
  // In its default grace of 10 s Varnish serves stale copies with a true Age: the deadline grows by
  // it.
  varnish: { sharedMaxAge: '1s', deadline: 20_000 },
  haproxy: { sharedMaxAge: '1s', deadline: 10_000 },
  squid: { sharedMaxAge: '1s', deadline: 10_000 },
  apache: { sharedMaxAge: '1s', deadline: 10_000 },
};

/** Starts an issuer whose public address is that of a cache. */
async function issuerBehind(t, kind, more) {
  const port = await freePort();
  const { sharedMaxAge } = STATED[kind];
  const issuer = await Issuer.start({
    url: () => `http://127.0.0.1:${port}`,
    change: (text) => text.replace('shared_max_age = "1s"', `shared_max_age = "${sharedMaxAge}"`),
  });
  t.after(() => issuer.remove());
  await startCache(t, kind, port, issuer.own, more);
  return issuer;
}

/**
 * Verifies every 100 ms until nothing was accepted for `quiet` ms, or until `most` ms. Returns the
 * time of the last acceptance, in milliseconds from `from`.
 */
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
    const issuer = await issuerBehind(t, kind);
    const make = () => Verifier.create({
      issuer: issuer.url, audience: 'https://api.example', background: 'detach',
      freshness: { sharedMaxAge, staleIfError: `${STALE_IF_ERROR}ms` },
    });
    const [busy, idle] = [make(), make()];
    const issue = async () => JSON.parse(await issuer.edgepass('issue', '--role', 'invoice-reader', '--json'));
    const [first, second, live] = [await issue(), await issue(), await issue()];
    for (const verifier of [busy, idle]) {
      for (const { access_token: token } of [first, second, live]) {
        // A cache that has just started may still answer that the issuer is unreachable.
        let verdict = await verifier.verify(token);
        for (let tries = 0; tries < 50 && verdict.code === 'keys_unavailable'; tries += 1) {
          await sleep(100);
          verdict = await verifier.verify(token);
        }
        assert.ok(verdict.accepted, verdict.code);
      }
    }

    await issuer.edgepass('revoke', '--jti', first.jti, '--reason', 'test');
    const revoked = Date.now();
    const asleep = sleep(deadline + 200).then(() => idle.verify(first.access_token));
    const healthy = await lastAcceptance(() => busy.verify(first.access_token), revoked, 3_000, 30_000);
    assert.ok(healthy <= deadline, `accepted ${healthy} ms after its revocation`);
    assert.equal((await asleep).code, 'token_revoked', 'a verifier that had been idle accepts it');
    assert.ok((await busy.verify(live.access_token)).accepted);

    await issuer.edgepass('revoke', '--jti', second.jti, '--reason', 'test');
    await issuer.kill();
    const down = Date.now();
    const most = deadline + STALE_IF_ERROR;
    const outage = await lastAcceptance(() => busy.verify(second.access_token), down, 6_000, most + 15_000);
    assert.ok(outage <= most, `accepted ${outage} ms after its issuer had gone`);
    await sleep(Math.max(0, down + most - Date.now()));
    const gone = await busy.verify(live.access_token);
    assert.match(gone.code, /_unavailable$/, 'a token is accepted past the outage bound');

    await issuer.serve();
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
