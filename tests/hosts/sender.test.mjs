// The guard with tokens bound to a sender: DPoP proofs, nonces, replay, certificates. Also several
// issuers side by side. The issuers are servers of the test that serve a JWK Set.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import { KEYS, jws, publicJwk, sha256, thumbprint } from '../vectors/sign.mjs';
import { LOGGED, start } from './guard.mjs';
import { AUDIENCE, issuer, now } from './issuer.mjs';

const EXTERNAL = 'https://api.example';
const SECRETS = ['s'.repeat(32), 't'.repeat(32)];
const CERTIFICATE = Buffer.from('a certificate, as far as its digest is concerned');
const CLIENT = 'p256_client';

function guardOf(...issuers) {
  return (more = {}) => ({
    serviceBindings: { ORIGIN: 'origin' },
    bindings: Object.fromEntries(Object.entries({
      ISSUERS: issuers.map(({ trusted }) => trusted), EXTERNAL_URL: EXTERNAL, ...more,
    }).filter(([, value]) => value !== undefined)),
  });
}

let proofs = 0;
const proof = (token, claims = {}, key = CLIENT) => jws(
  { typ: 'dpop+jwt', alg: 'ES256', jwk: publicJwk(KEYS[key]) },
  {
    jti: `p${++proofs}`, htm: 'GET', htu: `${EXTERNAL}/invoices`, iat: now(), ath: sha256(token), ...claims,
  }, key,
);

/** Parts of the tokens and proofs that were sent, and all refusals that were received. */
const confided = new Set();
const said = [];

async function ask(url, headers) {
  const response = await fetch(new URL('/invoices', url), { headers });
  const body = await response.json();
  for (const value of [headers.authorization, headers.dpop]) {
    for (const part of (value ?? '').split(/[. ]/)) if (part.length > 16) confided.add(part);
  }
  if (response.status !== 200) said.push(JSON.stringify([body, ...response.headers]));
  return { status: response.status, code: body.code ?? null, headers: response.headers, body };
}
const bound = (token, own, more = {}) => ({ authorization: `DPoP ${token}`, dpop: own, ...more });

test('a token bound to a key passes with a proof for the URL that clients see', async (t) => {
  const own = await issuer(t, 'p256');
  const { url } = await start(t, guardOf(own)());
  const token = own.token({ cnf: { jkt: thumbprint(CLIENT) } });
  const good = await ask(url, bound(token, proof(token)));
  assert.equal(good.status, 200, JSON.stringify(good.body));

  const bearer = await ask(url, { authorization: `Bearer ${token}` });
  assert.deepEqual([bearer.status, bearer.code], [401, 'binding_mismatch']);
  assert.match(bearer.headers.get('www-authenticate'), /^Bearer .*error="invalid_token".*, DPoP .*algs="/);
  const twice = await fetch(new URL('/invoices?access_token=x', url), { headers: { authorization: `Bearer ${own.token()}` } });
  // The query is the origin's own.
  assert.deepEqual([twice.status, new URL((await twice.json()).url).search], [200, '?access_token=x']);
  const missing = await ask(url, { authorization: `DPoP ${token}` });
  assert.deepEqual([missing.status, missing.code], [401, 'dpop_proof_missing']);
  assert.match(missing.headers.get('www-authenticate'), /^DPoP .*error="invalid_dpop_proof"/);

  // The host that the request's headers name does not matter.
  const { host } = new URL(url);
  for (const htu of [`http://${host}/invoices`, 'https://evil.example/invoices']) {
    const spoofed = await ask(url, bound(token, proof(token, { htu }), {
      host: new URL(htu).host, 'x-forwarded-host': new URL(htu).host, 'x-forwarded-proto': 'https',
      forwarded: `host=${new URL(htu).host}`,
    }));
    assert.deepEqual([spoofed.status, spoofed.code], [401, 'dpop_proof_invalid'], htu);
  }
  const thief = await ask(url, bound(token, proof(token, {}, 'p256_thief')));
  assert.equal(thief.code, 'binding_mismatch');

  const again = proof(token);
  assert.equal((await ask(url, bound(token, again))).status, 200);
  assert.equal((await ask(url, bound(token, again))).code, 'dpop_proof_invalid');
});

test('without an external URL a bound token is refused', async (t) => {
  const own = await issuer(t, 'p256');
  const { url } = await start(t, guardOf(own)({ EXTERNAL_URL: undefined }));
  const token = own.token({ cnf: { jkt: thumbprint(CLIENT) } });
  assert.equal((await ask(url, bound(token, proof(token)))).code, 'binding_mismatch');
  assert.equal((await ask(url, { authorization: `Bearer ${own.token()}` })).status, 200);
});

test('a client with a wrong clock recovers by a nonce, also while secrets are exchanged', async (t) => {
  const own = await issuer(t, 'p256');
  const guard = guardOf(own);
  const first = await start(t, guard({ DPOP_NONCE_SECRET: SECRETS[0] }));
  const token = own.token({ cnf: { jkt: thumbprint(CLIENT) } });
  const iat = now() - 9000;
  const asked = await ask(first.url, bound(token, proof(token, { iat })));
  assert.deepEqual([asked.status, asked.code], [401, 'dpop_nonce_required']);
  assert.match(asked.headers.get('www-authenticate'), /^DPoP .*error="use_dpop_nonce"/);
  assert.equal(asked.headers.get('cache-control'), 'no-store');
  const nonce = asked.headers.get('dpop-nonce');
  assert.match(nonce, /^[\w-]{20,}$/);
  assert.equal((await ask(first.url, bound(token, proof(token, { iat, nonce })))).status, 200);
  assert.equal((await ask(first.url, bound(token, proof(token, { nonce: 'x' })))).code, 'dpop_nonce_required');

  const second = await start(t, guard({
    DPOP_NONCE_SECRET: SECRETS[1], DPOP_NONCE_SECRET_PREVIOUS: SECRETS[0],
  }));
  assert.equal((await ask(second.url, bound(token, proof(token, { nonce })))).status, 200);
  const third = await start(t, guard({ DPOP_NONCE_SECRET: SECRETS[1] }));
  assert.equal((await ask(third.url, bound(token, proof(token, { nonce })))).code, 'dpop_nonce_required');
});

test('a Durable Object remembers proofs for every guard', async (t) => {
  const own = await issuer(t, 'p256');
  const one = guardOf(own)();
  const object = { className: 'UsedProofs', scriptName: 'guard', useSQLite: true };
  const { guard, url } = await start(
    t, { ...one, durableObjects: { USED_PROOFS: { className: 'UsedProofs', useSQLite: true } } },
    { ...one, name: 'other', durableObjects: { USED_PROOFS: object } },
  );
  const other = await guard.getWorker('other');
  const askOther = async (headers) => {
    const response = await other.fetch('http://127.0.0.1/invoices', { headers });
    return { status: response.status, code: (await response.json()).code };
  };
  const token = own.token({ cnf: { jkt: thumbprint(CLIENT) } });
  const used = proof(token);
  assert.equal((await ask(url, bound(token, used))).status, 200);
  assert.equal((await askOther(bound(token, used))).code, 'dpop_proof_invalid');
  const fresh = proof(token);
  assert.equal((await askOther(bound(token, fresh))).status, 200);
  assert.equal((await ask(url, bound(token, fresh))).code, 'dpop_proof_invalid');
  // Of ten requests at once with one proof, exactly one is accepted.
  const race = proof(token);
  const statuses = await Promise.all(Array.from({ length: 10 }, async () => (await ask(url, bound(token, race))).status));
  assert.deepEqual(statuses.toSorted(), [200, ...Array(9).fill(401)]);
});

test('a store of proofs that never answers refuses in time', async (t) => {
  const own = await issuer(t, 'p256');
  const { url } = await start(
    t, { ...guardOf(own)(), durableObjects: { USED_PROOFS: { className: 'Hanging', scriptName: 'hanging' } } },
    {
      name: 'hanging', modules: true, durableObjects: { OWN: 'Hanging' },
      script: `import { DurableObject } from 'cloudflare:workers';
        export class Hanging extends DurableObject {
          async firstUse() { await new Promise((resolve) => setTimeout(resolve, 60_000)); return true; }
        }
        export default {};`,
    },
  );
  const token = own.token({ cnf: { jkt: thumbprint(CLIENT) } });
  const from = Date.now();
  const { status, code } = await ask(url, bound(token, proof(token)));
  assert.deepEqual([status, code], [503, 'replay_unavailable']);
  assert.ok(Date.now() - from < 30_000, 'long before the store answers');
});

test('a token bound to a certificate passes with what the platform reports, never with a header', async (t) => {
  const own = await issuer(t, 'p256');
  const { guard } = await start(t, guardOf(own)());
  const token = own.token({ cnf: { 'x5t#S256': sha256(CERTIFICATE) } });
  const digest = createHash('sha256').update(CERTIFICATE).digest('hex');
  const send = async (tlsClientAuth, headers = {}) => {
    const response = await guard.dispatchFetch('http://127.0.0.1/invoices', {
      headers: { authorization: `Bearer ${token}`, ...headers }, cf: { tlsClientAuth },
    });
    return (await response.json()).code ?? response.status;
  };
  const shown = { certPresented: '1', certVerified: 'SUCCESS', certFingerprintSHA256: digest };
  assert.equal(await send(shown), 200);
  assert.equal(await send({ ...shown, certFingerprintSHA256: digest.replace(/^./, (c) => (c === '0' ? '1' : '0')) }), 'binding_mismatch');
  assert.equal(await send({ ...shown, certPresented: '0' }), 'binding_mismatch');
  for (const absent of [undefined, {}, 'x', { certPresented: '1' }, { ...shown, certFingerprintSHA256: 7 }]) {
    assert.equal(await send(absent), 'binding_mismatch', JSON.stringify(absent));
  }
  const pem = CERTIFICATE.toString('base64');
  const forged = {
    'client-cert': `:${pem}:`, 'client-cert-chain': `:${pem}:`, 'x-forwarded-client-cert': `Hash=${digest};Cert="${pem}"`,
    'cf-client-cert-sha256': digest, 'x-ssl-client-cert': pem, 'x-client-cert-sha256': digest,
    'ssl-client-cert': pem, 'x-forwarded-tls-client-cert': pem, client_cert: pem, x_forwarded_client_cert: pem,
  };
  assert.equal(await send({}, forged), 'binding_mismatch');
  // With the right certificate the request passes, and the guard removes the forged headers.
  const response = await guard.dispatchFetch('http://127.0.0.1/invoices', {
    headers: { authorization: `Bearer ${token}`, 'x-other': '1', ...forged }, cf: { tlsClientAuth: shown },
  });
  assert.equal(response.status, 200);
  const { names } = await response.json();
  assert.ok(names.includes('x-other'), names.join());
  assert.deepEqual(names.filter((name) => /cert|authorization|dpop/.test(name)), []);
});

test('issuers side by side have their own keys, and none stands in for another', async (t) => {
  const one = await issuer(t, 'p256', 'shared-kid');
  const two = await issuer(t, 'p256_client', 'shared-kid');
  const stranger = await issuer(t, 'p256_thief');
  const { url } = await start(t, guardOf(one, two)());
  const bearer = async (token) => {
    const { status, code } = await ask(url, { authorization: `Bearer ${token}` });
    return code ?? status;
  };
  assert.equal(await bearer(one.token()), 200);
  assert.equal(await bearer(two.token()), 200);
  assert.equal(await bearer(one.token({}, {}, 'p256_client')), 'signature_invalid');
  assert.equal(await bearer(two.token({}, {}, 'p256')), 'signature_invalid');
  assert.equal(await bearer(one.token({ iss: two.url })), 'signature_invalid');
  assert.equal(await bearer(stranger.token()), 'issuer_mismatch');
});

test('the origin is told the scope that was checked, whichever claim it is in', async (t) => {
  const own = await issuer(t, 'p256');
  Object.assign(own.trusted, { profile: 'jwt', typ: 'JWT', scope_claim: 'scp' });
  const { url } = await start(t, guardOf(own)());
  const token = own.token({ scp: ['invoices:read'], scope: 'admin' }, { typ: 'JWT' });
  const { status, body } = await ask(url, { authorization: `Bearer ${token}` });
  assert.deepEqual([status, body.scope], [200, 'invoices:read']);
  const other = own.token({ scp: 'other', scope: 'invoices:read' }, { typ: 'JWT' });
  assert.equal((await ask(url, { authorization: `Bearer ${other}` })).code, 'scope_insufficient');
});

test('wrong settings refuse everything and are named', async (t) => {
  const own = await issuer(t, 'p256');
  for (const [change, says] of [
    [{ ISSUERS: [{ ...own.trusted, leway: '1s' }] }, 'leway'],
    [{ ISSUERS: [own.trusted, own.trusted] }, 'two policies'],
    [{ ISSUERS: [own.trusted, { ...own.trusted, issuer: 'https://b.example', status: { mode: 'ignroe' } }] }, 'ISSUERS: [1]: status.mode'],
    [{ ISSUERS: [own.trusted, { ...own.trusted, issuer: 'https://b.example', leeway: '1h' }] }, 'issuers[1]: leeway'],
    [{ ISSUERS: 'not json' }, 'ISSUERS'],
    [{ ISSUER: own.url }, 'either ISSUERS or ISSUER'],
    [{ AUDIENCE }, 'either ISSUERS or ISSUER'],
    [{ DPOP_NONCE_SECRET_PREVIOUS: SECRETS[0] }, 'without DPOP_NONCE_SECRET'],
    [{ USED_PROOFS: 'text' }, 'USED_PROOFS'],
    [{ VERIFIED_BYTES: 'many' }, 'VERIFIED_BYTES'],
    [{ EXTERNAL_URL: 'https://api.example/' }, 'EXTERNAL_URL'],
    [{ DPOP_NONCE_SECRET: 'short' }, 'DPOP_NONCE_SECRET'],
  ]) {
    const { url, logged, logs } = await start(t, guardOf(own)(change));
    assert.equal((await ask(url, {})).status, 503, says);
    assert.ok(await logs(says), `${says}: ${logged.join()}`);
  }
});

test('no refusal and no log of the guard holds a part of a token, a proof or a secret', () => {
  SECRETS.forEach((secret) => confided.add(secret));
  const heard = [...said, ...LOGGED];
  assert.ok(confided.size > 30 && said.length > 10 && LOGGED.length > 5, 'there is too little to look at');
  for (const part of confided) {
    const place = heard.find((text) => text.includes(part));
    assert.equal(place, undefined, `${place} repeats ${part}`);
  }
});
