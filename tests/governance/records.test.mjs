// `edgepass records art30` for three controllers, in every form, with the terms of the vocabulary.
//
// EDGEPASS_PROGRAM is the command `edgepass`. With EDGEPASS_WRITE=1 the test writes the golden record.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { fileURLToPath } from 'node:url';

const run = promisify(execFile);
const here = (name) => fileURLToPath(new URL(name, import.meta.url));

const POLICY = `issuer = "https://auth.example"
listen = "127.0.0.1:8787"
data_dir = "data"
master_key_file = "master.key"

[[environment]]
name = "dev"

[[environment]]
name = "prod"

[[party]]
name = "Example Shop SE"
kind = "controller"
contact = "Marktplatz 1, 10115 Berlin; privacy@shop.example"
dpo = "Ada Beispiel, dpo@shop.example"
country = "DE"

[[party]]
name = "Überseehandel <Ltd>"
kind = "controller"
contact = "1 Harbour | Lane"
country = "GB"

[[party]]
name = "Clinic Nord"
kind = "joint_controller"

[[party]]
name = "Fast Invoices GmbH"
kind = "processor"
contact = "ops@invoices.example"
dpo = "none: fewer than 20 people process data (Art. 37, national law)"
country = "AT"

[[scope]]
name = "invoices:read"
description = "Reads invoices with names and addresses of customers"
data = ["contact", "payment"]
subjects = ["customers"]
personal = true

[[scope]]
name = "patients:read"
description = "Reads records of patients"
data = ["health"]
subjects = ["patients"]
personal = true

[[scope]]
name = "catalog:read"
description = "Reads the public catalogue"
personal = false

[[agreement]]
id = "dpa-2026-014"
parties = ["Example Shop SE", "Fast Invoices GmbH"]
purposes = ["invoicing"]
data = ["contact", "payment"]
recipients = ["Fast Invoices GmbH"]
regions = ["EU"]
enforce_regions = true
retention = "30days"
start = 2026-01-01

[[agreement]]
id = "dpa-2026-020"
parties = ["Überseehandel <Ltd>", "Fast Invoices GmbH"]
purposes = ["invoicing"]
data = ["contact", "payment"]
regions = ["GB", "US"]
safeguards = { US = "Standard contractual clauses (EU) 2021/914" }
start = 2026-01-01

[[agreement]]
id = "joint-7"
parties = ["Clinic Nord", "Example Shop SE"]
purposes = ["delivery of medicines"]
data = ["health", "contact"]
start = 2026-01-01

${['dev', 'prod'].map((environment) => `
[[role]]
name = "invoice-clerk"
environment = "${environment}"
audience = "https://api.example"
scopes = ["invoices:read", "catalog:read"]
lifetime = "5m"
max_lifetime = "15m"
agreement = "dpa-2026-014"
`).join('')}
[[role]]
name = "overseas-clerk"
environment = "prod"
audience = "https://api.example"
scopes = ["invoices:read"]
agreement = "dpa-2026-020"
networks = ["GB", "US"]

[[role]]
name = "dispensary"
environment = "prod"
audience = "https://api.example"
scopes = ["patients:read"]
sender = "dpop"
agreement = "joint-7"

[[approval]]
name = "patients"
environment = "prod"
roles = ["dispensary"]
may_ask = ["client:pharmacy"]
may_approve = ["role:lead"]
longest = "1h"

[[client]]
id = "pharmacy"
environment = "prod"
roles = ["dispensary"]
jwks = '{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
`;

let folder;
const edgepass = (...argv) => run(process.env.EDGEPASS_PROGRAM, argv, { cwd: folder, maxBuffer: 1 << 24 }).then(({ stdout }) => stdout);
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgepass-records-'));
  await writeFile(join(folder, 'edgepass.toml'), POLICY);
  await edgepass('init', '--config', 'edgepass.toml');
  await edgepass('issue', '--environment', 'prod', '--role', 'invoice-clerk', '--ttl', '10m');
  await writeFile(join(folder, 'doctor.json'), JSON.stringify({
    healthy: true, findings: [{ what: 'probe', state: 'ok', says: 'refused 2.1 s after the\n\n# revocation' }], at: '2026-11-30T10:00:00Z',
  }));
});
after(() => rm(folder, { recursive: true, force: true }));

const art30 = (...more) => edgepass('records', 'art30', '--doctor', 'prod=doctor.json', '--guard', `prod=${here('guard.toml')}`, ...more);
const CONTROLLERS = ['Example Shop SE', 'Überseehandel <Ltd>', 'Clinic Nord'];

test('every field of three controllers and their processors is filled, or says why it is not', async () => {
  for (const controller of CONTROLLERS) {
    const document = JSON.parse(await art30('--controller', controller, '--format', 'json'));
    const [own] = document['edgepass:records'].filter((one) => one['dpv:hasName'][0]['edgepass:content'][0] === controller);
    assert.equal(own['@type'], 'dpv:DataController');
    const articles = new Set();
    const visit = (value) => {
      if (value?.['edgepass:article']) {
        articles.add(value['edgepass:article']);
        const content = value['edgepass:content'];
        if (Array.isArray(content)) assert.ok(content.length > 0 && content.every((text) => text.trim()), JSON.stringify(value));
        else assert.ok(['dpv:NotAvailable', 'dpv:NotApplicable'].includes(content['@type']) && content['edgepass:reason'], JSON.stringify(value));
      }
      if (value && typeof value === 'object') Object.values(value).forEach(visit);
    };
    visit(own);
    assert.deepEqual([...articles].sort(), ['30(1)(a)', '30(1)(b)', '30(1)(c)', '30(1)(d)', '30(1)(e)', '30(1)(f)']);
    assert.ok(own['dpv:hasTechnicalOrganisationalMeasure'].length > 3, '30(1)(g)');
  }
  const processors = JSON.parse(await art30('--controller', 'Example Shop SE', '--format', 'json'))['edgepass:records'];
  const processor = processors.find((one) => one['@type'] === 'dpv:DataProcessor');
  const joint = processors.find((one) => one['@type'] === 'dpv:DataController');
  assert.deepEqual(joint['dpv:hasJointDataControllers'][0]['edgepass:content'], ['Clinic Nord']);
  assert.deepEqual(processor['dpv:hasDataController'][0]['edgepass:content'], ['Example Shop SE'], 'of the agreements with that controller alone');
});

test('the terms are those of the published vocabulary', async () => {
  const terms = new Map((await readFile(here('dpv-2.3-terms.txt'), 'utf8')).split('\n')
    .filter((line) => line && !line.startsWith('#')).map((line) => line.split(' ').reverse()));
  assert.equal(terms.size, 1116);
  const document = JSON.parse(await art30('--format', 'json'));
  assert.equal(document['@context'].dpv, 'https://w3id.org/dpv#');
  let used = 0;
  const visit = (value) => {
    for (const [name, member] of Object.entries(value ?? {})) {
      if (name.startsWith('dpv:')) {
        used += 1;
        assert.equal(terms.get(name.slice(4)), 'property', name);
      }
      if (name === '@type') assert.equal(terms.get(member.slice(4)), 'class', member);
      if (member && typeof member === 'object') visit(member);
    }
  };
  visit(document);
  assert.ok(used > 50);
});

test('measures are told as configured and as measured', async () => {
  const rows = (await art30('--format', 'csv')).trim().split('\n');
  assert.equal(rows[0], 'party,paragraph,agreement,article,field,state,content');
  const has = (text) => assert.ok(rows.some((row) => row.includes(text)), text);
  has('Access tokens last at most');
  has('prod: of the newest 1 tokens, the longest lasts 10m; 0 are bound');
  has('revocation (measured at 2026-11-30T10:00:00Z)');
  has('dev: unknown: run `edgepass doctor');
  has('$.customers[*].iban, $..card with the last four characters alone unless the token has customers:pii');
  has('prod: dispensary: tokens are bound to a key (RFC 9449)');
  has('prod: dispensary: used only after 1 of role:lead approved, for at most 1h');
  has('US: Standard contractual clauses (EU) 2021/914');
  has('dpa-2026-020,30(1)(e),Transfers to third countries,unknown,"GB: safeguards unknown');
  has('joint-7,30(1)(f),Time limits for erasure,unknown,write retention in the agreement');
});

test('the page and the text are for people, and markup stays text', async () => {
  const page = await art30('--format', 'html');
  assert.match(page, /&#60;Ltd&#62;|&lt;Ltd&gt;/);
  assert.doesNotMatch(page, /<Ltd>|<script|https?:\/\/(?!auth\.example|api\.example)/);
  // But for the times and numbers of the day it was made.
  const text = (await art30('--format', 'md')).replace(/Made .*\./g, 'Made TIME.').replace(/\d+ entries/g, 'N entries');
  if (process.env.EDGEPASS_WRITE) await writeFile(here('art30.md'), text);
  assert.equal(text, await readFile(here('art30.md'), 'utf8'), 'EDGEPASS_WRITE=1 writes it');
});

test('what is not there is refused with what to do', async () => {
  await assert.rejects(art30('--controller', 'Nobody'), ({ code, stderr }) => code === 1 && /no agreement names that controller/.test(stderr));
  await assert.rejects(edgepass('records', 'art30', '--doctor', 'test=doctor.json'), ({ code }) => code === 2);
  const file = join(folder, 'edgepass.toml');
  await writeFile(file, POLICY.replace('parties = ["Example Shop SE", "Fast', 'parties = ["Example Shop", "Fast'));
  await assert.rejects(edgepass('policy', 'check'), ({ stdout }) => /there is no \[\[party\]\] named "Example Shop"/.test(stdout));
  await writeFile(file, POLICY.replace('country = "GB"', 'country = "UK"'));
  await assert.rejects(edgepass('policy', 'check'), ({ stdout }) => /ISO 3166-1/.test(stdout));
  await writeFile(file, POLICY);
});
