// Which verifiers of other people read Edgepass's tokens: each is given a token of a real issuer, and
// tokens that are like it but signed by other algorithms.
//
// EDGEPASS_PROGRAM is the command `edgepass`, EDGEPASS_PYTHON a Python with requirements.txt installed.
// With EDGEPASS_WRITE=1 the table in docs/readers.md is written, else compared.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import test, { after, before } from 'node:test';
import { Issuer, claims } from '../stage/issuer.mjs';
import { listen } from '../stage/ports.mjs';
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

/** Issuers by algorithm: the real one signs EdDSA. Each has a token, its subject and its JWK Set. */
const issuers = {};
let issuer;
const closing = [];
before(async () => {
  issuer = await Issuer.start();
  const { token } = await issuer.token();
  const own = claims(token);
  issuers.EdDSA = { issuer: issuer.url, jwksUrl: `${issuer.url}/.well-known/jwks.json`, token, sub: own.sub };
  for (const [alg, type, options, signing] of [
    ['ES256', 'ec', { namedCurve: 'P-256' }, { dsaEncoding: 'ieee-p1363' }], ['RS256', 'rsa', { modulusLength: 2048 }, {}],
  ]) {
    const { publicKey, privateKey } = generateKeyPairSync(type, options);
    const jwk = { ...publicKey.export({ format: 'jwk' }), alg, kid: randomUUID(), use: 'sig' };
    const server = createServer((request, response) => {
      const documents = {
        '/.well-known/oauth-authorization-server': { issuer: url, jwks_uri: `${url}/.well-known/jwks.json` },
        '/.well-known/jwks.json': { keys: [jwk] },
      };
      response.writeHead(documents[request.url] ? 200 : 404, { 'content-type': 'application/json' });
      response.end(JSON.stringify(documents[request.url] ?? {}));
    });
    const url = await listen(server);
    closing.push(() => { server.close(); server.closeAllConnections(); });
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const input = `${part({ alg, kid: jwk.kid, typ: 'at+jwt' })}.${part({ ...own, iss: url })}`;
    const signature = sign('sha256', Buffer.from(input), { key: privateKey, ...signing }).toString('base64url');
    issuers[alg] = { issuer: url, jwksUrl: `${url}/.well-known/jwks.json`, token: `${input}.${signature}`, sub: own.sub };
  }
});
after(async () => {
  python.stdin.end();
  for (const close of closing) close();
  await issuer?.remove();
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

const rows = new Map();
for (const reader of [...READERS, ...inPython]) {
  test(`${reader.name} reads the tokens that the table says`, async () => {
    const cells = [];
    for (const alg of ['EdDSA', 'ES256', 'RS256']) cells.push(await judge(reader, issuers[alg]));
    const versions = reader.versions ?? reader.packages.map(versionOf);
    const needs = cells.includes('with the setting') ? reader.needs : '';
    rows.set(reader.name, `| ${[reader.name, versions.join(', '), ...cells, needs].join(' | ')} |`);
  });
}

test('the table of docs/readers.md is that of this run', () => {
  const page = new URL('../../docs/readers.md', import.meta.url);
  const text = readFileSync(page, 'utf8');
  const [head, rest] = text.split('<!-- table -->\n');
  const tail = rest.slice(rest.indexOf('\n\n'));
  const header = '| library | version | EdDSA | ES256 | RS256 | setting |\n| --- | --- | --- | --- | --- | --- |';
  const table = `${head}<!-- table -->\n${[header, ...rows.values()].join('\n')}${tail}`;
  if (process.env.EDGEPASS_WRITE) writeFileSync(page, table);
  else assert.equal(text, table, 'run again with EDGEPASS_WRITE=1');
});
