// Revocation between real processes under load and faults: an issuer, a proxy that injects faults,
// and guards in workerd.

import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import test, { describe } from 'node:test';
import { guards, issuerBehindProxy } from './fleet.mjs';

const DEADLINE = 10_000;
const OUTAGE_BOUND = 70_000;
const { EDGEPASS_REVOCATIONS: revocations = '400', EDGEPASS_AWAY: away = '30' } = process.env;

/** Calls the guards in turn with live tokens until `stop`. Counts the codes that they return. */
function load(fleet, tokens, everyMs = 10) {
  const seen = {};
  let stopped = false;
  let turn = 0;
  const calls = (async () => {
    while (!stopped) {
      turn += 1;
      const code = await fleet[turn % fleet.length].call(tokens[turn % tokens.length])
        .catch(() => 'guard_unreachable');
      seen[code] = (seen[code] ?? 0) + 1;
      await setTimeout(everyMs);
    }
    return seen;
  })();
  return { seen, stop: () => { stopped = true; return calls; } };
}

/** Waits until a guard refuses a token. Returns milliseconds from `since`, and the code. */
async function untilRefused(guard, token, since, { limit = DEADLINE + 5_000, every = 100 } = {}) {
  for (;;) {
    const code = await guard.call(token);
    const after = Date.now() - since;
    if (code !== '200') return { after, code };
    assert.ok(after < limit, `still accepted after ${after} ms`);
    await setTimeout(every);
  }
}

/** Waits until a guard accepts a token; fails after the deadline. */
async function untilAccepted(guard, token) {
  for (const from = Date.now(); await guard.call(token) !== '200';) {
    assert.ok(Date.now() - from < DEADLINE);
    await setTimeout(100);
  }
}

function quantiles(times) {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (part) => (sorted[Math.ceil(part * sorted.length) - 1] / 1000).toFixed(2);
  return `p50 ${at(0.5)} s, p99 ${at(0.99)} s, max ${at(1)} s`;
}

/** Revokes tokens one after the other under load, and waits until the guards refuse each. */
async function revokeUnderLoad(t, issuer, fleet, count) {
  const tokens = [];
  while (tokens.length < count) {
    tokens.push(...await Promise.all(Array.from({ length: 20 }, () => issuer.token())));
  }
  const live = await Promise.all(Array.from({ length: 10 }, () => issuer.token()));
  const traffic = load(fleet, live.map(({ token }) => token));
  // The guards watch once they have been used for a refresh interval.
  await setTimeout(8_000);
  const times = [];
  const waiting = [];
  for (const [at, { token, jti }] of tokens.entries()) {
    const guard = fleet[at % fleet.length];
    // The guard has accepted the token before its revocation.
    assert.equal(await guard.call(token), '200');
    assert.ok(await issuer.revoke(jti), 'not published');
    const since = Date.now();
    waiting.push(untilRefused(guard, token, since, { every: 20 }).then(({ after, code }) => {
      assert.equal(code, 'token_revoked');
      times.push(after);
    }));
    await setTimeout(Math.max(0, 30 - (Date.now() - since)));
  }
  await Promise.all(waiting);
  const watches = await Promise.all(fleet.map((guard) => (
    guard.counter('edgepass_guard_status_head_watches')
  )));
  const seen = await traffic.stop();
  assert.ok(Math.max(...times) <= DEADLINE, quantiles(times));
  assert.deepEqual(Object.keys(seen), ['200'], JSON.stringify(seen));
  return { times, watches };
}

test('revocations under load bite within the deadline, each', { timeout: 300_000 }, async (t) => {
  const issuer = await issuerBehindProxy(t);
  const fleet = await guards(t, issuer, 4);
  const { times, watches } = await revokeUnderLoad(t, issuer, fleet, Number(revocations));
  assert.ok(watches.some((live) => live === 1), watches.join());
  t.diagnostic(`time to refusal of ${times.length} tokens, with watch: ${quantiles(times)}`);
});

test('without a watch the deadline holds as well', { timeout: 300_000 }, async (t) => {
  const issuer = await issuerBehindProxy(t);
  const fleet = await guards(t, issuer, 4);
  // A proxy that breaks off requests that are held.
  issuer.proxy.refuse = ({ headers }) => (headers.prefer ? null : undefined);
  const { times } = await revokeUnderLoad(t, issuer, fleet, Number(revocations) / 4);
  t.diagnostic(`time to refusal of ${times.length} tokens, without watch: ${quantiles(times)}`);
});

/** Headers for a replaced body: no content coding, another entity tag. */
function plain({ headers: { 'content-encoding': coding, etag, ...kept } }) {
  return { ...kept, etag: `"${etag}-changed"` };
}

// These tests mostly wait, so four run at once.
describe('faults', { concurrency: 4 }, () => {
  test('an issuer that is killed and comes back loses nothing and refuses no live token', {
    timeout: 120_000,
  }, async (t) => {
    const issuer = await issuerBehindProxy(t);
    const fleet = await guards(t, issuer, 2);
    const live = await issuer.token();
    const traffic = load(fleet, [live.token]);
    const revoked = [];
    const ready = [];
    for (let round = 0; round < 8; round += 1) {
      // Each round kills the issuer at a different moment while acts are under way.
      const batch = await Promise.all(Array.from({ length: 8 }, () => issuer.token()));
      for (const { token } of batch) assert.equal(await fleet[0].call(token), '200');
      const acts = batch.map(async (one) => {
        if (await issuer.revoke(one.jti)) revoked.push(one);
      });
      await setTimeout(round * 45);
      await issuer.kill();
      await Promise.all(acts);
      const from = Date.now();
      await issuer.serve();
      ready.push(Date.now() - from);
    }
    assert.ok(revoked.length > 0 && revoked.length < 64, `${revoked.length} were acknowledged`);
    t.diagnostic(`killed 8 times: ${revoked.length} of 64 revocations acknowledged, ready again after `
      + `${Math.max(...ready)} ms at most`);
    const since = Date.now();
    for (const { token } of revoked) {
      const { code, after } = await untilRefused(fleet[0], token, since);
      assert.equal(code, 'token_revoked');
      assert.ok(after <= DEADLINE, `${after} ms`);
    }
    assert.deepEqual(Object.keys(await traffic.stop()), ['200']);
    // Each revocation is in the audit trail exactly once.
    const trail = (await issuer.edgepass('audit', '--json')).trim().split('\n').map(JSON.parse);
    for (const { jti } of revoked) {
      const entries = trail.filter(({ act, jwt_id: id }) => act === 'token_revoked' && id === jti);
      assert.equal(entries.length, 1, `${jti} is in the trail ${entries.length} times`);
    }
  });

  // Only Linux has prlimit(1), which changes the limits of a running process.
  const limited = process.platform === 'linux' ? test : (name) => console.log(`skipped, no prlimit(1): ${name}`);
  limited('an issuer whose files cannot grow takes in nothing, serves what it has, and goes on', {
    timeout: 120_000,
  }, async (t) => {
    const issuer = await issuerBehindProxy(t);
    const [guard] = await guards(t, issuer, 1);
    const [live, lost, other] = [await issuer.token(), await issuer.token(), await issuer.token()];
    for (const { token } of [live, lost, other]) assert.equal(await guard.call(token), '200');
    await issuer.limit(true);
    await assert.rejects(issuer.token(), /no token: 503/);
    assert.ok(!(await issuer.revoke(lost.jti)), 'an act was acknowledged');
    assert.equal(await issuer.isReady(), false);
    // The command runs in a process without limit. The issuer publishes its revocation later.
    await assert.rejects(
      issuer.edgepass('revoke', '--jti', other.jti, '--reason', 'test'),
      ({ code, stdout }) => code === 3 && stdout.includes('recorded, not published'),
    );
    assert.equal(await guard.call(live.token), '200');
    await issuer.limit(false);
    for (const from = Date.now(); !(await issuer.isReady());) {
      assert.ok(Date.now() - from < 10_000, 'not ready although files can grow');
      await setTimeout(50);
    }
    const { code, after } = await untilRefused(guard, other.token, Date.now());
    assert.equal(code, 'token_revoked');
    assert.ok(after <= DEADLINE, `${after} ms`);
    assert.equal(await guard.call(lost.token), '200');
    assert.ok(await issuer.revoke(lost.jti));
    const trail = (await issuer.edgepass('audit', '--json')).trim().split('\n').map(JSON.parse);
    assert.equal(trail.filter(({ act }) => act === 'token_issued').length, 3);
    assert.equal(trail.filter(({ act }) => act === 'token_revoked').length, 2);
  });

  test(`an issuer that is away for ${away} s takes no API down`, { timeout: 900_000 }, async (t) => {
    const issuer = await issuerBehindProxy(t);
    const fleet = await guards(t, issuer, 2);
    const [live, lost] = [await issuer.token(), await issuer.token()];
    for (const guard of fleet) assert.equal(await guard.call(live.token), '200');
    assert.equal(await fleet[0].call(lost.token), '200');
    const from = Date.now();
    issuer.proxy.down();
    assert.ok(await issuer.revoke(lost.jti));
    const codes = { early: new Set(), late: new Set() };
    while (Date.now() - from < Number(away) * 1000) {
      const age = Date.now() - from;
      const code = await fleet[0].call(live.token);
      // Between these bounds the guard may accept or refuse.
      if (age < OUTAGE_BOUND - DEADLINE) codes.early.add(code);
      else if (age > OUTAGE_BOUND) codes.late.add(code);
      if (age > OUTAGE_BOUND) assert.notEqual(await fleet[0].call(lost.token), '200');
      await setTimeout(250);
    }
    assert.deepEqual([...codes.early], ['200']);
    assert.ok([...codes.late].every((code) => code.endsWith('_unavailable')), [...codes.late].join());
    const before = issuer.proxy.requests;
    issuer.proxy.up();
    const back = Date.now();
    let code;
    do {
      code = await fleet[0].call(lost.token);
      assert.ok(Date.now() - back <= DEADLINE, `${code} after ${DEADLINE} ms`);
    } while (code !== 'token_revoked');
    const after = Date.now() - back;
    await untilAccepted(fleet[0], live.token);
    t.diagnostic(`back: revoked token refused (${code}) after ${after} ms, `
      + `${issuer.proxy.requests - before} requests to the issuer meanwhile`);
  });

  test('past the outage bound a guard refuses, and a clock set back is no way around it', {
    timeout: 60_000,
  }, async (t) => {
    const issuer = await issuerBehindProxy(t);
    const [guard] = await guards(t, issuer, 1);
    const { token } = await issuer.token();
    assert.equal(await guard.call(token), '200');
    issuer.proxy.down();
    await guard.shift(60_000);
    assert.equal(await guard.call(token), '200', 'stale, and within the bound');
    await guard.shift(5 * 60_000);
    assert.match(await guard.call(token), /_unavailable$/);
    // The copies were confirmed in the future by the guard's clock, so their age is unknown.
    await guard.shift(-60_000);
    assert.match(await guard.call(token), /_unavailable$/);
    issuer.proxy.up();
    await guard.shift(0);
    await untilAccepted(guard, token);
  });

  test('a guard whose clock is seconds off keeps the deadline and refuses no live token', {
    timeout: 120_000,
  }, async (t) => {
    const issuer = await issuerBehindProxy(t);
    const fleet = await guards(t, issuer, 2);
    await Promise.all(fleet.map((guard, at) => guard.shift(at ? 2_000 : -8_000)));
    const [live, lost] = [await issuer.token(), await issuer.token()];
    for (const guard of fleet) {
      assert.equal(await guard.call(live.token), '200');
      assert.equal(await guard.call(lost.token), '200');
    }
    const traffic = load(fleet, [live.token]);
    assert.ok(await issuer.revoke(lost.jti));
    const since = Date.now();
    const times = await Promise.all(fleet.map((guard) => untilRefused(guard, lost.token, since)));
    for (const { after, code } of times) {
      assert.equal(code, 'token_revoked');
      assert.ok(after <= DEADLINE, `${after} ms`);
    }
    assert.deepEqual(Object.keys(await traffic.stop()), ['200']);
    // The guard that is behind by more than `clock_skew` says so.
    const counted = fleet.map((guard) => guard.counter('edgepass_guard_clock_differences_total'));
    const [behind, ahead] = await Promise.all(counted);
    assert.ok(behind > 0 && ahead === 0, `${behind} ${ahead}`);
  });

  test('a guard whose clock is far ahead refuses, and says why', { timeout: 60_000 }, async (t) => {
    const issuer = await issuerBehindProxy(t);
    const [guard] = await guards(t, issuer, 1);
    const { token } = await issuer.token();
    await guard.shift(30_000);
    assert.equal(await guard.call(token), 'status_unavailable');
    const line = 'edgepass_guard_refused_documents_total{reason="too_old"}';
    assert.ok(await guard.counter(line) > 0);
    await guard.shift(0);
    await untilAccepted(guard, token);
  });

  test('a list truncated, rolled back, foreign or as HTML is refused, and the good copy serves', {
    timeout: 120_000,
  }, async (t) => {
    const issuer = await issuerBehindProxy(t);
    const [guard] = await guards(t, issuer, 1);
    const [live, lost, ...others] = await issuer.tokensOfOneList(8);
    assert.equal(await guard.call(live.token), '200');
    assert.equal(await guard.call(lost.token), '200');
    assert.ok(await issuer.revoke(lost.jti));
    await untilRefused(guard, lost.token, Date.now());
    const path = (url) => url.split('?')[0];
    const lists = (change) => ({ url }, reply) => (
      url.startsWith('/status-lists/') && reply.status === 200 ? change(path(url), reply) : reply
    );
    const seen = (url) => issuer.proxy.seen.get(url);
    const faults = {
      malformed: (_, reply) => ({ ...reply, body: reply.body.subarray(0, 200), headers: plain(reply) }),
      older: (url) => ({ ...seen(url)[0], headers: { ...seen(url)[0].headers, etag: '"old"' } }),
      media_type: (_, reply) => ({
        ...reply, body: Buffer.from('<html>'), headers: { 'content-type': 'text/html' },
      }),
      too_large: (_, reply) => ({ ...reply, body: Buffer.alloc(2 << 20, 65), headers: plain(reply) }),
      redirect: () => ({
        status: 302, body: Buffer.alloc(0), headers: { location: 'http://127.0.0.1:1/elsewhere' },
      }),
      status: (_, reply) => ({ ...reply, status: 500 }),
    };
    for (const [reason, fault] of Object.entries(faults)) {
      issuer.proxy.fault = lists((url, reply) => fault(url, reply));
      // Publishes another edition, so that the issuer does not answer 304.
      assert.ok(await issuer.revoke(others.pop().jti));
      const line = `edgepass_guard_refused_documents_total{reason="${reason}"}`;
      const before = await guard.counter(line);
      for (const from = Date.now(); await guard.counter(line) === before;) {
        assert.ok(Date.now() - from < DEADLINE, `${reason} was not counted`);
        assert.equal(await guard.call(live.token), '200', reason);
        assert.equal(await guard.call(lost.token), 'token_revoked', reason);
        await setTimeout(100);
      }
      issuer.proxy.up();
      await setTimeout(1_100);
      assert.equal(await guard.call(live.token), '200', reason);
    }
  });

  test('keys rotate and are withdrawn under load, and no other token is refused', {
    timeout: 180_000,
  }, async (t) => {
    const issuer = await issuerBehindProxy(t);
    const fleet = await guards(t, issuer, 2);
    const before = await issuer.token();
    const traffic = load(fleet, [before.token]);
    // By then the standby key has been published for 30 s, the least time.
    await setTimeout(31_000);
    await issuer.edgepass('keys', 'rotate');
    const during = await issuer.token();
    const more = load(fleet, [during.token]);
    await setTimeout(8_000);
    const keys = JSON.parse(await issuer.edgepass('keys', 'list', '--json'));
    const signing = keys.find(({ use }) => use === 'signing').kid;
    assert.deepEqual(Object.keys(await more.stop()), ['200']);
    await setTimeout(4_000);
    await issuer.edgepass('keys', 'compromise', signing);
    const since = Date.now();
    const after = await issuer.token();
    const others = load(fleet, [after.token]);
    const times = await Promise.all(fleet.map((guard) => untilRefused(guard, during.token, since)));
    for (const { after: time, code } of times) {
      assert.ok(['key_not_found', 'keys_unavailable'].includes(code), code);
      assert.ok(time <= DEADLINE, `${time} ms`);
    }
    t.diagnostic(`withdrawn key refused after ${times.map(({ after: time }) => time)} ms`);
    await setTimeout(8_000);
    assert.deepEqual(Object.keys(await others.stop()), ['200'], 'tokens of the new key');
    assert.deepEqual(Object.keys(await traffic.stop()), ['200'], 'tokens of the key before');
  });

  test('a suspended token is refused until it is resumed', { timeout: 60_000 }, async (t) => {
    const issuer = await issuerBehindProxy(t, (text) => (
      text.replace('suspension = false', 'suspension = true')
    ));
    const [guard] = await guards(t, issuer, 1);
    const { token, jti } = await issuer.token();
    assert.equal(await guard.call(token), '200');
    await issuer.edgepass('suspend', '--jti', jti, '--reason', 'test');
    const { code, after } = await untilRefused(guard, token, Date.now());
    assert.equal(code, 'token_suspended');
    assert.ok(after <= DEADLINE, `${after} ms`);
    await issuer.edgepass('resume', '--jti', jti, '--reason', 'test');
    await untilAccepted(guard, token);
  });

  test('a flood of unknown keys causes one fetch at most', { timeout: 60_000 }, async (t) => {
    const issuer = await issuerBehindProxy(t);
    const [guard] = await guards(t, issuer, 1);
    const { token } = await issuer.token();
    assert.equal(await guard.call(token), '200');
    // Past the refresh interval. A status head that confirms the set says that there is no such key.
    await setTimeout(6_000);
    const before = issuer.proxy.seen.get('/.well-known/jwks.json').length;
    let asked = 0;
    issuer.proxy.refuse = ({ url }) => { asked += Number(url.includes('jwks')); return undefined; };
    const [, claims, signature] = token.split('.');
    const codes = new Set();
    for (let flood = 0; flood < 500; flood += 1) {
      const header = { alg: 'EdDSA', typ: 'at+jwt', kid: `unknown-${flood}` };
      const encoded = Buffer.from(JSON.stringify(header)).toString('base64url');
      codes.add(await guard.call(`${encoded}.${claims}.${signature}`));
    }
    assert.ok([...codes].every((code) => ['key_not_found', 'keys_unavailable'].includes(code)));
    assert.ok(asked <= 1, `${asked} fetches of the set`);
    assert.equal(before, 1);
    assert.equal(await guard.call(token), '200');
  });

  test('an issuer notices that its clock differs', { timeout: 60_000 }, async (t) => {
    const differences = async (seconds) => {
      const issuer = await issuerBehindProxy(t);
      issuer.proxy.fault = (_, reply) => {
        const date = new Date(Date.now() + seconds * 1000).toUTCString();
        return { ...reply, headers: { ...reply.headers, date } };
      };
      const { jti } = await issuer.token();
      assert.ok(await issuer.revoke(jti));
      // Fetched back at once, or 1.5 s later.
      await setTimeout(3_000);
      const metrics = await (await fetch(`${issuer.own}/metrics`)).text();
      assert.match(metrics, /fetched_back_total\{outcome="same"\} [1-9]/);
      return Number(/clock_differences_total (\d+)/.exec(metrics)[1]);
    };
    assert.equal(await differences(0), 0);
    assert.ok(await differences(20) > 0);
    assert.ok(await differences(-20) > 0);
  });
});
