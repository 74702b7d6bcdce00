// From an agreement to a token that died, through a real issuer and a guard in workerd.
//
// EDGEPASS_PROGRAM is the command `edgepass`, EDGEPASS_GOVERNANCE_GUARD a build of the guard with guard.toml.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Issuer } from '../stage/issuer.mjs';
import { listen } from '../stage/ports.mjs';
import { guardModules, startWorkers } from '../stage/workerd.mjs';

const run = promisify(execFile);
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

test('agreement, role, request, approval, token, masked and unmasked answers, a leak, and the end', async (t) => {
  const issuer = await Issuer.start({ change: (text) => text + policy(/issuer = "(.*)"/.exec(text)[1]) });
  t.after(() => issuer.remove());
  const origin = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(CUSTOMERS);
  });
  const url = await listen(origin);
  t.after(() => { origin.close(); origin.closeAllConnections(); });
  const guard = await startWorkers([{
    name: 'guard', ...guardModules(process.env.EDGEPASS_GOVERNANCE_GUARD),
    bindings: { ISSUER: issuer.url, AUDIENCE, CACHE: 'none', ORIGIN_URL: url, MASK_KEY: 'gO3mQ0yTq2hX8sVn5bKd7rLw1cZf4jPe' },
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

  // Somebody finds the first one in a log.
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
