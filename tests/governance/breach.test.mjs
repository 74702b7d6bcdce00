// `edgepass breach`: over HTTP, by what leaked, with hostile texts, and the page as a browser shows and prints it.
//
// EDGEPASS_PROGRAM is the command `edgepass`, EDGEPASS_CHROMIUM the browser's program. With EDGEPASS_WRITE=1 the test
// writes the golden page.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { Issuer } from '../stage/issuer.mjs';
import { verifyExport } from './verify-breach.mjs';

const run = promisify(execFile);
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const HOSTILE = '<img src=x onerror="document.title=1">&amp;';

const policy = (url) => `
[[party]]
name = "Example Shop SE"
kind = "controller"
contact = "Marktplatz 1 <b>, 10115 Berlin"
dpo = "Ada Beispiel, dpo@shop.example"
country = "DE"

[[party]]
name = "Fast Invoices GmbH"
kind = "processor"
contact = "ops@invoices.example"

[[scope]]
name = "invoices:read"
description = "Reads invoices <i>"
data = ["contact", "payment"]
subjects = ["customers", "tenants"]
personal = true

[[scope]]
name = "invoices:write"
description = "Writes invoices"
personal = false

[[agreement]]
id = "dpa-1"
parties = ["Example Shop SE", "Fast Invoices GmbH"]
purposes = ["invoicing"]
data = ["contact", "payment"]
regions = ["EU"]
start = 2026-01-01

[[role]]
name = "clerk"
audience = "https://api.example"
scopes = ["invoices:read"]
agreement = "dpa-1"

[[role]]
name = "officer"
audience = "${url}"
scopes = ["edgepass:operate", "edgepass:audit"]

[[role]]
name = "closer"
audience = "${url}"
scopes = ["edgepass:operate"]

[[role]]
name = "reader"
audience = "${url}"
scopes = ["edgepass:read"]
`;

let issuer;
let folder;

before(async () => {
  const change = (text) => text
    .replaceAll('scopes = ["invoices:read"]', 'scopes = ["invoices:read"]\nagreement = "dpa-1"')
    .replaceAll('scopes = ["invoices:read", "invoices:write"]', 'scopes = ["invoices:read", "invoices:write"]\nagreement = "dpa-1"')
    + policy(/issuer = "(.*)"/.exec(text)[1]);
  issuer = await Issuer.start({ change });
  folder = await mkdtemp(join(tmpdir(), 'edgepass-breach-'));
});
after(async () => {
  await issuer?.remove();
  await rm(folder, { recursive: true, force: true });
});

const json = async (...argv) => JSON.parse(await issuer.edgepass(...argv, '--json'));
const issued = (...argv) => json('issue', '--role', 'clerk', '--subject', 'ada', ...argv);
const field = (report, name) => report.sections.flatMap(({ fields }) => fields).find((one) => one.name === name);
const refused = async (...argv) => {
  const error = await issuer.edgepass(...argv).then(() => assert.fail(argv.join(' ')), (error) => error);
  return [error.code, error.stderr];
};

test('a report over HTTP is the one that the machine of the issuer makes', async () => {
  const { jti } = await issued();
  const token = (await issuer.edgepass('issue', '--role', 'officer', '--subject', 'bo', '--client', 'console')).trim();
  const told = (bearer, ...argv) => run(issuer.program, [...argv, '--server', issuer.url, '--json'], {
    cwd: folder, env: { PATH: process.env.PATH, EDGEPASS_TOKEN: bearer },
  });
  const there = async (...argv) => JSON.parse((await told(token, ...argv)).stdout);
  const opened = await there('breach', 'open', '--jti', jti, '--reason', 'line one\nline two');
  assert.equal(opened.facts.tokens[0].jwt_id, jti);
  await there('breach', 'note', opened.incident, '--set', 'risk=high', '--text', 'noted over HTTP');
  const { json: file } = await there('breach', 'export', opened.incident, folder);
  const held = await (await fetch(`${issuer.url}/audit-log/checkpoint`)).text();
  const report = verifyExport(JSON.parse(await readFile(file, 'utf8')), held);
  assert.deepEqual(field(report, 'risk').value, ['high']);
  assert.ok(field(report, 'description').value[0].startsWith('line one\nline two'));
  const { stderr } = await told(token, 'breach', 'close', opened.incident, '--reason', 'done');
  assert.match(stderr, /^note: 1 of its tokens still work; `edgepass revoke` ends them\nnote: \d\d fields of its report are open\n$/);
  // Who may close it may not be allowed to read the trail.
  const closer = (await issuer.edgepass('issue', '--role', 'closer', '--subject', 'di', '--client', 'console')).trim();
  const { incident: second } = await json('breach', 'open', '--jti', jti, '--reason', 'again');
  assert.match((await told(closer, 'breach', 'close', second, '--reason', 'done')).stderr, /^note: whether its tokens still work was not looked up/);
  const local = await json('breach', 'show', opened.incident);
  assert.ok(local.closed_ms > 0 && local.notes.length === 2);
  assert.deepEqual(local.facts.tokens, report.facts.tokens);
  // Who read and who changed it is in the trail, and a token for reading alone opens nothing.
  const trail = (await issuer.edgepass('audit', '--json')).trim().split('\n').map((line) => JSON.parse(line));
  const changes = trail.filter(({ incident }) => incident === opened.incident).map(({ change, actor }) => `${change} ${actor}`);
  assert.deepEqual(changes.sort(), ['closed subject:bo', 'exported subject:bo', 'noted subject:bo', 'opened subject:bo']);
  assert.ok(trail.some(({ act, actor }) => act === 'audit_read' && actor === 'subject:bo'));
  const reader = (await issuer.edgepass('issue', '--role', 'reader', '--subject', 'cy', '--client', 'console')).trim();
  for (const [path, method] of [['', 'GET'], ['', 'POST'], [`/${opened.incident}`, 'GET'], [`/${opened.incident}/export`, 'POST']]) {
    const answer = await fetch(`${issuer.url}/admin/v1/incidents${path}`, { method, headers: { authorization: `Bearer ${reader}` } });
    assert.equal(answer.status, 403, path);
  }
});

test('a report of a leak opens an incident, and its entry is the time of awareness', async () => {
  const { access_token: token, jti } = await issued();
  await fetch(`${issuer.url}/leaks/revoke`, {
    method: 'POST', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token, url: 'https://git.example/a' }),
  });
  let entry;
  for (const from = Date.now(); !entry; await setTimeout(50)) {
    assert.ok(Date.now() - from < 10_000, 'the token is revoked');
    const lines = (await issuer.edgepass('audit', 'export')).trim().split('\n').map((line) => JSON.parse(line));
    entry = lines.find(({ entry: { act, jwt_id: own } }) => act === 'token_revoked' && own === jti);
  }
  const opened = await json('breach', 'open', '--leak', String(entry.position));
  assert.equal(opened.clock.aware_ms, entry.entry.at_ms);
  assert.equal(opened.clock.due_ms, entry.entry.at_ms + 72 * 3_600_000);
  assert.deepEqual(opened.facts.reported, [['possession', entry.entry.at_ms]]);
  assert.equal(field(opened, 'discovery').state, 'open', 'whoever held it may have been the controller');
  assert.ok(!JSON.stringify(opened).includes('git.example'), 'where it was found is personal, perhaps');
  const [code, text] = await refused('breach', 'open', '--leak', '1');
  assert.equal(code, 2, text);
  assert.match(text, /no report of a leaked token/);
});

test('what cannot be is refused with what to do', async () => {
  const { jti } = await issued();
  const open = ['breach', 'open', '--reason', 'x'];
  const { incident } = await json(...open, '--client', 'example-service');
  for (const [argv, code, hint] of [
    [[...open, '--jti', 'none'], 1, /edgepass tokens/],
    [[...open, '--jti', jti, '--jti', 'none'], 1, /not all of them/],
    [[...open, '--jti', jti, '--leaked-at', '2026-11-02'], 1, /did not leak before/],
    [['breach', 'note', incident, '--set', 'aware=x'], 1, /takes no answer/],
    [[...open, '--role', 'none'], 1, /edgepass tokens/],
    [[...open], 2, /--jti/],
    [[...open, '--jti', jti, '--role', 'clerk'], 2, /cannot be used/],
    [[...open, '--jti', jti, '--leaked-at', '2099-01-01'], 1, /future/],
    [[...open, '--jti', jti, '--leaked-at', '2026-11-02', '--aware-at', '2026-11-01'], 1, /aware/],
    [[...open, '--jti', jti, '--within', '5m'], 1, /between 1h and 90days/],
    [['breach', 'show', 'in_none'], 1, /breach list/],
    [['breach', 'note', incident, '--set', 'risk'], 2, /FIELD=ANSWER/],
    [['breach', 'note', incident, '--set', 'risk=huge'], 1, /one of high/],
    [['breach', 'note', incident, '--set', 'nothing=1'], 1, /breach show/],
    [['breach', 'note', incident], 1, /nothing to note/],
    [['breach', 'verify', here('guard.toml'), '--key', 'x'], 1, /export.* damaged/],
    [['breach', 'note', incident, '--set', 'description=Unknown'], 1, /unknown: REASON/],
    [['breach', 'verify', here('guard.toml')], 2, /--checkpoint/],
  ]) {
    const [own, text] = await refused(...argv);
    assert.equal(own, code, `${argv.join(' ')}: ${text}`);
    assert.match(text, hint);
  }
  // A folder that cannot be is refused before anything is recorded; one that is not there is made.
  const [code, text] = await refused('breach', 'export', incident, join(here('guard.toml'), 'a'));
  assert.equal(code, 2);
  assert.match(text, /folder/);
  assert.equal((await json('breach', 'show', incident)).phases.length, 0);
  const all = await Promise.all([1, 2, 3].map(() => json('breach', 'export', incident, join(folder, 'new'))));
  assert.equal(new Set(all.map(({ json: file }) => file)).size, 3, 'three at once are three phases');
  const reports = await Promise.all(all.map(async ({ json: file }) => JSON.parse(await readFile(file, 'utf8')).report));
  assert.deepEqual(reports.map(({ phases }) => phases.length).sort(), [0, 1, 2]);
  await json('breach', 'note', incident, '--set', 'dpo=n/a: no officer is needed', '--set', 'sector=unknown: asked today');
  const noted = await json('breach', 'show', incident);
  assert.deepEqual([field(noted, 'dpo').state, field(noted, 'sector').state], ['not_applicable', 'unknown']);
  assert.equal(field(noted, 'ended').state, 'open', 'whether the secret was replaced is not known here');
  // Of a repeated member readers take the one or the other.
  const file = all[0].json;
  const whole = await readFile(file, 'utf8');
  await writeFile(join(folder, 'twice.json'), whole.replace('"reason":', '"reason": "forged", "reason":'));
  const key = JSON.parse(whole).key;
  assert.equal((await refused('breach', 'verify', join(folder, 'twice.json'), '--key', key))[0], 1);
  assert.match(await issuer.edgepass('breach', 'verify', file, '--key', key), /is the one that was exported/);
  // What was late stays late, also once it was exported and closed; a closed one says how to go on.
  const { jti: other } = await issued();
  const late = await json(...open, '--jti', other, '--aware-at', '2026-11-01');
  const state = async () => (await issuer.edgepass('breach', 'list')).split('\n').find((line) => line.includes(late.incident)).trim().split(/ {2,}/)[1];
  assert.equal(await state(), 'open, late');
  await json('breach', 'export', late.incident, join(folder, 'late'));
  assert.equal(await state(), 'open, exported, late');
  await json('breach', 'close', late.incident, '--reason', 'done');
  assert.equal(await state(), 'closed, late');
  assert.match((await refused('breach', 'note', late.incident, '--text', 'more'))[1], /the same --aware-at/);
  assert.match(await issuer.edgepass('breach', 'show', late.incident), /\d fields are open:\n/);
});

test('the page says everything, prints, and markup in it stays text', async () => {
  const { jti } = await issued();
  const leaked = new Date().toISOString();
  const { incident } = await json('breach', 'open', '--jti', jti, '--leaked-at', leaked, '--reason', HOSTILE, '--guard', here('guard.toml'));
  await issuer.edgepass('revoke', '--jti', jti, '--reason', HOSTILE);
  await issuer.edgepass('breach', 'note', incident, '--set', `description=${HOSTILE}`, '--text', HOSTILE, '--set', 'cause=unknown');
  const { page } = await json('breach', 'export', incident, folder, '--private');
  const browser = await chromium.launch({ executablePath: process.env.EDGEPASS_CHROMIUM, headless: true, chromiumSandbox: false });
  try {
    const view = await browser.newPage({ viewport: { width: 360, height: 800 } });
    const asked = [];
    view.on('request', (request) => asked.push(request.url()));
    await view.goto(`file://${page}`);
    assert.equal(await view.title(), `Personal data breach ${incident}`, 'no script ran');
    assert.equal(asked.length, 1, 'the page asks for nothing');
    assert.equal(await view.evaluate('document.documentElement.scrollWidth <= innerWidth'), true, 'nothing is cut off at 360 px');
    await view.setViewportSize({ width: 1200, height: 800 });
    const text = await view.evaluate('document.body.innerText');
    assert.equal(text.split(HOSTILE).length - 1, 4, 'the reason, an answer, a note, and a draft');
    const pdf = await view.pdf({ format: 'A4' });
    assert.equal(pdf.subarray(0, 5).toString(), '%PDF-');
    const told = text
      .replaceAll(incident, 'INCIDENT').replaceAll(jti, 'JTI').replaceAll(new URL(issuer.url).host, 'ISSUER')
      .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z( \(local [^)]*\))?/g, 'TIME')
      .replace(/\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+/, '+KEY').replace(/\b[0-9a-f]{64}\b/g, 'DIGEST')
      .replace(/\b(entry|entries|Entries) \d+( to \d+)?/g, '$1 N').replace(/Audit trail: \d+/, 'Audit trail: N')
      .replace(/(\t| )\d+(?=\n(TIME|SHA|Notes|Draft))/g, '$1N').replace(/(none reported\t)\d+/g, '$1N').replace(/policy version \d+/, 'policy version N')
      .replace(/specific_day|date_range/, 'DAYS').replace(/last accepted at most \d+ ms/, 'last accepted at most N ms');
    const golden = here('breach.txt');
    if (process.env.EDGEPASS_WRITE) await writeFile(golden, `${told}\n`);
    assert.equal(`${told}\n`, await readFile(golden, 'utf8'));
  } finally {
    await browser.close();
  }
});
