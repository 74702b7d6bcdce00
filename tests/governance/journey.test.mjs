// From an agreement to a token that died, through a real issuer and a guard in workerd.
//
// EDGEPASS_PROGRAM is the command `edgepass`, EDGEPASS_GOVERNANCE_GUARD a build of the guard with guard.toml.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Issuer } from '../stage/issuer.mjs';
import { listen } from '../stage/ports.mjs';
import { guardModules, startWorkers } from '../stage/workerd.mjs';
import { verifyExport } from './verify-breach.mjs';

const run = promisify(execFile);
const GUARD = fileURLToPath(new URL('guard.toml', import.meta.url));
const AUDIENCE = 'https://api.example';
const CUSTOMERS = '{"customers":[{"name":"Ada","iban":"DE02120300000000202051","email":"ada@example.com"}]}';
const MASKED = '{"customers":[{"name":"Ada","iban":"****2051","email":"a***@example.com"}]}';

const policy = (url) => `
[[party]]
name = "Example Shop SE"
kind = "controller"
contact = "privacy@shop.example"
country = "DE"

[[party]]
name = "Helpdesk GmbH"
kind = "processor"

[[scope]]
name = "customers:read"
description = "Reads customers without what identifies their accounts"
data = ["contact"]
subjects = ["customers"]
personal = true

[[scope]]
name = "customers:pii"
description = "Reads customers with bank accounts and addresses"
data = ["contact", "payment"]
subjects = ["customers"]
personal = true

[[scope]]
name = "invoices:read"
description = "Reads invoices"
personal = false

[[scope]]
name = "invoices:write"
description = "Writes invoices"
personal = false

[[agreement]]
id = "dpa-support"
parties = ["Example Shop SE", "Helpdesk GmbH"]
purposes = ["support"]
data = ["contact", "payment"]
regions = ["EU"]
retention = "30days"
start = 2026-01-01

[[role]]
name = "support"
audience = "${AUDIENCE}"
scopes = ["customers:read", "customers:pii"]
agreement = "dpa-support"

[[role]]
name = "on-call"
audience = "${url}"
scopes = ["edgepass:request"]

[[role]]
name = "lead"
audience = "${url}"
scopes = ["edgepass:approve"]

[[approval]]
name = "support"
roles = ["support"]
may_ask = ["role:on-call"]
may_approve = ["role:lead"]
longest = "1h"
`;

test('agreement, role, request, approval, token, masked and unmasked answers, a leak, and the report about it', async (t) => {
  const issuer = await Issuer.start({ change: (text) => text + policy(/issuer = "(.*)"/.exec(text)[1]), reports: true });
  t.after(() => issuer.remove());
  const origin = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(CUSTOMERS);
  });
  const url = await listen(origin);
  t.after(() => { origin.close(); origin.closeAllConnections(); });
  const guard = await startWorkers([{
    name: 'guard', ...guardModules(process.env.EDGEPASS_GOVERNANCE_GUARD),
    bindings: {
      ISSUER: issuer.url, AUDIENCE, CACHE: 'none', ORIGIN_URL: url, MASK_KEY: 'gO3mQ0yTq2hX8sVn5bKd7rLw1cZf4jPe',
      USAGE_CLIENT_ID: 'guard', USAGE_CLIENT_SECRET: issuer.guardSecret, USAGE_INTERVAL: '1s',
    },
  }]);
  t.after(guard.stop);
  const customers = async (token) => {
    const response = await fetch(new URL('/customers', guard.url), { headers: { authorization: `Bearer ${token}` } });
    return [response.status, await response.text()];
  };
  const as = async (subject, role, ...argv) => {
    const token = (await issuer.edgepass('issue', '--role', role, '--subject', subject, '--client', 'console')).trim();
    const env = { ...process.env, EDGEPASS_TOKEN: token };
    return JSON.parse((await run(process.env.EDGEPASS_PROGRAM, [...argv, '--server', issuer.url, '--json'], { env })).stdout);
  };

  const { id } = await as('ada', 'on-call', 'access', 'request', '--role', 'support', '--for', '30m', '--reason', 'a customer cannot pay');
  const { digest, state } = await as('bo', 'lead', 'access', 'show', id);
  assert.equal(state, 'pending');
  await as('bo', 'lead', 'access', 'approve', id, '--digest', digest);
  const unmasked = (await as('ada', 'on-call', 'issue', '--grant', id)).access_token;
  const masked = (await as('ada', 'on-call', 'issue', '--grant', id, '--scope', 'customers:read')).access_token;
  const { authorization_details: [detail], jti } = JSON.parse(Buffer.from(unmasked.split('.')[1], 'base64url'));
  assert.deepEqual([detail.agreement, detail.purposes], ['dpa-support', ['support']]);
  assert.deepEqual(await customers(unmasked), [200, CUSTOMERS]);
  assert.deepEqual(await customers(masked), [200, MASKED]);

  // Somebody finds the first one in a log. Times of use are reported in seconds.
  await setTimeout(1_100);
  const leakedAt = new Date().toISOString();
  await setTimeout(1_100);
  assert.deepEqual(await customers(unmasked), [200, CUSTOMERS]);
  const folder = await mkdtemp(join(tmpdir(), 'edgepass-log-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, 'build.log'), `curl -H 'Authorization: Bearer ${unmasked}' ${AUDIENCE}\n`);
  const scan = await issuer.edgepass('leaks', 'scan', folder, '--revoke', '--json').catch(({ stdout }) => stdout);
  assert.ok(scan.includes(jti), scan);
  const refused = async (token) => {
    for (const from = Date.now(); ; await setTimeout(50)) {
      const [status, text] = await customers(token);
      if (status === 401) return JSON.parse(text).code;
      assert.ok(Date.now() - from < 10_000, 'accepted past the revocation deadline');
    }
  };
  assert.equal(await refused(unmasked), 'token_revoked');
  assert.deepEqual(await customers(masked), [200, MASKED], 'the other one stands');
  await as('bo', 'lead', 'access', 'end', id);
  assert.equal(await refused(masked), 'token_revoked');

  // The report: what it reached, that it was used before and after the leak, and when that ended.
  const uses = async () => JSON.parse(await issuer.edgepass('tokens', '--jti', jti, '--json')).uses;
  for (const from = Date.now(); (await uses() ?? 0) < 2; await setTimeout(100)) {
    assert.ok(Date.now() - from < 10_000, 'the guard reports');
    await customers(masked);
  }
  const opened = JSON.parse(await issuer.edgepass('breach', 'open', '--jti', jti, '--leaked-at', leakedAt,
    '--reason', 'a token in the log of a build', '--guard', GUARD, '--json'));
  const [token] = opened.facts.tokens;
  assert.deepEqual([opened.facts.count, token.state, token.grant, token.uses.accepted, token.uses.after], [1, 'revoked', id, 2, [1, 1]]);
  const [reach] = opened.facts.reach;
  assert.deepEqual(reach.routes.map(({ name }) => name), ['GET,POST /customers', 'GET /large', 'GET /pages']);
  assert.deepEqual(reach.agreement.parties, ['Example Shop SE', 'Helpdesk GmbH']);
  assert.equal(opened.facts.stop.live, 0);
  // Reports tell times in whole seconds.
  assert.ok(opened.facts.stop.accepted_after_ms < 11_000, 'refused within the deadline');
  const acts = opened.facts.acts.map(({ act, what }) => `${act} ${what}`).join('\n');
  for (const act of ['asked', 'approved', 'token_revoked']) assert.ok(acts.includes(act), acts);
  const field = (report, name) => report.sections.flatMap(({ fields }) => fields).find((one) => one.name === name);
  assert.deepEqual(field(opened, 'data').value, ['contact, payment']);
  assert.equal(field(opened, 'controller').value[0], 'Example Shop SE');
  assert.equal(field(opened, 'risk').state, 'open');
  await issuer.edgepass('breach', 'note', opened.incident, '--set', 'risk=unlikely', '--set', 'subjects_number=exact 1');
  const { json: file, page } = JSON.parse(await issuer.edgepass('breach', 'export', opened.incident, folder, '--json'));
  const checkpoint = join(folder, 'checkpoint');
  await writeFile(checkpoint, await (await fetch(`${issuer.url}/audit-log/checkpoint`)).text());
  // A reader has the file and the checkpoint, and no configuration.
  const elsewhere = { cwd: folder, env: { PATH: process.env.PATH } };
  const verified = async (...argv) => {
    try {
      return [0, (await run(process.env.EDGEPASS_PROGRAM, ['breach', 'verify', ...argv], elsewhere)).stdout];
    } catch ({ code, stderr }) {
      return [code, stderr];
    }
  };
  const [code, told] = await verified(file, '--checkpoint', checkpoint);
  assert.equal(code, 0, told);
  const exported = JSON.parse(await readFile(file, 'utf8'));
  const held = await readFile(checkpoint, 'utf8');
  const report = verifyExport(exported, held);
  assert.deepEqual(field(report, 'risk').value, ['unlikely']);
  assert.match(await readFile(page, 'utf8'), /Personal data breach/);
  // Whoever changes anything is found out, by both.
  const changes = {
    'a number': (it) => { it.report.facts.uses.accepted = 0; },
    'a number and the digest': (it) => { it.report.facts.uses.accepted = 0; it.digest = 'a'.repeat(64); },
    'an act': (it) => { it.report.facts.acts[0].at_ms += 1; },
    'an entry that is missing': (it) => { it.evidence.pop(); },
    'entries in each other\'s place': (it) => { [it.evidence[0].position, it.evidence[1].position] = [it.evidence[1].position, it.evidence[0].position]; },
    'the entry with the digest': (it) => { it.binding = it.evidence[0]; },
    'a hash': (it) => { it.binding.proof = it.binding.proof.replace(/\n([A-Za-z0-9+/]{43}=)\n/, (all, hash) => `\n${hash.split('').reverse().join('').replace('=', '')}=\n`); },
    'the key': (it) => { it.key = it.key.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')); },
  };
  for (const [what, change] of Object.entries(changes)) {
    const changed = structuredClone(exported);
    change(changed);
    const text = JSON.stringify(changed);
    assert.notEqual(text, JSON.stringify(exported), what);
    await writeFile(join(folder, 'changed.json'), text);
    const [code, told] = await verified('changed.json', '--checkpoint', checkpoint);
    assert.equal(code, 1, `${what}: ${told}`);
    assert.throws(() => verifyExport(changed, held), what);
  }
  // A later checkpoint needs the log, and that of another log is none.
  await issuer.edgepass('issue', '--role', 'on-call', '--subject', 'ada');
  const newer = join(folder, 'newer');
  for (const from = Date.now(); ; await setTimeout(100)) {
    await writeFile(newer, await (await fetch(`${issuer.url}/audit-log/checkpoint`)).text());
    if (await readFile(newer, 'utf8') !== await readFile(checkpoint, 'utf8')) break;
    assert.ok(Date.now() - from < 10_000, 'the log grows');
  }
  assert.equal((await verified(file, '--checkpoint', newer))[0], 2);
  assert.equal((await verified(file, '--checkpoint', newer, '--log', `${issuer.url}/audit-log`))[0], 0);
  const again = JSON.parse(await issuer.edgepass('breach', 'export', opened.incident, folder, '--checkpoint', checkpoint, '--private', '--json'));
  assert.equal((await verified(again.json, '--checkpoint', checkpoint))[0], 0, 'it holds the proof from an older checkpoint');
  const second = JSON.parse(await readFile(again.json, 'utf8'));
  assert.equal(second.report.phases[0].digest, exported.digest, 'a second phase names the first');
  assert.match(second.evidence.find(({ private: personal }) => personal?.values.includes('leak')).private.values, /cli:|leak/);
  await issuer.edgepass('breach', 'close', opened.incident, '--reason', 'nobody else used it');

  // All of it is in the trail, which proves itself, and in the record of processing.
  const trail = (await issuer.edgepass('audit', '--json')).trim().split('\n').map((line) => JSON.parse(line));
  const of = (act) => trail.filter((entry) => entry.act === act);
  assert.deepEqual(of('access_changed').map(({ change }) => change).sort(), ['approved', 'asked', 'ended']);
  assert.equal(of('token_issued').filter(({ grant }) => grant === id).length, 2);
  assert.match(await issuer.edgepass('audit', 'verify'), /entries/);
  const record = JSON.parse(await issuer.edgepass('records', 'art30', '--format', 'json'))['edgepass:records'];
  const [activity] = record.find((one) => one['@type'] === 'dpv:DataController')['dpv:hasProcess'];
  assert.deepEqual(activity['dpv:hasPersonalData'][0]['edgepass:content'], ['contact', 'payment']);
});
