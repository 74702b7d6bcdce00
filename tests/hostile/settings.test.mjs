// A setting that cannot take effect is an error: every binding of the guard with every kind of
// value.

import assert from 'node:assert/strict';
import test from 'node:test';
import { start } from '../hosts/guard.mjs';
import { AUDIENCE, issuer } from '../hosts/issuer.mjs';

const SECRET = 's'.repeat(32);
const VALUES = {
  empty: '', number: 7, true: true, false: false, null: null, object: {}, list: [], texts: ['x'],
};

/** Starts guards in one workerd. Returns each one's status for one request, and `logs`. */
async function guards(t, all) {
  const front = {
    name: 'front', modulesRoot: undefined, modules: true, bindings: {},
    script: `export default { fetch: (request, env) => env[request.headers.get('x-to')].fetch(request) }`,
    serviceBindings: Object.fromEntries(all.map((_, number) => [`g${number}`, `g${number}`])),
  };
  const workers = all.map((settings, number) => ({ name: `g${number}`, ...settings }));
  const { url, logs } = await start(t, front, ...workers);
  const answers = [];
  for (const number of all.keys()) {
    const response = await fetch(new URL('/health', url), { headers: { 'x-to': `g${number}` } });
    await response.arrayBuffer();
    answers.push(response.status);
  }
  return { answers, logs };
}

/** Starts guards with one wrong setting each. Each must answer 503 and log the setting's name. */
async function allRefused(t, cases) {
  for (let from = 0; from < cases.length; from += 40) {
    const some = cases.slice(from, from + 40);
    const { answers, logs } = await guards(t, some.map(([, , settings]) => settings));
    for (const [number, [name, says]] of some.entries()) {
      assert.equal(answers[number], 503, `${name}: the guard runs`);
      assert.ok(await logs(says), `${name}: nothing says ${says}`);
    }
  }
}

const service = { serviceBindings: { ORIGIN: 'origin' } };
const of = (trusted, more) => ({
  ...service, bindings: { ISSUERS: [trusted], CACHE: 'none', ...more },
});
const ofOne = (more) => ({
  ...service, bindings: { ISSUER: 'https://issuer.example', AUDIENCE, CACHE: 'none', ...more },
});

test('the settings that the wrong ones differ from are right', async (t) => {
  const { trusted } = await issuer(t, 'p256_client');
  const { answers } = await guards(t, [
    of(trusted), ofOne({}), of(trusted, { ORIGIN_SECRET: SECRET, METRICS_TOKEN: SECRET }),
    ofOne({ STATUS_PREFIX: 'https://cdn.example/lists', JWKS_URI: 'https://keys.example/' }),
  ]);
  assert.deepEqual(answers, [200, 200, 200, 200]);
});

test('a variable that is no text, or says nothing, stops the guard', async (t) => {
  const { trusted } = await issuer(t, 'p256_client');
  const cases = [];
  const variables = [
    'ORIGIN_URL', 'CACHE', 'LIST_BYTES', 'VERIFIED_BYTES', 'EXTERNAL_URL', 'DPOP_NONCE_SECRET',
    'DPOP_NONCE_SECRET_PREVIOUS', 'METRICS_TOKEN', 'ORIGIN_SECRET', 'DOCUMENTS_URL',
  ];
  for (const [kind, value] of Object.entries(VALUES)) {
    for (const name of variables) cases.push([`${name} = ${kind}`, name, of(trusted, { [name]: value })]);
    for (const name of ['ISSUER', 'AUDIENCE', 'JWKS_URI', 'STATUS_PREFIX']) {
      cases.push([`${name} = ${kind}`, name, ofOne({ [name]: value })]);
    }
    cases.push([`ISSUERS = ${kind}`, 'ISSUERS', of(trusted, { ISSUERS: value })]);
  }
  await allRefused(t, cases);
});

test('a binding of another kind than the one that is read stops the guard', async (t) => {
  const { trusted } = await issuer(t, 'p256_client');
  const cases = [];
  for (const [kind, value] of Object.entries(VALUES)) {
    for (const name of ['ISSUER_SERVICE', 'DOCUMENTS', 'METRICS', 'USED_PROOFS']) {
      cases.push([`${name} = ${kind}`, name, of(trusted, { [name]: value })]);
    }
    const { serviceBindings, ...own } = of(trusted, { ORIGIN: value, ORIGIN_URL: 'https://origin.example' });
    cases.push([`ORIGIN = ${kind}`, 'ORIGIN', own]);
  }
  // A service binding appears to have every method, so its methods do not tell its kind.
  for (const name of ['DOCUMENTS', 'USED_PROOFS']) {
    const serviceBindings = { ORIGIN: 'origin', [name]: 'origin' };
    cases.push([`${name} = a service`, name, { ...of(trusted), serviceBindings }]);
  }
  await allRefused(t, cases);
});

test('what is mistyped, too short to be secret, or goes over the network in clear stops the guard', async (t) => {
  const { trusted } = await issuer(t, 'p256_client');
  const origin = (ORIGIN_URL) => {
    const { serviceBindings, ...own } = of(trusted, { ORIGIN_URL, ORIGIN_SECRET: SECRET });
    return own;
  };
  const cases = [
    ['a misspelt secret', 'ORIGIN_SECERT', of(trusted, { ORIGIN_SECERT: SECRET })],
    ['lower case', 'origin_secret', of(trusted, { origin_secret: SECRET })],
    ['an unknown binding', 'MY_API', { ...of(trusted), serviceBindings: { ORIGIN: 'origin', MY_API: 'origin' } }],
    ['no origin', 'ORIGIN_URL', { bindings: { ISSUERS: [trusted] } }],
    ['both forms', 'either ISSUERS or', of(trusted, { STATUS_PREFIX: 'https://cdn.example/' })],
    ['a bucket\'s URL without one', 'DOCUMENTS_URL', of(trusted, { DOCUMENTS_URL: 'https://cdn.example' })],
  ];
  for (const name of ['ORIGIN_SECRET', 'METRICS_TOKEN']) {
    for (const secret of ['short', 's'.repeat(31), `${SECRET} `, `${SECRET}\n`, `${SECRET}ä`]) {
      cases.push([`${name} = ${JSON.stringify(secret)}`, name, of(trusted, { [name]: secret })]);
    }
  }
  for (const url of [
    'http://origin.example', 'https:///x', 'https://user:p@origin.example', 'https://origin.example?x',
    'https://origin.example#x', 'ftp://origin.example', 'origin.example', 'https://origin.example:x',
    'https://origin.example/a b', 'https://',
  ]) cases.push([`ORIGIN_URL = ${url}`, 'ORIGIN_URL', origin(url)]);
  const nested = {
    leeway: null, typ: '', max_lifetime: 5, algorithms: null, audience: null, required_claims: null,
    scope_claim: null, jwks_uri: null, jwks_url: 'https://x', status: { mode: null }, freshness: { deadline: null },
    dpop: null, expected_claims: null,
  };
  for (const [name, value] of Object.entries(nested)) {
    cases.push([`ISSUERS[0].${name}`, 'ISSUERS', of({ ...trusted, [name]: value })]);
  }
  await allRefused(t, cases);
});
