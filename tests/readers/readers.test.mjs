// Which verifiers of other people read Edgepass's tokens: each is given tokens of real issuers, one for
// each algorithm and `typ`.
//
// EDGEPASS_PROGRAM is the command `edgepass`, EDGEPASS_PYTHON a Python with requirements.txt installed.
// With EDGEPASS_WRITE=1 the table in docs/readers.md is written, else compared.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import test, { after, before } from 'node:test';
import { Issuer, claims } from '../stage/issuer.mjs';
import { READERS } from './readers.mjs';

const AUDIENCE = 'https://api.example';

/** The readers of readers.py, in the form of those of readers.mjs. */
const python = spawn(process.env.EDGEPASS_PYTHON, [new URL('readers.py', import.meta.url).pathname], { stdio: ['pipe', 'pipe', 'inherit'] });
const answers = createInterface({ input: python.stdout })[Symbol.asyncIterator]();
async function ask(request) {
  if (request) python.stdin.write(`${JSON.stringify(request)}\n`);
  const { sub, error, ...rest } = JSON.parse((await answers.next()).value);
  if (error !== undefined) throw new Error(error);
  return sub ?? rest;
}
const { readers } = await ask();
const inPython = readers.map((reader) => ({
  ...reader,
  open: async (settings, helped = false) => (token) => ask({ reader: reader.name, token, helped, ...settings }),
}));

const versionOf = (name) => JSON.parse(
  readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url), 'utf8')).version;

const ALGORITHMS = ['EdDSA', 'ES256', 'RS256'];
const TYPES = ['at+jwt', 'JWT'];

/** A real issuer of each algorithm and `typ`, with a token, its subject and the JWK Set's URL. */
const issuers = [];
const running = [];
before(async () => {
  for (const algorithm of ALGORITHMS) {
    for (const typ of TYPES) {
      const change = (text) => text.replace('typ = "at+jwt"', `typ = "${typ}"`);
      const issuer = await Issuer.start({ init: ['--algorithm', algorithm], change });
      running.push(issuer);
      const { token } = await issuer.token();
      const header = JSON.parse(Buffer.from(token.split('.')[0], 'base64url'));
      assert.deepEqual([header.alg, header.typ], [algorithm, typ]);
      issuers.push({
        algorithm, typ, issuer: issuer.url, jwksUrl: `${issuer.url}/.well-known/jwks.json`, token, sub: claims(token).sub,
      });
    }
  }
});
after(async () => {
  python.stdin.end();
  for (const issuer of running) await issuer.remove();
});

/** Whether a reader reads a token: as its documentation says, or with what `needs` says, or not. */
async function judge(reader, { token, issuer: iss, jwksUrl, sub }) {
  for (const helped of reader.needs === undefined ? [false] : [false, true]) {
    const open = (audience, of = iss) => reader.open({ jwksUrl, issuer: of, audience }, helped);
    // Some refuse the JWK Set itself.
    const read = await open(AUDIENCE).catch(() => undefined);
    const found = await read?.(token).catch(() => undefined);
    if (found === undefined) continue;
    assert.equal(found, sub);
    // It must refuse what is not for it, or else its yes means nothing.
    const [header, payload, signature] = token.split('.');
    const changed = `${header}.${payload}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`;
    await assert.rejects((async () => (await open('https://other.example'))(token))(), `${reader.name}: another audience`);
    await assert.rejects((async () => (await open(AUDIENCE, `${iss}/other`))(token))(), `${reader.name}: another issuer`);
    await assert.rejects(read(changed), `${reader.name}: another signature`);
    return helped ? 'with the setting' : 'yes';
  }
  return 'no';
}

/** The settings of edgepass.toml that differ from the defaults. */
function settings({ algorithm, typ }) {
  const written = [];
  if (algorithm !== ALGORITHMS[0]) written.push(`\`algorithm = "${algorithm}"\``);
  if (typ !== TYPES[0]) written.push(`\`typ = "${typ}"\``);
  return written.join(' and ');
}

const rows = new Map();
for (const reader of [...READERS, ...inPython]) {
  test(`${reader.name} reads the tokens that the table says`, async () => {
    const cells = [];
    for (const issuer of issuers) cells.push(await judge(reader, issuer));
    const byDefault = cells.filter((_, at) => issuers[at].typ === TYPES[0]);
    const versions = reader.versions ?? reader.packages.map(versionOf);
    const needs = byDefault.includes('with the setting') ? reader.needs : '';
    // The first issuer that the library reads as it is.
    const fits = issuers[cells.indexOf('yes')];
    assert.ok(fits, `no setting of ours makes ${reader.name} work`);
    rows.set(reader.name, `| ${[reader.name, versions.join(', '), ...byDefault, needs, settings(fits)].join(' | ')} |`);
  });
}

test('the table of docs/readers.md is that of this run', () => {
  const page = new URL('../../docs/readers.md', import.meta.url);
  const text = readFileSync(page, 'utf8');
  const [head, rest] = text.split('<!-- table -->\n');
  const tail = rest.slice(rest.indexOf('\n\n'));
  const header = '| library | version | EdDSA | ES256 | RS256 | setting of the library | or of `edgepass.toml` |\n| --- | --- | --- | --- | --- | --- | --- |';
  const table = `${head}<!-- table -->\n${[header, ...rows.values()].join('\n')}${tail}`;
  if (process.env.EDGEPASS_WRITE) writeFileSync(page, table);
  else assert.equal(text, table, 'run again with EDGEPASS_WRITE=1');
});
