// Access on request: a real issuer, its commands from elsewhere, a mail server, and a webhook.
//
// EDGEPASS_PROGRAM is the command `edgepass`.

import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { SMTPServer } from 'smtp-server';
import { Issuer } from '../stage/issuer.mjs';
import { listen } from '../stage/ports.mjs';

const run = promisify(execFile);
const AUDIENCE = 'https://api.example';
const SECRET = randomBytes(32);

const policy = (url) => `
[mail]
server = "smtp://127.0.0.1:${mail.port}"
from = "edgepass@example.com"

[alerts]
url = "${hook.url}/hook"

[[role]]
name = "customer-reader"
audience = "${AUDIENCE}"
scopes = ["customers:read", "customers:pii"]
lifetime = "10m"

[[role]]
name = "on-call"
audience = "${url}"
scopes = ["edgepass:request"]

[[role]]
name = "lead"
audience = "${url}"
scopes = ["edgepass:approve"]

[[approval]]
name = "customers"
roles = ["customer-reader"]
may_ask = ["role:on-call", "client:example-service"]
may_approve = ["role:lead"]
may_break_glass = ["role:on-call"]
reason = ".{10,}"
ticket = "INC-[0-9]+"
longest = "1h"
start_within = "1d"
tell = ["leads@example.com", "security@example.com"]
`;

let issuer;
let mail;
let hook;

before(async () => {
  hook = { told: [] };
  hook.server = createServer((request, response) => {
    let body = '';
    request.on('data', (piece) => { body += piece; });
    request.on('end', () => {
      hook.told.push({ headers: request.headers, body });
      response.end();
    });
  });
  hook.url = await listen(hook.server);
  mail = { taken: [] };
  mail.server = new SMTPServer({
    authOptional: true, disabledCommands: ['STARTTLS'], logger: false,
    onData(stream, session, done) {
      let text = '';
      stream.on('data', (piece) => { text += piece; });
      stream.on('end', () => {
        mail.taken.push({ to: session.envelope.rcptTo.map(({ address }) => address), text });
        done();
      });
    },
  });
  await new Promise((resolve) => { mail.server.listen(0, '127.0.0.1', resolve); });
  mail.port = mail.server.server.address().port;
  let url;
  issuer = await Issuer.start({
    url: (own) => { url = own; return own; },
    env: { EDGEPASS_ALERT_SECRET: `whsec_${SECRET.toString('base64')}` },
    change: (text) => text.replace('roles = ["invoice-reader"', 'roles = ["customer-reader", "invoice-reader"') + policy(url),
  });
});
after(async () => {
  await issuer.remove();
  hook.server.close();
  await new Promise((resolve) => { mail.server.close(resolve); });
});

/** Runs a command of somebody elsewhere, who has a token of a role for operators. */
async function as(subject, role, ...argv) {
  const token = (await issuer.edgepass('issue', '--role', role, '--subject', subject, '--client', 'console')).trim();
  return run(process.env.EDGEPASS_PROGRAM, [...argv, '--server', issuer.url, '--json'], { env: { ...process.env, EDGEPASS_TOKEN: token } })
    .then(({ stdout }) => JSON.parse(stdout.trim().split('\n').at(-1)), (error) => {
      const { error: said } = JSON.parse(error.stderr.trim().split('\n').at(-1));
      throw Object.assign(new Error(said), { code: error.code });
    });
}
const want = (subject, reason, ticket, ...more) =>
  as(subject, 'on-call', 'access', 'request', '--role', 'customer-reader', '--for', '30m', '--reason', reason, '--ticket', ticket, ...more);
const ask = (subject, ...more) => want(subject, 'customer cannot pay', 'INC-1', ...more);
const refused = (pattern, code = 1) => (error) => {
  assert.match(error.message, pattern);
  return error.code === code;
};
const decide = async (subject, id, digest) => {
  const shown = digest ?? (await as(subject, 'lead', 'access', 'show', id)).digest;
  return as(subject, 'lead', 'access', 'approve', id, '--digest', shown);
};
const status = async (jti) => JSON.parse(await issuer.edgepass('tokens', '--jti', jti, '--json')).status;
const until = async (what, isSo) => {
  for (const from = Date.now(); !(await isSo()); await setTimeout(50)) assert.ok(Date.now() - from < 15_000, what);
};

test('somebody asks, somebody else approves what was shown, and the token ends with access', async () => {
  await assert.rejects(issuer.edgepass('issue', '--role', 'customer-reader'), ({ code, stderr }) => code === 1 && /needs approval/.test(stderr));
  await assert.rejects(want('ada', 'short', 'INC-1'), refused(/^.*reason:/));
  await assert.rejects(want('ada', 'customer cannot pay', 'INC-1 and more'), refused(/^.*ticket:/));
  const asked = await ask('ada', '--scope', 'customers:read');
  assert.deepEqual([asked.state, asked.scope, asked.asked_by], ['pending', 'customers:read', 'subject:ada']);
  await assert.rejects(ask('ada'), refused(new RegExp(asked.id)));
  await assert.rejects(as('ada', 'on-call', 'issue', '--grant', asked.id), refused(/not granted yet/));
  await assert.rejects(decide('ada', asked.id), refused(/your own request/));
  await assert.rejects(decide('bo', asked.id, '0'.repeat(64)), refused(/not what was shown/));
  await assert.rejects(as('eve', 'on-call', 'access', 'show', asked.id), refused(/no such request/));
  await assert.rejects(as('eve', 'on-call', 'access', 'approve', asked.id, '--digest', asked.digest), refused(/lacks the scope edgepass:approve/));
  const approved = await decide('bo', asked.id);
  assert.deepEqual([approved.state, approved.ends - approved.begins], ['approved', 1800]);
  await assert.rejects(as('eve', 'on-call', 'issue', '--grant', asked.id), refused(/no grant of access/));
  await assert.rejects(as('ada', 'on-call', 'issue', '--grant', asked.id, '--scope', 'customers:pii'), refused(/beyond what was approved/));
  await assert.rejects(as('ada', 'on-call', 'issue', '--role', 'invoice-reader'), refused(/lacks the scope edgepass:operate/));
  const token = await as('ada', 'on-call', 'issue', '--grant', asked.id);
  const claims = JSON.parse(Buffer.from(token.access_token.split('.')[1], 'base64url'));
  assert.deepEqual([claims.sub, claims.scope, claims.aud], ['ada', 'customers:read', AUDIENCE]);
  assert.ok(claims.exp <= approved.ends);
  assert.equal(await status(token.jti), 'live');
  const ended = await as('bo', 'lead', 'access', 'end', asked.id);
  assert.deepEqual([ended.state, ended.tokens_revoked], ['ended', true]);
  assert.equal(await status(token.jti), 'revoked');
  await assert.rejects(as('ada', 'on-call', 'issue', '--grant', asked.id), refused(/is ended/));
  const entries = (await issuer.edgepass('audit', '--json')).trim().split('\n').map((line) => JSON.parse(line));
  const own = entries.filter(({ request }) => request === asked.id).reverse();
  assert.deepEqual(own.map(({ change, state, actor }) => [change, state, actor]).sort(), [
    ['approved', 'approved', 'subject:bo'], ['asked', 'pending', 'subject:ada'], ['ended', 'ended', 'subject:bo'],
  ]);
});

test('a client is told what it lacks, asks by the token request, and gets a token no longer than its access', async () => {
  const form = (more) => fetch(`${issuer.url}/oauth/token`, {
    method: 'POST', headers: { authorization: `Basic ${Buffer.from(`example-service:${issuer.secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', role: 'customer-reader', ...more }),
  }).then(async (response) => [response.status, await response.json()]);
  const [code, lacks] = await form({});
  assert.deepEqual([code, lacks.error, lacks.access_error, lacks.access_request_uri],
    [400, 'access_denied', 'approval_required', `${issuer.url}/admin/v1/access-requests`]);
  const request = { access_reason: 'nightly reconciliation', access_ticket: 'INC-2' };
  assert.deepEqual((await form({ ...request, access_for: 'soon' }))[1].error, 'invalid_request');
  assert.deepEqual((await form({ ...request, access_for: '2h' }))[1].error, 'access_denied');
  const [, pending] = await form({ ...request, access_for: '90s', scope: 'customers:read' });
  assert.deepEqual([pending.error, pending.access_error], ['access_denied', 'approval_pending']);
  const id = pending.access_request_uri.split('/').at(-1);
  assert.equal((await form({}))[1].access_request_uri, pending.access_request_uri);
  await decide('bo', id);
  const [granted, token] = await form({});
  assert.deepEqual([granted, token.scope], [200, 'customers:read']);
  assert.ok(token.expires_in <= 90);
  assert.equal((await form({ scope: 'customers:pii' }))[1].access_error, 'beyond_approval');
  const { jti } = JSON.parse(Buffer.from(token.access_token.split('.')[1], 'base64url'));
  // Exchanged for a narrower one, it ends with its parent.
  const exchanged = await fetch(`${issuer.url}/oauth/token`, {
    method: 'POST', headers: { authorization: `Basic ${Buffer.from(`example-service:${issuer.secret}`).toString('base64')}` },
    body: new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange', subject_token: token.access_token,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    }),
  }).then((response) => response.json());
  const child = JSON.parse(Buffer.from(exchanged.access_token.split('.')[1], 'base64url')).jti;
  const listed = (await issuer.edgepass('tokens', '--grant', id, '--json')).trim().split('\n').map((line) => JSON.parse(line).jti);
  assert.deepEqual(listed.sort(), [jti, child].sort());
  assert.match(await issuer.edgepass('revoke', '--grant', id, '--reason', 'a test', '--dry-run'), /2 tokens/);
  await as('bo', 'lead', 'access', 'end', id);
  assert.deepEqual([await status(jti), await status(child)], ['revoked', 'revoked']);
  assert.equal((await form({}))[1].access_error, 'approval_required');
});

test('a denied client does not ask again by repeating its request, and a changed rule needs another approval', async () => {
  const form = (more) => fetch(`${issuer.url}/oauth/token`, {
    method: 'POST', headers: { authorization: `Basic ${Buffer.from(`example-service:${issuer.secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', role: 'customer-reader', access_for: '5m', access_reason: 'nightly reconciliation', access_ticket: 'INC-7', ...more }),
  }).then((response) => response.json());
  const asked = await Promise.all(Array.from({ length: 6 }, () => form({})));
  assert.deepEqual([...new Set(asked.map(({ access_error: error }) => error))], ['approval_pending']);
  const [uri] = new Set(asked.map(({ access_request_uri: one }) => one));
  const id = uri.split('/').at(-1);
  await as('bo', 'lead', 'access', 'deny', id);
  const again = await form({});
  assert.deepEqual([again.access_error, again.access_request_uri], ['approval_denied', uri]);
  const file = join(issuer.folder, 'edgepass.toml');
  const text = await readFile(file, 'utf8');
  const granted = await ask('ina');
  await decide('bo', granted.id);
  assert.ok((await as('ina', 'on-call', 'issue', '--grant', granted.id)).access_token);
  await writeFile(file, text.replace('name = "customer-reader"', 'name = "customer-reader"\nmax_lifetime = "2h"'));
  await issuer.edgepass('policy', 'apply');
  await assert.rejects(as('ina', 'on-call', 'issue', '--grant', granted.id), refused(/has changed since/));
  await writeFile(file, text);
  await issuer.edgepass('policy', 'apply');
});

test('one person is one party, whichever federation or command they come by', async () => {
  const here = (user, ...argv) => run(process.env.EDGEPASS_PROGRAM, argv, { cwd: issuer.folder, env: { ...process.env, USER: user } });
  const file = join(issuer.folder, 'edgepass.toml');
  const text = await readFile(file, 'utf8');
  const rules = ['on-call', 'lead'].map((role) => `
[[federation]]
name = "of-${role}"
issuer = "https://login.example"
role = "${role}"
claims = { groups = { any = ["${role}"] } }
`).join('');
  await writeFile(file, text.replace('may_approve = ["role:lead"', 'may_approve = ["cli:hal", "role:lead"') + rules);
  await issuer.edgepass('policy', 'apply');
  // As a federation names them.
  const asked = await ask('of-on-call:jo');
  await assert.rejects(decide('of-lead:jo', asked.id), refused(/your own request/));
  const other = await ask('hal');
  const { digest } = await as('bo', 'lead', 'access', 'show', other.id);
  await assert.rejects(here('hal', 'access', 'approve', other.id, '--digest', digest), ({ stderr }) => /your own request/.test(stderr));
  assert.equal((await decide('of-lead:kim', asked.id)).state, 'approved');
  await assert.rejects(want('lou', 'a reason \u202egnp.exe', 'INC-1'), refused(/reason:/));
  await writeFile(file, text);
  await issuer.edgepass('policy', 'apply');
});

test('nobody asks without end', async () => {
  for (let at = 0; at < 20; at += 1) {
    const { id } = await ask('max');
    await as('max', 'on-call', 'access', 'end', id);
  }
  await assert.rejects(ask('max'), refused(/20 times within an hour/));
});

test('approvers are told by e-mail and by a signed webhook, each of what concerns them', async () => {
  const { id } = await ask('cy');
  await as('bo', 'lead', 'access', 'deny', id, '--comment', 'ask the customer first');
  const mails = () => mail.taken.filter(({ text }) => text.includes(id));
  await until('two e-mails', () => mails().length >= 2);
  assert.deepEqual(mails().map(({ to }) => to.join()).sort(), ['leads@example.com', 'security@example.com']);
  assert.match(mails()[0].text, /^Subject: Access requested: customer-reader\r$/m);
  assert.match(mails()[0].text, /customer cannot pay/);
  const told = () => hook.told.map((one) => ({ ...one, event: JSON.parse(one.body) })).filter(({ event }) => event.data.access_request?.id === id);
  await until('two events', () => told().length >= 2);
  assert.deepEqual(told().map(({ event }) => event.type), ['access.asked', 'access.denied']);
  for (const { headers, body } of told()) {
    const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
    assert.equal(headers['webhook-signature'], `v1,${createHmac('sha256', SECRET).update(signed).digest('base64')}`);
  }
  await assert.rejects(decide('bo', id), refused(/is denied/));
});

test('the glass is broken with a second confirmation, everybody is told, and the next waits for a review', async () => {
  const broken = (subject, ...more) => ask(subject, '--break-glass', ...more);
  await assert.rejects(broken('dee', '--confirm', 'customer'), refused(/confirm it by the role's name/));
  const later = new Date(Date.now() + 600_000).toISOString();
  await assert.rejects(broken('dee', '--confirm', 'customer-reader', '--start', later), refused(/leave start out/));
  const { id, state } = await broken('dee', '--confirm', 'customer-reader');
  assert.equal(state, 'approved');
  const token = await as('dee', 'on-call', 'issue', '--grant', id);
  await until('e-mails', () => mail.taken.filter(({ text }) => text.includes(id)).length >= 2);
  assert.match(mail.taken.find(({ text }) => text.includes(id)).text, /^Subject: Access without approval: customer-reader\r$/m);
  await assert.rejects(broken('fay', '--confirm', 'customer-reader'), refused(new RegExp(`${id}.*reviewed`)));
  assert.match(await issuer.edgepass('access', 'list', '--unreviewed'), new RegExp(`${id}.*unreviewed`));
  assert.match(await issuer.edgepass('review').catch(({ stdout }) => stdout), new RegExp(id));
  await assert.rejects(as('dee', 'lead', 'access', 'review', id), refused(/your own request/));
  assert.equal((await as('bo', 'lead', 'access', 'review', id)).unreviewed, false);
  await assert.rejects(as('bo', 'lead', 'access', 'review', id), refused(/only a request that broke the glass/));
  assert.equal((await broken('fay', '--confirm', 'customer-reader')).state, 'approved');
  await as('dee', 'on-call', 'access', 'end', id);
  assert.equal(await status(token.jti), 'revoked');
});

test('what was shown under another policy is not approved, and a local user decides only where a rule names them', async () => {
  const { id, digest } = await ask('gil', '--start', new Date(Date.now() + 3_600_000).toISOString());
  const file = join(issuer.folder, 'edgepass.toml');
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace('may_approve = ["role:lead"]', 'may_approve = ["role:lead", "cli:local-lead"]'));
  await issuer.edgepass('policy', 'apply');
  await assert.rejects(decide('bo', id, digest), refused(/not what was shown/));
  const here = (user, ...argv) => run(process.env.EDGEPASS_PROGRAM, argv, { cwd: issuer.folder, env: { ...process.env, USER: user } });
  const shown = JSON.parse((await here('local-lead', 'access', 'show', id, '--json')).stdout).digest;
  await assert.rejects(here('somebody', 'access', 'approve', id, '--digest', shown), ({ code, stderr }) => code === 1 && /may_approve/.test(stderr));
  await assert.rejects(here('local-lead', 'access', 'approve', id), ({ code, stderr }) => code === 2 && /--digest/.test(stderr));
  assert.match((await here('local-lead', 'access', 'approve', id, '--digest', shown)).stdout, /approved/);
  // Access begins later.
  await assert.rejects(as('gil', 'on-call', 'issue', '--grant', id), refused(/not granted yet/));
  assert.match((await here('local-lead', 'access', 'end', id)).stdout, /ended/);
});
