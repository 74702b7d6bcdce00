// The package counts how tokens are used, as the guard does, and reports it to a real issuer.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Verifier } from '../../npm/dist/lib/inline.js';
import { fromNode, send } from '../../npm/dist/lib/node.js';
import { UsageTable, LIMITS } from '../../npm/dist/lib/usage-table.js';
import { Usage } from '../../npm/dist/lib/usage.js';
import { issuerBehindProxy } from '../faults/fleet.mjs';
import { listen } from '../stage/ports.mjs';
import { until } from '../stage/until.mjs';

const start = (t) => issuerBehindProxy(t, (text) => text, {}, { reports: true });
const shown = async (issuer, jti) => JSON.parse(await issuer.edgepass('tokens', '--json', '--jti', jti));

/** A server whose routes the package guards and counts. */
async function server(t, issuer, usage) {
  const verifier = Verifier.create({ issuer: issuer.url, audience: 'https://api.example' });
  const http = createServer(async (request, response) => {
    const allOf = request.method === 'GET' ? ['invoices:read'] : ['invoices:write'];
    const verdict = await verifier.verify(fromNode(request), { allOf });
    const [country, asn] = (request.headers['x-place'] ?? 'CH 13030').split(' ');
    usage.count(verdict, { route: `${request.method} /invoices`, needs: allOf, place: { country, asn: Number(asn) } });
    if (!verdict.accepted) return send(response, verdict);
    return response.end('[]');
  });
  const url = await listen(http);
  t.after(() => { http.close(); http.closeAllConnections(); });
  return async (token, init = {}) => {
    const response = await fetch(url, { ...init, headers: { authorization: `Bearer ${token}`, ...init.headers } });
    return response.ok ? '200' : (await response.json()).code;
  };
}

test('the package counts what it accepts and refuses, and the issuer shows it', async (t) => {
  const issuer = await start(t);
  const usage = Usage.create({ issuer: issuer.url, clientId: 'guard', clientSecret: issuer.guardSecret, interval: 1 });
  const call = await server(t, issuer, usage);
  const [used, revoked] = [await issuer.token(), await issuer.token()];
  for (let at = 0; at < 5; at += 1) assert.equal(await call(used.token), '200');
  assert.equal(await call(used.token, { headers: { 'x-place': 'BR 28573' } }), '200');
  assert.equal(await call(used.token, { method: 'POST' }), 'scope_insufficient');
  assert.equal(await call(revoked.token), '200');
  assert.ok(await issuer.revoke(revoked.jti));
  await until(async () => (await call(revoked.token) === 'token_revoked' ? true : undefined), 'the revocation');
  // Nobody's use: no signature, and claims that no key of the issuer has signed.
  const [head, claims] = used.token.split('.');
  const forged = `${head}.${Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(claims, 'base64url')), exp: 1 })).toString('base64url')}.${'A'.repeat(86)}`;
  assert.equal(await call(forged), 'signature_invalid');
  assert.equal(await call('garbage'), 'token_malformed');
  await usage.flush();
  const row = await shown(issuer, used.jti);
  assert.deepEqual([row.uses, row.refusals], [6, 1]);
  assert.deepEqual(row.use.countries, { BR: 1, CH: 6 });
  assert.deepEqual(row.use.routes, { 'GET /invoices': 6 });
  assert.deepEqual(row.use.codes, { scope_insufficient: 1 });
  const other = await shown(issuer, revoked.jti);
  assert.ok(other.uses >= 1 && other.use.codes.token_revoked >= 1);
  const { counted, failed, lost, taken } = usage.counters();
  assert.deepEqual([counted, failed, lost], [0, 0, 0]);
  assert.ok(taken >= 1);
});

test('a report that nobody takes is sent again, delays nothing, and is counted once', async (t) => {
  const issuer = await start(t);
  let answers = 'none';
  const usage = Usage.create({
    issuer: issuer.url, clientId: 'guard', clientSecret: issuer.guardSecret, interval: 1,
    async fetch(url, init) {
      assert.match(init.headers['user-agent'], /^edgepass\/\d/);
      if (answers === 'hangs') return new Promise((_, reject) => { init.signal.addEventListener('abort', () => reject(new Error('late'))); });
      const response = await fetch(url, init);
      // The issuer has the report, and its answer is lost.
      if (answers === 'lost' && url.endsWith('/usage-reports')) throw new Error('lost');
      return response;
    },
  });
  const call = await server(t, issuer, usage);
  const { token, jti } = await issuer.token();
  answers = 'lost';
  assert.equal(await call(token), '200');
  assert.equal(await usage.flush(), false);
  assert.equal(usage.counters().failed, 1);
  answers = 'hangs';
  await setTimeout(1_100);
  const before = performance.now();
  assert.equal(await call(token), '200');
  assert.ok(performance.now() - before < 5_000, 'no request waits for a report');
  answers = 'none';
  assert.equal(await usage.flush().then(() => usage.flush()), true);
  assert.equal((await shown(issuer, jti)).uses, 2);
  assert.equal(usage.counters().lost, 0);
});

test('options are checked, and what is no verdict is not counted', () => {
  const good = { issuer: 'https://issuer.example', clientId: 'a', clientSecret: 'b' };
  for (const [wrong, says] of [
    [{ ...good, clientSecret: '' }, /clientSecret/], [{ ...good, issuer: 'issuer' }, /issuer must be an https URL/], [{ ...good, issuer: 'http://issuer.example' }, /issuer must be an https URL/],
    [{ ...good, intervall: 1 }, /unknown option intervall/], [{ ...good, interval: '30s' }, /interval must be seconds/],
  ]) assert.throws(() => Usage.create(wrong), says);
  assert.throws(() => Usage.create(good).count({ accepted: true, claims: {} }, { route: 'GET /' }), /not a verdict/);
});

test('the issuer takes every report of a full table, and no use is left out', async (t) => {
  const issuer = await start(t);
  const { access_token: bearer } = await (await fetch(`${issuer.url}/oauth/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`guard:${issuer.guardSecret}`)}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'edgepass:usage', resource: issuer.url }),
  })).json();
  let state = 7;
  const random = (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let number = 1; number <= 12; number += 1) {
    const table = new UsageTable();
    const wide = [3, 300, 5_000, 40_000][number % 4];
    const start = Date.now() - 60_000;
    let sum = 0;
    for (let at = 0; at < 30_000; at += 1) {
      table.count({
        jwtId: `t${random(wide)}`, clientId: `c${random(number * 400)}`, scope: `s${random(3)}`,
        route: `GET /r${random(number * 100)}`, needs: [], code: ['accepted', 'token_expired', 'token_revoked'][random(3)],
        place: { country: ['CH', 'DE'][random(2)], asn: random(900) },
      }, start + random(30_000));
      sum += 1;
    }
    const report = table.report({ isolate: 'table', number, issuer: issuer.url, lost: 0 });
    const counts = [...report.uses.map((use) => use[4]), ...report.folded.map(({ count }) => count)];
    assert.equal(counts.reduce((one, other) => one + other, 0), sum);
    assert.ok(report.tokens.length <= LIMITS.tokens && report.uses.length <= LIMITS.rows);
    const response = await fetch(`${issuer.url}/usage-reports`, {
      method: 'POST', headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
      body: JSON.stringify(report),
    });
    assert.equal(response.status, 202, await response.text());
  }
});
