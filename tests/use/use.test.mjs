// How tokens are used: counted by guards in workerd, reported to a real issuer, shown by the command line.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { guards, issuerBehindProxy } from '../faults/fleet.mjs';
import { until } from '../stage/until.mjs';

const HOME = { country: 'CH', asn: 13030, colo: 'ZRH', tlsClientCiphersSha1: 'GXSPDLP4G3X+prK73a4wBuOaHRc=' };
const AWAY = { country: 'BR', asn: 28573, colo: 'GRU' };

const start = (t, more = {}) => issuerBehindProxy(t, (text) => text, {}, { reports: true, ...more });
const reporting = (issuer) => ({
  USAGE_CLIENT_ID: 'guard', USAGE_CLIENT_SECRET: issuer.guardSecret, USAGE_INTERVAL: '1s',
});

/** Calls the guard, so that it reports what it has counted, until `found()` is not undefined. */
const reported = (guard, token, found) => until(async () => {
  await guard.call(token);
  return found();
}, 'the report');

const tokens = async (issuer, ...options) => (
  (await issuer.edgepass('tokens', '--json', ...options)).trim().split('\n').map((line) => JSON.parse(line)));
const shown = async (issuer, jti) => (await tokens(issuer, '--jti', jti))[0];
const usage = async (issuer, by) => JSON.parse(await issuer.edgepass('usage', '--by', by, '--json'));

test('a guard counts what it accepts and refuses, and the issuer shows it', async (t) => {
  const issuer = await start(t);
  const agents = new Set();
  issuer.proxy.refuse = ({ url, headers }) => {
    agents.add(`${url.replace(/[?].*/, '')} ${headers['user-agent']}`);
    return undefined;
  };
  const [guard] = await guards(t, issuer, 1, { ...reporting(issuer), USER_AGENT: 'guard of the API' });
  const [used, other, idle] = [await issuer.token(), await issuer.token(), await issuer.token()];
  for (let at = 0; at < 5; at += 1) assert.equal(await guard.call(used.token, { cf: HOME }), '200');
  assert.equal(await guard.call(used.token, { cf: AWAY, path: '/invoices/7' }), '200');
  const post = { method: 'POST', cf: AWAY };
  const wider = JSON.parse(await issuer.edgepass('issue', '--role', 'invoice-clerk', '--scope', 'invoices:read', '--json'));
  assert.equal(await guard.call(wider.access_token, post), 'scope_insufficient');
  assert.ok(await issuer.revoke(other.jti));
  await until(async () => (await guard.call(other.token) === 'token_revoked' ? true : undefined), 'the revocation');
  // A token that nobody signed is nobody's use.
  assert.equal(await guard.call(`${used.token.slice(0, -4)}AAAA`), 'signature_invalid');
  assert.equal(await guard.call(used.token, { cf: HOME }), '200');
  const { token: next } = await issuer.token();
  const row = await reported(guard, next, async () => {
    const found = await shown(issuer, used.jti);
    return found.uses === 7 ? found : undefined;
  });
  for (const path of ['/status-head', '/oauth/token', '/usage-reports']) {
    assert.ok(agents.has(`${path} guard of the API`), [...agents].join());
  }
  assert.equal(row.uses, 7);
  assert.equal(row.refusals, 0);
  assert.deepEqual(row.use.countries, { BR: 1, CH: 6 });
  assert.deepEqual(row.use.asns, { 13030: 6, 28573: 1 });
  assert.deepEqual(row.use.colos, { GRU: 1, ZRH: 6 });
  assert.deepEqual(row.use.routes, { 'GET /invoices': 6, 'GET /invoices/{id}': 1 });
  assert.deepEqual(row.use.scopes, { 'invoices:read': 7 });
  assert.deepEqual(row.use.addresses, {}, 'no key, no addresses');
  assert.ok(row.last_used >= row.first_used && row.first_used >= row.iat, 'in seconds');
  const wide = (await tokens(issuer, '--role', 'invoice-clerk'))[0];
  assert.deepEqual([wide.uses, wide.refusals, wide.use.codes], [0, 1, { scope_insufficient: 1 }]);
  const revoked = await shown(issuer, other.jti);
  assert.equal(revoked.use.codes.token_revoked, revoked.refusals);
  assert.equal((await shown(issuer, idle.jti)).uses, null, 'issued before the first report began');
  const later = await issuer.token();
  assert.equal((await shown(issuer, later.jti)).uses, 0, 'every report since its issue has come');
  const scopes = await usage(issuer, 'scope');
  const read = scopes.sums.find(({ name }) => name === 'invoices:read');
  assert.ok(read.accepted >= 7);
  const [reporter] = scopes.reporters;
  assert.deepEqual(
    [reporter.client_id, reporter.missing, reporter.lost, reporter.folded], ['guard', 0, 0, 0],
  );
  for (const by of ['day', 'role', 'client', 'route', 'code']) {
    assert.ok((await usage(issuer, by)).sums.length > 0, by);
  }
  const text = await issuer.edgepass('tokens');
  // With a +, if the first report begins in a later second than that of the issue.
  assert.match(text, /\b7[+ ].*BR CH AS13030 AS28573/);
  assert.match(text, /never/);
  assert.match(text, /unknown/);
  assert.match(await issuer.edgepass('usage'), /invoice-reader +\d+/);
  assert.match(await issuer.edgepass('usage', '--by', 'day', '--csv'), /^day,accepted,refused,first_day,last_day\n20/);
  const end = Date.now() + 6_000;
  while (Date.now() < end) {
    assert.equal(await guard.call(next), '200');
    await setTimeout(250);
  }
  const unused = (await tokens(issuer, '--unused-for', '4s')).map(({ jti }) => jti);
  assert.deepEqual(unused.sort(), [used.jti, idle.jti, later.jti, wide.jti].sort(), 'neither the used nor the revoked one');
  assert.match(await issuer.edgepass('tokens', '--unused-for', '1h'), /no token fits/, 'nobody reported then');
});

test('an address is reported under a keyed hash, and only with a key', async (t) => {
  const issuer = await start(t);
  const key = 'a key under which addresses are hashed'.replaceAll(' ', '-');
  const [guard] = await guards(t, issuer, 1, { ...reporting(issuer), USAGE_ADDRESS_KEY: key });
  const { token, jti } = await issuer.token();
  const row = await reported(guard, token, async () => {
    const found = await shown(issuer, jti);
    return found.uses > 0 ? found : undefined;
  });
  // The runtime of this test has no address to tell.
  assert.ok(!JSON.stringify(row.use).includes('127.0.0.1'));
});

test('reports that nobody takes delay and refuse nothing, and count once when they arrive', async (t) => {
  const issuer = await start(t);
  const [guard] = await guards(t, issuer, 1, reporting(issuer));
  const { token, jti } = await issuer.token();
  // The issuer takes the report, but its answer is lost.
  let reports = 0;
  issuer.proxy.fault = ({ url }, reply) => {
    if (url !== '/usage-reports') return reply;
    reports += 1;
    return reports === 1 ? null : reply;
  };
  let counted = 0;
  const call = async () => {
    const since = performance.now();
    assert.equal(await guard.call(token, { cf: HOME }), '200');
    counted += 1;
    return performance.now() - since;
  };
  const taken = (count) => until(async () => {
    await call();
    return (await usage(issuer, 'role')).reporters[0]?.reports >= count ? true : undefined;
  }, `${count} reports`);
  await taken(2);
  assert.ok(await guard.counter('edgepass_guard_usage_reports_failed') >= 1);
  const [reporter] = (await usage(issuer, 'role')).reporters;
  assert.equal(reporter.missing, 0, 'the first report came again with its number');
  assert.ok((await shown(issuer, jti)).uses <= counted);
  // Nobody answers at all, for as long as some reports take.
  issuer.proxy.refuse = ({ url }) => (['/usage-reports', '/oauth/token'].includes(url) ? 'silence' : undefined);
  for (const from = Date.now(); Date.now() - from < 3_000; await setTimeout(100)) {
    assert.ok(await call() < 1_500, 'no request waits');
  }
  issuer.proxy.up();
  const before = counted;
  await until(async () => {
    await call();
    return (await shown(issuer, jti)).uses >= before ? true : undefined;
  }, 'what was counted meanwhile', 40_000);
  assert.ok((await shown(issuer, jti)).uses <= counted, 'no request is counted twice');
  assert.equal(await guard.counter('edgepass_guard_usage_lost'), 0);
});

test('who may report, and what', async (t) => {
  const issuer = await start(t);
  const { jti } = await issuer.token();
  const bearer = async (id, secret, scope) => {
    const response = await fetch(`${issuer.own}/oauth/token`, {
      method: 'POST', headers: { authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'client_credentials', ...(scope && { scope, resource: issuer.url }) }),
    });
    return (await response.json()).access_token;
  };
  const guard = await bearer('guard', issuer.guardSecret, 'edgepass:usage');
  const now = Date.now();
  const whole = {
    isolate: 'i', number: 1, issuer: issuer.url, from_ms: now - 1000, to_ms: now,
    routes: [{ name: 'GET /x' }], places: [{}], codes: ['accepted'], tokens: [jti, 'of-somebody'],
    uses: [[0, 0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 2, 0, 0]],
  };
  const post = async (report, { token = guard, headers = {}, body } = {}) => {
    const response = await fetch(`${issuer.own}/usage-reports`, {
      method: 'POST', body: body ?? JSON.stringify(report),
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
    });
    return [response.status, await response.json()];
  };
  const example = await bearer('example-service', issuer.secret);
  assert.equal((await post(whole, { token: example }))[0], 401, 'of another audience');
  assert.equal((await post(whole, { token: 'no-token' }))[0], 401);
  const operator = (await issuer.edgepass('issue', '--role', 'edgepass-operator')).trim();
  assert.equal((await post(whole, { token: operator }))[0], 403, 'without the scope');
  for (const [what, changed] of Object.entries({
    'another issuer': { issuer: 'https://other.example' },
    'the future': { to_ms: now + 120_000 },
    'the past': { from_ms: 0, to_ms: 1 },
    'a time before its begin': { to_ms: now - 2000 },
    'no number': { number: 0 },
    'a token without a position': { uses: [[2, 0, 0, 0, 1, 0, 0]] },
    'no count': { uses: [[0, 0, 0, 0, 0, 0, 0]] },
    'a count beyond all bounds': { uses: [[0, 0, 0, 0, 2 ** 52, 0, 0]] },
    'a use after its end': { uses: [[0, 0, 0, 0, 1, 0, 9]] },
    'a code that is none': { codes: ['<script>'] },
    'a route with a line break': { routes: [{ name: 'GET /\n' }] },
    'a long name': { isolate: 'i'.repeat(257) },
    'another member': { more: 1 },
    'too many tokens': { tokens: Array.from({ length: 2001 }, (_, at) => `t${at}`) },
  })) {
    const [status, { error_description: text }] = await post({ ...whole, ...changed });
    assert.equal(status, 400, what);
    assert.ok(!text.includes('script'), 'nothing of the report');
  }
  for (const body of ['', '{', 'null', '[]', `{"isolate":${'['.repeat(5000)}`, JSON.stringify(whole).repeat(2)]) {
    assert.equal((await post(null, { body }))[0], 400);
  }
  const gzip = { 'content-encoding': 'gzip' };
  assert.equal((await post(null, { body: 'not compressed', headers: gzip }))[0], 400);
  assert.equal((await post(null, { body: gzipSync(Buffer.alloc(64 << 20)), headers: gzip }))[0], 400, 'a bomb');
  assert.equal((await post(null, { body: Buffer.alloc(300 << 10, ' ') }))[0], 400, 'too large');
  assert.equal((await post(whole, { headers: { 'content-encoding': 'br' } }))[0], 400);
  const taken = [202, { repeated: false, foreign: 2 }];
  assert.deepEqual(await post(null, { body: gzipSync(JSON.stringify(whole)), headers: gzip }), taken);
  assert.deepEqual(await post(whole), [202, { repeated: true, foreign: 0 }]);
  assert.equal((await shown(issuer, jti)).uses, 1);
  // A client of another audience reports on nothing of this one.
  const added = JSON.parse(await issuer.edgepass(
    'client', 'add', 'stranger', '--role', 'edgepass-guard', '--reports-use-of', 'https://other.example', '--json',
  ));
  await issuer.edgepass('policy', 'apply');
  const stranger = await bearer('stranger', added.client_secret, 'edgepass:usage');
  assert.deepEqual(await post(whole, { token: stranger }), [202, { repeated: false, foreign: 3 }]);
  assert.equal((await shown(issuer, jti)).uses, 1);
  const metrics = await (await fetch(`${issuer.own}/metrics`)).text();
  assert.match(metrics, /edgepass_usage_reports_total\{outcome="taken"\} 2/);
  assert.match(metrics, /edgepass_uses_total 1\n/);
});

/** Requests of the next test. */
const REQUESTS = Number(process.env.EDGEPASS_USES ?? 20_000);

test('no count is above the truth, and what is missing was counted by guards that were killed', async (t) => {
  const issuer = await start(t);
  const fleet = await guards(t, issuer, 4, reporting(issuer));
  const pool = [];
  for (let at = 0; at < 50; at += 1) pool.push(await issuer.token());
  const truth = new Map(pool.map(({ jti }) => [jti, 0]));
  /** Calls a guard with some token. Returns its `jti`. */
  const call = async (guard) => {
    const { token, jti } = pool[Math.floor(Math.random() * pool.length)];
    assert.equal(await guard.call(token), '200');
    truth.set(jti, truth.get(jti) + 1);
    return jti;
  };
  let lost = 0;
  await Promise.all(fleet.map(async (guard, at) => {
    const share = REQUESTS / fleet.length;
    for (let request = 0; request < share; request += 1) {
      await call(guard);
      // Two of four are killed, with what they have counted since their last report.
      if (at < 2 && request > share / 2) {
        const counted = await guard.counter('edgepass_guard_usage_counted');
        await guard.stop();
        lost += counted;
        return;
      }
    }
    // A report may be under way.
    await setTimeout(1000);
    lost += await guard.counter('edgepass_guard_usage_counted');
  }));
  const rows = await tokens(issuer, '--client', 'example-service');
  for (const { jti, uses } of rows) assert.ok((uses ?? 0) <= truth.get(jti), 'above the truth');
  const sum = rows.reduce((total, { uses }) => total + (uses ?? 0), 0);
  const all = [...truth.values()].reduce((total, count) => total + count, 0);
  console.log(`${all} requests, ${sum} reported; guards had counted ${lost} more when they ended`);
  // A guard that is killed while its report is under way may have lost none of it.
  assert.ok(sum <= all && all - sum <= lost);
});
