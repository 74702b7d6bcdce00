// Clients of other people against a real issuer, unchanged: discovery, client_credentials with each way
// to authenticate, DPoP, token exchange, introspection and revocation; and what must be refused.
//
// EDGEPASS_PROGRAM is the command `edgepass`, EDGEPASS_PYTHON a Python with requirements.txt installed,
// EDGEPASS_GUARD the folder of the built guard.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { sign } from 'node:crypto';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import test, { after, before } from 'node:test';
import { promisify } from 'node:util';
import { getListFromStatusListJWT, getStatusListFromJWT } from '@sd-jwt/jwt-status-list';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import * as client from 'openid-client';
import { factsOf } from '../../worker/src/incoming.js';
import { Issuer, claims } from '../stage/issuer.mjs';
import { listen } from '../stage/ports.mjs';
import { guardModules, startWorkers } from '../stage/workerd.mjs';
import { AUDIENCE, CERTIFICATE, OTHER_AUDIENCE, OutsideIssuer, RELAYS, start } from './issuer.mjs';

const run = promisify(execFile);
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const TYPE = { access: 'urn:ietf:params:oauth:token-type:access_token', jwt: 'urn:ietf:params:oauth:token-type:jwt', id: 'urn:ietf:params:oauth:token-type:id_token' };
const insecure = { [oauth.allowInsecureRequests]: true };

let github; let gitlab; let kubernetes; let plain; let nonced; let guard;
before(async () => {
  github = await OutsideIssuer.start();
  gitlab = await OutsideIssuer.start();
  kubernetes = await OutsideIssuer.start('/nowhere');
  plain = await start({ github, kubernetes, gitlab });
  nonced = await start({ github, kubernetes, nonce: true });
  guard = await startWorkers([
    {
      name: 'guard', ...guardModules(process.env.EDGEPASS_GUARD), serviceBindings: { ORIGIN: 'origin' },
      bindings: { ISSUER: plain.issuer.url, AUDIENCE },
    },
    { name: 'origin', modules: true, script: "export default { fetch: ({ headers }) => new Response(headers.get('x-edgepass-subject')) };" },
  ]);
});
after(async () => {
  await guard.stop();
  await plain.issuer.remove();
  await nonced.issuer.remove();
  github.close();
  gitlab.close();
  kubernetes.close();
});

/** Posts a form. Returns the status, the body in JSON and the header fields. */
async function post(path, form, headers = {}, { issuer } = plain) {
  const response = await fetch(`${issuer.url}/${path}`, { method: 'POST', headers, body: new URLSearchParams(form) });
  const text = await response.text();
  return { status: response.status, body: text ? JSON.parse(text) : undefined, headers: response.headers };
}

const basic = ({ secret }, id = 'example-service') => ({ authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` });

/** A client assertion by `key`, with these claims and header members changed. */
async function assertion(id, key, { issuer } = plain, changed = {}, header = {}) {
  const now = Math.floor(Date.now() / 1000);
  const payload = { iss: id, sub: id, aud: issuer.url, jti: crypto.randomUUID(), iat: now, exp: now + 60, ...changed };
  for (const name of Object.keys(payload)) if (payload[name] === undefined) delete payload[name];
  return new jose.SignJWT(payload).setProtectedHeader({ alg: key.alg, kid: key.kid, ...header }).sign(key.privateKey);
}

const asserted = async (id, key, of = plain, changed, header) => ({
  client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
  client_assertion: await assertion(id, key, of, changed, header),
});

/** A token of `signs-itself`, or of the client that the form names. */
async function token(form = {}, key = plain.pkjwt, id = 'signs-itself') {
  const { status, body } = await post('oauth/token', { grant_type: 'client_credentials', ...await asserted(id, key), ...form });
  assert.equal(status, 200, JSON.stringify(body));
  return body.access_token;
}

/** The token with another signature. */
function changed(text) {
  const at = text.lastIndexOf('.') + 10;
  return `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`;
}

/** What `edgepass verify` says of a token. */
async function verified(text, ...options) {
  const judging = run(process.env.EDGEPASS_PROGRAM, ['verify', '-', '--json', ...options]);
  judging.child.stdin.end(text);
  const { stdout } = await judging.catch((error) => error);
  const { accepted, code } = JSON.parse(stdout);
  return { accepted, code };
}

const isActive = async (text, of = plain) => (await post('oauth/introspect', { token: text }, basic(of, 'api'), of)).body.active;

/** What the guard answers to a request with a token: the status, and the subject that the origin is told. */
async function guarded(text) {
  const response = await fetch(new URL('/invoices', guard.url), { headers: { authorization: `Bearer ${text}` } });
  return [response.status, (await response.text()).slice(0, 100)];
}

/** Waits until the guard refuses a token, at most for the revocation deadline. */
async function isRefused(text) {
  const from = Date.now();
  while ((await guarded(text))[0] === 200) {
    assert.ok(Date.now() - from < 10_000, 'accepted past the revocation deadline');
    await setTimeout(50);
  }
  assert.equal((await guarded(text))[0], 401);
}

// --- openid-client ---------------------------------------------------------------------------------

async function openidClient(of, algorithm) {
  return client.discovery(new URL(of.issuer.url), 'signs-itself', { token_endpoint_auth_method: 'private_key_jwt' },
    client.PrivateKeyJwt({ key: of.pkjwt.privateKey, kid: of.pkjwt.kid }),
    { execute: [client.allowInsecureRequests], algorithm });
}

for (const algorithm of ['oidc', 'oauth2']) {
  test(`openid-client: discovery (${algorithm}), client_credentials with private_key_jwt, revocation`, async () => {
    const config = await openidClient(plain, algorithm);
    const tokens = await client.clientCredentialsGrant(config, { scope: 'invoices:read' });
    assert.equal(tokens.scope, 'invoices:read');
    const set = jose.createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri));
    const { payload } = await jose.jwtVerify(tokens.access_token, set, { issuer: plain.issuer.url, audience: AUDIENCE, typ: 'at+jwt' });
    assert.equal(payload.client_id, 'signs-itself');
    assert.equal(await isActive(tokens.access_token), true);
    await client.tokenRevocation(config, tokens.access_token);
    assert.equal(await isActive(tokens.access_token), false);
  });
}

for (const of of ['without a nonce', 'with a nonce']) {
  test(`openid-client: DPoP ${of}`, async () => {
    const issuer = of === 'with a nonce' ? nonced : plain;
    const config = await openidClient(issuer);
    const keys = await client.randomDPoPKeyPair();
    const DPoP = client.getDPoPHandle(config, keys);
    const tokens = await client.clientCredentialsGrant(config, { role: 'bound' }, { DPoP });
    assert.equal(tokens.token_type.toLowerCase(), 'dpop');
    const jkt = await jose.calculateJwkThumbprint(await jose.exportJWK(keys.publicKey));
    assert.deepEqual(claims(tokens.access_token).cnf, { jkt });
  });
}

test('openid-client: token exchange narrows a token', async () => {
  const config = await openidClient(plain);
  const wide = await client.clientCredentialsGrant(config, { role: 'feed' });
  const narrow = await client.genericGrantRequest(config, EXCHANGE, {
    subject_token: wide.access_token, subject_token_type: TYPE.access, scope: 'feed:read',
  });
  assert.equal(narrow.issued_token_type, TYPE.access);
  const [before, now] = [claims(wide.access_token), claims(narrow.access_token)];
  assert.deepEqual([now.scope, now.aud, now.sub], ['feed:read', before.aud, before.sub]);
  assert.ok(now.exp <= before.exp);
});

test('openid-client: introspection by a resource server', async () => {
  const config = await client.discovery(new URL(plain.issuer.url), 'api', {}, client.ClientSecretBasic(plain.secret), { execute: [client.allowInsecureRequests] });
  const text = await token();
  const found = await client.tokenIntrospection(config, text);
  const { jti, sub } = claims(text);
  assert.deepEqual([found.active, found.jti, found.sub, found.token_type], [true, jti, sub, 'Bearer']);
  assert.deepEqual(await client.tokenIntrospection(config, changed(text)), { active: false });
});

// --- oauth4webapi ----------------------------------------------------------------------------------

async function discovered(of, algorithm = 'oauth2') {
  const url = new URL(of.issuer.url);
  return oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, { algorithm, ...insecure }));
}

test('oauth4webapi: client_credentials with private_key_jwt, introspection, revocation', async () => {
  for (const algorithm of ['oauth2', 'oidc']) {
    const as = await discovered(plain, algorithm);
    const me = { client_id: 'worker' };
    const auth = oauth.PrivateKeyJwt({ key: plain.worker.privateKey, kid: plain.worker.kid });
    const answer = await oauth.clientCredentialsGrantRequest(as, me, auth, new URLSearchParams({ scope: 'feed:read' }), insecure);
    const tokens = await oauth.processClientCredentialsResponse(as, me, answer);
    assert.equal(tokens.scope, 'feed:read');
    const server = { client_id: 'api' };
    const introspect = async () => {
      const found = await oauth.introspectionRequest(as, server, oauth.ClientSecretPost(plain.secret), tokens.access_token, insecure);
      return oauth.processIntrospectionResponse(as, server, found);
    };
    assert.equal((await introspect()).active, true);
    const revoked = await oauth.revocationRequest(as, me, auth, tokens.access_token, insecure);
    await oauth.processRevocationResponse(revoked);
    assert.deepEqual(await introspect(), { active: false });
  }
});

test('oauth4webapi: token exchange', async () => {
  const as = await discovered(plain);
  const me = { client_id: 'worker' };
  const auth = oauth.PrivateKeyJwt({ key: plain.worker.privateKey, kid: plain.worker.kid });
  const wide = await token({ role: 'feed' });
  const form = new URLSearchParams({ subject_token: wide, subject_token_type: TYPE.access, scope: 'feed:read' });
  const answer = await oauth.genericTokenEndpointRequest(as, me, auth, EXCHANGE, form, insecure);
  const tokens = await oauth.processGenericTokenEndpointResponse(as, me, answer);
  assert.deepEqual([tokens.issued_token_type, tokens.scope], [TYPE.access, 'feed:read']);
  assert.deepEqual(claims(tokens.access_token).act, { sub: 'worker', client_id: 'worker' });
});

test('oauth4webapi: DPoP, with the nonce that the issuer asks for', async () => {
  const as = await discovered(nonced);
  const me = { client_id: 'signs-itself' };
  const auth = oauth.PrivateKeyJwt({ key: nonced.pkjwt.privateKey, kid: nonced.pkjwt.kid });
  const DPoP = oauth.DPoP(me, await oauth.generateKeyPair('ES256'));
  const ask = () => oauth.clientCredentialsGrantRequest(as, me, auth, new URLSearchParams({ role: 'bound' }), { DPoP, ...insecure });
  const read = async () => oauth.processClientCredentialsResponse(as, me, await ask());
  const tokens = await read().catch((error) => {
    assert.ok(oauth.isDPoPNonceError(error), error);
    return read();
  });
  assert.equal(tokens.token_type, 'dpop');
});

// --- Python ----------------------------------------------------------------------------------------

test('Authlib and requests-oauthlib: what each of them knows', async () => {
  const setting = { issuer: plain.issuer.url, secret: plain.secret, key: plain.pkjwt.privateJwk, feed: await token({ role: 'feed' }) };
  const program = new URL('clients.py', import.meta.url).pathname;
  const { stdout } = await run(process.env.EDGEPASS_PYTHON, [program, JSON.stringify(setting)], { env: { ...process.env, AUTHLIB_INSECURE_TRANSPORT: '1', OAUTHLIB_INSECURE_TRANSPORT: '1' } });
  assert.deepEqual(JSON.parse(stdout), {
    authlib: ['invoices:read', true, false], authlib_secret: 'Bearer', authlib_exchange: ['feed:read', TYPE.access],
    requests_oauthlib: ['invoices:read', true, true, false],
  });
});

// --- client authentication -------------------------------------------------------------------------

test('an assertion authenticates once, and only one by the rules', async () => {
  const ask = (form) => post('oauth/token', { grant_type: 'client_credentials', ...form });
  const good = await asserted('signs-itself', plain.pkjwt, plain, {}, { typ: 'client-authentication+jwt' });
  assert.equal((await ask(good)).status, 200);
  const again = await ask(good);
  assert.deepEqual([again.status, again.body.error], [401, 'invalid_client']);
  assert.equal((await ask(await asserted('signs-itself', plain.pkjwt, plain, {}, { typ: 'JWT' }))).status, 200);
  const now = Math.floor(Date.now() / 1000);
  const other = await (await import('./issuer.mjs')).clientKey('ES256', 'key-1');
  const { issuer: { url } } = plain;
  for (const [what, key, changed, header] of [
    ['a URL of the token endpoint as aud', plain.pkjwt, { aud: `${url}/oauth/token` }],
    ['an array as aud', plain.pkjwt, { aud: [url] }],
    ['an array with another server', plain.pkjwt, { aud: [url, 'https://other.example'] }],
    ['a slash after aud', plain.pkjwt, { aud: `${url}/` }],
    ['no aud', plain.pkjwt, { aud: undefined }],
    ['another iss', plain.pkjwt, { iss: 'worker' }],
    ['no jti', plain.pkjwt, { jti: undefined }],
    ['an empty jti', plain.pkjwt, { jti: '' }],
    ['no exp', plain.pkjwt, { exp: undefined }],
    ['a past exp', plain.pkjwt, { exp: now - 60 }],
    ['an exp in a day', plain.pkjwt, { exp: now + 86_400 }],
    ['a future nbf', plain.pkjwt, { nbf: now + 600 }],
    ['the typ of an access token', plain.pkjwt, {}, { typ: 'at+jwt' }],
    ['the typ of a proof', plain.pkjwt, {}, { typ: 'dpop+jwt' }],
    ['another key with the same kid', other, {}],
    ['an unknown kid', plain.pkjwt, {}, { kid: 'key-2' }],
  ]) {
    const { status, body } = await ask(await asserted('signs-itself', key, plain, changed, header));
    assert.deepEqual([status, body.error], [401, 'invalid_client'], what);
    assert.doesNotMatch(JSON.stringify(body), /signs-itself|other\.example/, what);
  }
  const mixed = await post('oauth/token', { grant_type: 'client_credentials', ...await asserted('signs-itself', plain.pkjwt) }, basic(plain));
  assert.equal(mixed.body.error, 'invalid_request');
  const named = await ask({ client_id: 'worker', ...await asserted('signs-itself', plain.pkjwt) });
  assert.equal(named.body.error, 'invalid_request');
  // A client with a key cannot fall back to a secret, nor one with a secret to a key.
  assert.equal((await post('oauth/token', { grant_type: 'client_credentials' }, basic(plain, 'signs-itself'))).status, 401);
  assert.equal((await ask(await asserted('example-service', plain.pkjwt))).status, 401);
});

test('a certificate counts only from the configured proxy, and binds the token of its role', async () => {
  const ask = (headers, form = {}) => post('oauth/token', { grant_type: 'client_credentials', client_id: 'with-certificate', ...form }, headers);
  const shown = await ask({ 'client-cert': CERTIFICATE.field });
  assert.equal(shown.status, 200);
  const thumbprint = Buffer.from(CERTIFICATE.sha256, 'hex').toString('base64url');
  assert.deepEqual(claims(shown.body.access_token).cnf, { 'x5t#S256': thumbprint });
  assert.equal((await ask({})).status, 401);
  assert.equal((await ask({ 'client-cert': ':BAUG:' })).status, 401);
  const unbound = await ask({ 'client-cert': CERTIFICATE.field }, { role: 'invoice-reader' });
  assert.equal(claims(unbound.body.access_token).cnf, undefined);
});

// --- resource, authorization_details, DPoP ---------------------------------------------------------

test('resource and audience choose among the audiences of the role, or are refused', async () => {
  const ask = async (form, more = '') => {
    const body = new URLSearchParams({ grant_type: 'client_credentials', role: 'feed', ...await asserted('signs-itself', plain.pkjwt), ...form });
    const response = await fetch(`${plain.issuer.url}/oauth/token`, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: `${body}${more}` });
    const answer = await response.json();
    return answer.error ?? claims(answer.access_token).aud;
  };
  assert.equal(await ask({}), AUDIENCE);
  assert.equal(await ask({ resource: OTHER_AUDIENCE }), OTHER_AUDIENCE);
  assert.equal(await ask({ audience: OTHER_AUDIENCE }), OTHER_AUDIENCE);
  assert.equal(await ask({ resource: OTHER_AUDIENCE, audience: OTHER_AUDIENCE }), OTHER_AUDIENCE);
  for (const resource of ['https://else.example', `${AUDIENCE}/`, `${AUDIENCE}#f`, 'relative']) {
    assert.equal(await ask({ resource }), 'invalid_target', resource);
  }
  assert.equal(await ask({ resource: AUDIENCE }, `&resource=${OTHER_AUDIENCE}`), 'invalid_target');
  assert.equal(await ask({ resource: AUDIENCE, audience: OTHER_AUDIENCE }), 'invalid_target');
  assert.equal(await ask({ authorization_details: '[{"type":"x"}]' }), 'invalid_authorization_details');
  // Without `role`, the resource chooses the role.
  assert.equal(await ask({ role: '', resource: OTHER_AUDIENCE }), OTHER_AUDIENCE);
});

/** A proof for the token endpoint. */
async function proof(pair, changed = {}, header = {}) {
  const jwk = await jose.exportJWK(pair.publicKey);
  const payload = { htm: 'POST', htu: `${plain.issuer.url}/oauth/token`, iat: Math.floor(Date.now() / 1000), jti: crypto.randomUUID(), ...changed };
  return new jose.SignJWT(payload).setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk, ...header }).sign(pair.privateKey);
}

test('a DPoP proof binds a token once, and a role may demand it', async () => {
  const pair = await jose.generateKeyPair('ES256', { extractable: true });
  const jkt = await jose.calculateJwkThumbprint(await jose.exportJWK(pair.publicKey));
  const ask = async (headers, form = {}) => post('oauth/token', { grant_type: 'client_credentials', ...await asserted('signs-itself', plain.pkjwt), ...form }, headers);
  const once = await proof(pair);
  const bound = await ask({ dpop: once });
  assert.deepEqual([bound.body.token_type, claims(bound.body.access_token).cnf], ['DPoP', { jkt }]);
  assert.equal((await ask({ dpop: once })).body.error, 'invalid_dpop_proof', 'it was used');
  assert.equal((await ask({}, { role: 'bound' })).body.error, 'invalid_dpop_proof');
  const { issuer: { url } } = plain;
  for (const [what, changed, header] of [
    ['another method', { htm: 'GET' }],
    ['another path', { htu: `${url}/oauth/revoke` }],
    ['another host', { htu: 'https://other.example/oauth/token' }],
    ['an old one', { iat: Math.floor(Date.now() / 1000) - 3600 }],
    ['no jti', { jti: undefined }],
    ['another typ', {}, { typ: 'JWT' }],
  ]) {
    const { status, body } = await ask({ dpop: await proof(pair, changed, header) });
    assert.deepEqual([status, body.error], [400, 'invalid_dpop_proof'], what);
  }
  const introspected = await post('oauth/introspect', { token: bound.body.access_token }, basic(plain, 'api'));
  assert.deepEqual([introspected.body.token_type, introspected.body.cnf], ['DPoP', { jkt }]);
});

// --- token exchange --------------------------------------------------------------------------------

const exchange = async (subject, form = {}, key = plain.worker, id = 'worker', headers = {}) => post('oauth/token', {
  grant_type: EXCHANGE, subject_token: subject, subject_token_type: TYPE.access, ...await asserted(id, key), ...form,
}, headers);

test('an exchange never widens, keeps who acted, and ends with the token that it came from', async () => {
  const parent = await token({ role: 'feed' });
  const child = await exchange(parent, { scope: 'feed:read' });
  assert.equal(child.status, 200, JSON.stringify(child.body));
  const own = claims(child.body.access_token);
  assert.deepEqual(own.act, { sub: 'worker', client_id: 'worker' });
  assert.deepEqual([own.client_id, own.sub], ['worker', 'signs-itself']);
  for (const [form, error] of [
    [{ scope: 'feed:read feed:write invoices:read' }, 'invalid_scope'],
    [{ scope: 'deploy:prod' }, 'invalid_scope'],
    [{ resource: OTHER_AUDIENCE }, 'invalid_target'],
    [{ requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }, 'invalid_request'],
    [{ actor_token: parent }, 'invalid_request'],
    [{ subject_token_type: 'urn:ietf:params:oauth:token-type:saml2' }, 'invalid_request'],
    [{ subject_token: 'x.y.z' }, 'invalid_request'],
  ]) {
    assert.equal((await exchange(parent, form)).body.error, error, JSON.stringify(form));
  }
  // What the child lost, it does not get back.
  assert.equal((await exchange(child.body.access_token, { scope: 'feed:write' })).body.error, 'invalid_scope');
  // A client that is not the resource server exchanges only its own tokens.
  const foreign = await token({ scope: 'feed:read' }, plain.worker, 'worker');
  assert.equal((await exchange(foreign, {}, plain.pkjwt, 'signs-itself')).body.error, 'unauthorized_client');

  const grandchild = await exchange(child.body.access_token);
  assert.equal(grandchild.status, 200);
  assert.deepEqual(claims(grandchild.body.access_token).act, own.act);
  const tokens = [parent, child.body.access_token, grandchild.body.access_token];
  assert.deepEqual(await Promise.all(tokens.map((text) => isActive(text))), [true, true, true]);
  const revoked = await post('oauth/revoke', { token: parent, ...await asserted('signs-itself', plain.pkjwt) });
  assert.equal(revoked.status, 200);
  assert.deepEqual(await Promise.all(tokens.map((text) => isActive(text))), [false, false, false]);
  assert.equal((await exchange(parent)).body.error, 'invalid_request');
  assert.equal((await exchange(grandchild.body.access_token)).body.error, 'invalid_request');
});

test('an exchange names four actors at most, and loses none', async () => {
  let held = await token({ role: 'feed' });
  const relay = (id, subject) => post('oauth/token', { grant_type: EXCHANGE, subject_token: subject, subject_token_type: TYPE.access }, basic(plain, id));
  const actors = (act) => (act ? [act.sub, ...actors(act.act)] : []);
  for (const [at, id] of RELAYS.slice(0, 4).entries()) {
    const { status, body } = await relay(id, held);
    assert.equal(status, 200, JSON.stringify(body));
    held = body.access_token;
    assert.deepEqual(actors(claims(held).act), RELAYS.slice(0, at + 1).reverse());
  }
  const fifth = await relay(RELAYS[4], held);
  assert.deepEqual([fifth.status, fifth.body.error], [400, 'invalid_request']);
  // Who is named already may go on.
  assert.deepEqual(actors(claims((await relay(RELAYS[3], held)).body.access_token).act), RELAYS.slice(0, 4).reverse());
});

test('an actor token names who acts, limits the time, and takes the new token with it', async () => {
  const parent = await token({ role: 'feed' });
  const actor = await token({ scope: 'feed:read' }, plain.worker, 'worker');
  const acting = (text) => ({ actor_token: text, actor_token_type: TYPE.access });
  const { status, body } = await exchange(parent, acting(actor));
  assert.equal(status, 200, JSON.stringify(body));
  assert.deepEqual(claims(body.access_token).act, { sub: 'worker', client_id: 'worker' });
  assert.ok(claims(body.access_token).exp <= claims(actor).exp);
  assert.equal((await exchange(parent, acting(parent))).body.error, 'invalid_request', 'the token of another client');
  const child = await exchange(actor);
  assert.equal((await exchange(parent, acting(child.body.access_token))).body.error, 'invalid_request', 'exchanged itself');
  await post('oauth/revoke', { token: actor, ...await asserted('worker', plain.worker) });
  assert.deepEqual([await isActive(body.access_token), await isActive(parent)], [false, true]);
});

test('a client that lost a role does not keep it by replacing its token', async () => {
  const { issuer } = plain;
  const old = await token({ role: 'bound' }, plain.pkjwt, 'signs-itself').catch(() => undefined);
  assert.equal(old, undefined, 'the role needs a proof');
  const jti = claims(await token({ role: 'feed' })).jti;
  const file = join(issuer.folder, 'edgepass.toml');
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace('roles = ["invoice-reader", "feed", "bound", ', 'roles = ["invoice-reader", "bound", '));
  await issuer.edgepass('policy', 'apply');
  const refused = await post('oauth/token', { grant_type: 'client_credentials', replace: jti, ...await asserted('signs-itself', plain.pkjwt) });
  assert.deepEqual([refused.status, refused.body.error], [400, 'unauthorized_client']);
  await writeFile(file, text);
  await issuer.edgepass('policy', 'apply');
});

test('an exchanged token stays bound, and a proof must be by the same key', async () => {
  const [pair, other] = [await jose.generateKeyPair('ES256', { extractable: true }), await jose.generateKeyPair('ES256', { extractable: true })];
  const bound = await post('oauth/token', { grant_type: 'client_credentials', role: 'feed', ...await asserted('signs-itself', plain.pkjwt) }, { dpop: await proof(pair) });
  const { cnf } = claims(bound.body.access_token);
  const kept = await exchange(bound.body.access_token);
  assert.deepEqual([claims(kept.body.access_token).cnf, kept.body.token_type], [cnf, 'DPoP']);
  const proven = await exchange(bound.body.access_token, {}, plain.worker, 'worker', { dpop: await proof(pair) });
  assert.deepEqual(claims(proven.body.access_token).cnf, cnf);
  const taken = await exchange(bound.body.access_token, {}, plain.worker, 'worker', { dpop: await proof(other) });
  assert.equal(taken.body.error, 'invalid_dpop_proof');
});

test('no sequence of exchanges widens scope, audience or time, or loses an actor, a key or a network', async (t) => {
  const pair = await jose.generateKeyPair('ES256', { extractable: true });
  const bound = await post('oauth/token', { grant_type: 'client_credentials', role: 'feed', ...await asserted('signs-itself', plain.pkjwt) }, { dpop: await proof(pair) });
  const firsts = [
    await token({ role: 'feed' }), await token({ role: 'feed', scope: 'feed:read' }), await token({ role: 'feed', resource: OTHER_AUDIENCE }),
    await token({ role: 'office' }), bound.body.access_token,
  ];
  const actors = (act) => (act ? [act.sub, ...actors(act.act)] : []);
  let [exchanged, refused, deepest] = [0, 0, 0];
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    let random = seed * 7919;
    const draw = (items) => { random = (random * 1_103_515_245 + 12_345) % 2_147_483_648; return items[Math.floor(random / 65_536) % items.length]; };
    let held = [...firsts];
    for (let step = 0; step < 90; step += 1) {
      const subject = draw(held);
      const before = claims(subject);
      const form = {};
      const scope = draw(['feed:read', 'feed:write', 'feed:read feed:write', 'invoices:read', 'deploy:prod feed:read', '', '']);
      if (scope) form.scope = scope;
      const target = draw([undefined, undefined, AUDIENCE, OTHER_AUDIENCE, 'https://else.example']);
      if (target) form[draw(['resource', 'audience'])] = target;
      const id = draw(['signs-itself', 'worker', ...RELAYS]);
      const headers = draw([0, 0, 1]) ? { dpop: await proof(draw([0, 1]) ? pair : await jose.generateKeyPair('ES256', { extractable: true })) } : {};
      if (draw([0, 0, 0, 1])) Object.assign(form, { actor_token: draw([...held, await token({ scope: 'feed:read' }, plain.worker, 'worker')]), actor_token_type: TYPE.access });
      const how = RELAYS.includes(id) ? {} : await asserted(id, id === 'worker' ? plain.worker : plain.pkjwt);
      const { status, body } = await post('oauth/token', {
        grant_type: EXCHANGE, subject_token: subject, subject_token_type: TYPE.access, ...how, ...form,
      }, { ...headers, ...(RELAYS.includes(id) && basic(plain, id)) });
      assert.ok([200, 400, 401].includes(status), `${status} ${JSON.stringify(body)}`);
      if (status !== 200) { refused += 1; continue; }
      const now = claims(body.access_token);
      const what = JSON.stringify({ seed, step, id, form, before, now });
      assert.ok(now.scope.split(' ').every((one) => before.scope.split(' ').includes(one)), what);
      assert.ok(now.exp <= before.exp, what);
      assert.deepEqual([now.aud, now.sub], [before.aud, before.sub], what);
      if (before.cnf) assert.deepEqual(now.cnf, before.cnf, what);
      if (before.edgepass_networks) assert.deepEqual(now.edgepass_networks, before.edgepass_networks, what);
      const [were, are] = [actors(before.act), actors(now.act)];
      assert.ok(are.length >= were.length && are.length <= 4, what);
      assert.deepEqual(are.slice(are.length - were.length), were, what);
      [exchanged, deepest] = [exchanged + 1, Math.max(deepest, are.length)];
      held = [...firsts, ...[...held.slice(firsts.length), body.access_token].slice(-8)];
    }
  }
  t.diagnostic(`${exchanged} exchanges, ${refused} refused, at most ${deepest} actors`);
  assert.ok(exchanged >= 60 && refused >= 60 && deepest >= 3, `${exchanged} ${refused} ${deepest}`);
});

test('what an exchange would ignore is refused', async () => {
  const subject = await token({ role: 'feed' });
  const ask = async (form) => post('oauth/token', {
    grant_type: EXCHANGE, subject_token: subject, subject_token_type: TYPE.access, ...await asserted('signs-itself', plain.pkjwt), ...form,
  });
  for (const form of [{ role: 'feed' }, { replace: 'x' }, { grace: '5s' }]) {
    assert.equal((await ask(form)).body.error, 'invalid_request', JSON.stringify(form));
  }
  assert.equal((await ask({})).status, 200);
  const { body } = await post('oauth/token', { grant_type: 'client_credentials', grace: '5s', ...await asserted('signs-itself', plain.pkjwt) });
  assert.equal(body.error, 'invalid_request');
});

test('a client prolongs no token that an operator issued, and exchanges none of a role that it lost', async () => {
  const issued = (await plain.issuer.edgepass('issue', '--role', 'feed', '--client', 'signs-itself', '--subject', 'alice', '--ttl', '20s')).trim();
  const { jti } = claims(issued);
  const replaced = await post('oauth/token', { grant_type: 'client_credentials', replace: jti, ...await asserted('signs-itself', plain.pkjwt) });
  assert.match(replaced.body.error_description, /whoever issued it replaces it/);
});

test('a client with a key acts on statuses, by an assertion in a field', async () => {
  const file = join(plain.issuer.folder, 'edgepass.toml');
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace('id = "signs-itself"', 'id = "signs-itself"\nmay = ["revoke"]'));
  await plain.issuer.edgepass('policy', 'apply');
  const { jti } = claims(await token());
  const act = async (field) => (await fetch(`${plain.issuer.url}/status-acts`, {
    method: 'POST', headers: { 'content-type': 'application/json', ...field },
    body: JSON.stringify({ act: 'revoke', jwt_ids: [jti], reason: 'a test' }),
  })).status;
  const field = { 'client-assertion': await assertion('signs-itself', plain.pkjwt) };
  assert.deepEqual([await act({}), await act(field), await act(field)], [401, 200, 401]);
  await writeFile(file, text);
  await plain.issuer.edgepass('policy', 'apply');
});

test('/oauth/revoke tells nothing of tokens that nobody shows', async () => {
  const [own, other] = [await token(), await token({}, plain.worker, 'worker').catch(() => undefined)];
  const forged = (text) => `${Buffer.from('{"alg":"EdDSA","kid":"x"}').toString('base64url')}.${text.split('.')[1]}.AAAA`;
  const revoke = async (text) => (await post('oauth/revoke', { token: text, ...await asserted('signs-itself', plain.pkjwt) })).status;
  assert.equal(await revoke(forged(own)), 200);
  if (other) assert.equal(await revoke(forged(other)), 200);
  assert.equal(await isActive(own), true);
  // As it is copied from a file.
  assert.equal(await revoke(`${own}\n`), 200);
  assert.equal(await isActive(own), false);
});

test('a token is replaced by one that can do no more, and ends after its grace', async () => {
  const ask = async (form, key = plain.pkjwt, id = 'signs-itself') => (
    post('oauth/token', { grant_type: 'client_credentials', ...await asserted(id, key), ...form }));
  const old = await token({ role: 'feed', scope: 'feed:read' });
  const { jti } = claims(old);
  for (const [form, error] of [
    [{ replace: jti, scope: 'feed:read feed:write' }, 'invalid_scope'],
    [{ replace: jti, role: 'feed' }, 'invalid_request'],
    [{ replace: jti, resource: OTHER_AUDIENCE }, 'invalid_request'],
    [{ replace: jti, grace: '2h' }, 'invalid_request'],
    [{ replace: jti, grace: '60' }, 'invalid_request'],
    [{ replace: 'nobody' }, 'invalid_request'],
  ]) assert.equal((await ask(form)).body.error, error, JSON.stringify(form));
  assert.equal((await ask({ replace: jti }, plain.worker, 'worker')).body.error, 'invalid_request', 'another client');
  const later = await ask({ replace: jti, grace: '1h' });
  assert.equal(later.status, 200, JSON.stringify(later.body));
  const { scope, aud, sub } = claims(later.body.access_token);
  assert.deepEqual({ scope, aud, sub }, (({ scope: a, aud: b, sub: c }) => ({ scope: a, aud: b, sub: c }))(claims(old)));
  assert.equal(await isActive(old), true, 'still in its grace');
  const now = await ask({ replace: jti, grace: '0s' });
  assert.equal(now.status, 200);
  assert.equal(await ends(old), true);
  assert.equal((await auditOf(old)).reason, `replaced by ${claims(later.body.access_token).jti}`);
  assert.equal((await ask({ replace: jti })).body.error, 'invalid_request');
  const exchanged = await exchange(later.body.access_token);
  const child = claims(exchanged.body.access_token).jti;
  assert.equal((await ask({ replace: child }, plain.worker, 'worker')).body.error, 'invalid_request');
});

// --- workload identity federation ------------------------------------------------------------------

const JOB = { sub: 'repo:acme/shop:environment:production', repository_id: '1296269', ref: 'refs/heads/main', environment: 'production' };
const federate = (subject, form = {}) => post('oauth/token', {
  grant_type: EXCHANGE, subject_token: subject, subject_token_type: TYPE.jwt, ...form,
});

test('a CI job exchanges its own identity for a short token, once', async () => {
  const identity = await github.token(plain.issuer.url, JOB);
  const { status, body } = await federate(identity, { scope: 'deploy:prod' });
  assert.equal(status, 200, JSON.stringify(body));
  const got = claims(body.access_token);
  assert.deepEqual([got.client_id, got.sub, got.scope, got.exp - got.iat], ['github-deploy', `github-deploy:${JOB.sub}`, 'deploy:prod', 300]);
  const again = await federate(identity);
  assert.deepEqual([again.status, again.body.error], [400, 'invalid_request'], 'used twice');
  assert.ok(github.asked.includes('/.well-known/openid-configuration'));
  // Without a `jti`, what is signed counts.
  const nameless = await github.token(plain.issuer.url, JOB, { jti: undefined });
  assert.equal((await federate(nameless, { subject_token_type: TYPE.id })).status, 200);
  assert.equal((await federate(nameless)).body.error, 'invalid_request');
});

test('a CI job calls the API through the guard until its role is revoked', async () => {
  const job = async () => {
    const { body } = await federate(await github.token(plain.issuer.url, JOB), { client_id: 'github-deploy', scope: 'invoices:read' });
    return body.access_token;
  };
  const [one, bystander] = [await job(), await token()];
  assert.deepEqual(await guarded(one), [200, `github-deploy:${JOB.sub}`]);
  assert.equal((await guarded(bystander))[0], 200);
  await plain.issuer.edgepass('revoke', '--role', 'deployer', '--reason', 'a runner was taken over');
  await isRefused(one);
  assert.equal((await guarded(bystander))[0], 200, 'another role');
  // What was revoked is what had been issued. For a second after that the issuer records no token of the
  // role; then the next job works.
  await setTimeout(1_200);
  assert.equal((await guarded(await job()))[0], 200);
});

test('a token of a role with networks is accepted from these alone', async () => {
  const text = await token({ role: 'office' });
  assert.deepEqual(claims(text).edgepass_networks, ['203.0.113.0/24', 'AS64500']);
  const exchanged = (await exchange(text)).body.access_token;
  assert.deepEqual(claims(exchanged).edgepass_networks, ['203.0.113.0/24', 'AS64500'], 'an exchange loses nothing');
  const ask = async (cf, address, of = text) => {
    const headers = { authorization: `Bearer ${of}`, ...(address && { 'cf-connecting-ip': address }) };
    const response = await guard.workerd.dispatchFetch('https://api.example/invoices', { headers, ...(cf && { cf }) });
    return [response.status, response.status === 200 ? null : (await response.json()).code];
  };
  const other = { asn: 64501, country: 'DE' };
  for (const of of [text, exchanged]) {
    assert.deepEqual(await ask({ asn: 64500, country: 'DE' }, '198.51.100.7', of), [200, null]);
    assert.deepEqual(await ask(other, '203.0.113.7', of), [200, null]);
    assert.deepEqual(await ask(other, '198.51.100.7', of), [403, 'network_not_allowed']);
    assert.deepEqual(await ask(other, undefined, of), [403, 'network_not_allowed']);
  }
});

test('an exchanged token keeps its networks whatever the role has by now', async () => {
  const [own, all] = [['203.0.113.0/24', 'AS64500'], await token({ role: 'office' })];
  const file = join(plain.issuer.folder, 'edgepass.toml');
  const text = await readFile(file, 'utf8');
  const written = 'networks = ["203.0.113.0/24", "AS64500"]\n';
  assert.ok(text.includes(written));
  const under = async (line) => {
    await writeFile(file, text.replace(written, line));
    await plain.issuer.edgepass('policy', 'apply');
    const { status, body } = await exchange(all);
    return status === 200 ? claims(body.access_token).edgepass_networks : body.error;
  };
  assert.deepEqual(await under(''), own);
  assert.equal(await under('networks = ["198.51.100.0/24"]\n'), 'invalid_request');
  assert.deepEqual(await under(written), own);
});

test('outside of Cloudflare the guard takes no address from a header, which a client could write', () => {
  const headers = new Headers({ 'cf-connecting-ip': '203.0.113.7' });
  const reported = (cf) => factsOf({ method: 'GET', url: 'https://api.example/', body: null, cf, headers }).split('\n').slice(5, 8);
  assert.deepEqual(reported({ asn: 64500, country: 'DE' }), ['203.0.113.7', '64500', 'DE']);
  assert.deepEqual(reported(undefined), ['', '', '']);
  assert.deepEqual(reported({}), ['', '', '']);
});

test('a job of another repository, branch, environment or audience gets nothing', async () => {
  const other = await OutsideIssuer.start();
  for (const [what, identity] of [
    ['repository', github.token(plain.issuer.url, { ...JOB, repository_id: '1296270' })],
    ['repository as a number', github.token(plain.issuer.url, { ...JOB, repository_id: 1296269 })],
    ['branch', github.token(plain.issuer.url, { ...JOB, ref: 'refs/heads/main2' })],
    ['environment', github.token(plain.issuer.url, { ...JOB, environment: 'staging' })],
    ['no environment', github.token(plain.issuer.url, { ...JOB, environment: undefined })],
    ['audience', github.token('https://sts.example', JOB)],
    ['expired', github.token(plain.issuer.url, JOB, { lifetime: -60 })],
    ['issuer', other.token(plain.issuer.url, JOB)],
    ['own token', token()],
  ]) {
    const { status, body } = await federate(await identity);
    assert.deepEqual([status, body.error], [400, 'invalid_request'], what);
  }
  other.close();
});

test('a token that several rules accept chooses none of them, and is used once however rules write its issuer', async () => {
  const file = join(plain.issuer.folder, 'edgepass.toml');
  const text = await readFile(file, 'utf8');
  const other = `\n[[federation]]\nname = "github-feed"\nissuer = "${github.url}"\nrole = "feed"\nclaims = { repository_id = "1296269" }\n`;
  await writeFile(file, text + other);
  await plain.issuer.edgepass('policy', 'apply');
  const identity = await github.token(plain.issuer.url, JOB);
  const both = await federate(identity);
  assert.match(both.body.error_description, /several federations accept subject_token/);
  assert.equal(claims((await federate(identity, { client_id: 'github-feed' })).body.access_token).client_id, 'github-feed');
  assert.match((await federate(identity, { role: 'deployer' })).body.error_description, /used before/);
  for (const name of ['github:feed', 'edgepass-cli']) {
    await writeFile(file, text + other.replace('github-feed', name));
    await assert.rejects(plain.issuer.edgepass('policy', 'check'), ({ stdout }) => /every federation needs a name of its own/.test(stdout), name);
  }
  await writeFile(file, text);
  await plain.issuer.edgepass('policy', 'apply');
});

test('a job of GitLab is known by the id of its project', async () => {
  const job = { sub: 'project_path:acme/shop:ref_type:branch:ref:main', project_id: '4711', ref: 'main', ref_protected: 'true' };
  const { status, body } = await federate(await gitlab.token(plain.issuer.url, job));
  assert.equal(status, 200, JSON.stringify(body));
  assert.equal(claims(body.access_token).client_id, 'gitlab-deploy');
  for (const changed of [{ project_id: '4712' }, { ref_protected: 'false' }, { ref: 'feature' }]) {
    assert.equal((await federate(await gitlab.token(plain.issuer.url, { ...job, ...changed }))).body.error, 'invalid_request', JSON.stringify(changed));
  }
  // The claims of GitHub, signed by GitLab.
  assert.equal((await federate(await gitlab.token(plain.issuer.url, JOB))).body.error, 'invalid_request');
});

test('the lines and the program of the documentation get, show, narrow and revoke tokens', async () => {
  const page = await readFile(new URL('../../docs/oauth.md', import.meta.url), 'utf8');
  const [, lines] = /## By hand[^]*?```sh\n([^]*?)```/.exec(page);
  const [, program] = /## By hand[^]*?```js\n([^]*?)```/.exec(page);
  const folder = await mkdtemp(join(tmpdir(), 'edgepass-by-hand-'));
  const file = join(plain.issuer.folder, 'edgepass.toml');
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace('id = "example-service"', `id = "example-service"\nintrospects = ["${AUDIENCE}"]`));
  await plain.issuer.edgepass('client', 'add', 'billing', '--role', 'invoice-reader', '--new-key', join(folder, 'billing.jwk'));
  await plain.issuer.edgepass('policy', 'apply');
  const script = lines.replaceAll('https://auth.example', plain.issuer.url);
  const env = { ...process.env, ID: 'example-service', SECRET: plain.secret };
  const { stdout } = await run('bash', ['-eo', 'pipefail', '-c', script], { cwd: folder, env });
  assert.match(stdout, /"active":true/);
  assert.match(stdout, /"issued_token_type"/);
  assert.equal(await isActive((await readFile(join(folder, 'token.jwt'), 'utf8')).trim()), false);
  const key = `import { readFile } from 'node:fs/promises'; import { importJWK, SignJWT } from 'jose';\n`;
  const module = new URL(`by-hand-${crypto.randomUUID()}.mjs`, import.meta.url);
  await writeFile(module, key + program.replace("'billing.jwk'", JSON.stringify(join(folder, 'billing.jwk'))).replaceAll('https://auth.example', plain.issuer.url)
    + '\nexport default assertion;\n');
  const { default: signed } = await import(module).finally(() => rm(module));
  const got = await post('oauth/token', {
    grant_type: 'client_credentials', client_assertion: signed, client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
  });
  assert.equal(got.status, 200, JSON.stringify(got.body));
  await writeFile(file, text);
  await plain.issuer.edgepass('policy', 'apply');
});

test('the workflow of the documentation exchanges its identity and calls the API', async () => {
  const page = await readFile(new URL('../../docs/policy.md', import.meta.url), 'utf8');
  const step = /run: \|\n((?: {10}.*\n)+)/.exec(page)[1].replace(/^ {10}/gm, '');
  const called = [];
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://host');
    called.push([pathname, request.headers.authorization]);
    if (pathname !== '/identity') return response.end('{}');
    // As GitHub's runner answers.
    const identity = await github.token(searchParams.get('audience'), JOB);
    return response.end(JSON.stringify({ count: 1, value: identity }));
  });
  const url = await listen(server);
  const script = step.replaceAll('https://auth.example/prod', plain.issuer.url).replace('client_id=shop-deploy', 'client_id=github-deploy')
    .replace('https://api.example/deployments', `${url}/deployments`);
  assert.equal((script.match(new RegExp(plain.issuer.url, 'g')) ?? []).length, 2, script);
  const env = { ...process.env, ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'of-the-runner', ACTIONS_ID_TOKEN_REQUEST_URL: `${url}/identity?a=b` };
  const { stdout } = await run('bash', ['-eo', 'pipefail', '-c', script], { env });
  server.close();
  server.closeAllConnections();
  assert.deepEqual(called[0], ['/identity', 'bearer of-the-runner']);
  const [path, authorization] = called[1];
  assert.equal(path, '/deployments');
  const sent = authorization.replace('Bearer ', '');
  assert.equal(claims(sent).client_id, 'github-deploy');
  assert.match(stdout, new RegExp(`::add-mask::${sent.slice(0, 40)}`), 'the log shows no token');
});

test('a Kubernetes service account is known by its uid', async () => {
  const account = (uid, namespace = 'jobs') => ({
    sub: 'system:serviceaccount:jobs:nightly', 'kubernetes.io': { namespace, serviceaccount: { name: 'nightly', uid } },
  });
  const { status, body } = await federate(await kubernetes.token(plain.issuer.url, account('7c1f0ea2')));
  assert.equal(status, 200, JSON.stringify(body));
  assert.equal(claims(body.access_token).exp - claims(body.access_token).iat, 120);
  const reused = await federate(await kubernetes.token(plain.issuer.url, account('00000000')));
  assert.equal(reused.body.error, 'invalid_request', 'the name was given to another account');
});

test('an outside token is one for access or identity, and says whose it is', async () => {
  for (const typ of ['at+jwt', 'application/at+jwt', null]) {
    assert.equal((await federate(await github.token(plain.issuer.url, JOB, { typ }))).status, 200, typ);
  }
  for (const typ of ['secevent+jwt', 'dpop+jwt', 'statuslist+jwt', 'logout+jwt', '']) {
    const { status, body } = await federate(await github.token(plain.issuer.url, JOB, { typ: typ || ' ' }));
    assert.deepEqual([status, body.error], [400, 'invalid_request'], typ);
    assert.match(body.error_description, /typ_not_accepted/);
  }
  for (const sub of [undefined, '', 7, null, 'a\nb', 'x'.repeat(1100), ['a']]) {
    const { status, body } = await federate(await github.token(plain.issuer.url, { ...JOB, sub }));
    assert.deepEqual([status, body.error], [400, 'invalid_request'], JSON.stringify(sub));
  }
});

test('an outside token that its issuer has revoked gives none', async () => {
  const listed = (idx) => github.token(plain.issuer.url, { ...JOB, status: { status_list: { idx, uri: `${github.url}/list` } } });
  await github.publish([0, 1, 0, 0, 0, 0, 0, 0]);
  assert.equal((await federate(await listed(0))).status, 200);
  const { status, body } = await federate(await listed(1));
  assert.deepEqual([status, body.error], [400, 'invalid_request']);
  assert.match(body.error_description, /token_revoked/);
});

test('an outside issuer that is away is no refusal', async () => {
  const gone = await OutsideIssuer.start();
  const away = await start({ github: gone, kubernetes });
  gone.close();
  const { status, headers } = await post('oauth/token', {
    grant_type: EXCHANGE, subject_token: await gone.token(away.issuer.url, JOB), subject_token_type: TYPE.jwt,
  }, {}, away);
  assert.deepEqual([status, headers.get('retry-after')], [503, '1']);
  await away.issuer.remove();
});

test('introspection tells nothing about tokens of other audiences, and nothing to other clients', async () => {
  const other = await token({ role: 'feed', resource: OTHER_AUDIENCE });
  assert.deepEqual((await post('oauth/introspect', { token: other }, basic(plain, 'api'))).body, { active: false });
  const { body } = await post('oauth/introspect', { token: other }, basic(plain));
  assert.equal(body.error, 'unauthorized_client');
  assert.equal((await post('oauth/introspect', { token: other })).status, 401);
});

// --- lists and tokens of others --------------------------------------------------------------------

/** The status that `@sd-jwt/jwt-status-list` reads for a token, from the published list. */
async function statusOf(text) {
  const { idx, uri } = getStatusListFromJWT(text);
  const response = await fetch(uri);
  assert.equal(response.headers.get('content-type'), 'application/statuslist+jwt');
  const list = await response.text();
  const set = jose.createRemoteJWKSet(new URL(`${plain.issuer.url}/.well-known/jwks.json`));
  const { payload } = await jose.jwtVerify(list, set, { typ: 'statuslist+jwt' });
  assert.equal(payload.sub, uri);
  return getListFromStatusListJWT(list).getStatus(idx);
}

test('another library reads the status of a token from the published list', async () => {
  const text = await token();
  assert.equal(await statusOf(text), 0);
  await post('oauth/revoke', { token: text, ...await asserted('signs-itself', plain.pkjwt) });
  assert.equal(await statusOf(text), 1);
});

test('the library token-status-list for Python reads it, too', async () => {
  const text = await token();
  const program = `
import sys, json, base64, urllib.request
from token_status_list import BitArray
uri, at = sys.argv[1], int(sys.argv[2])
jws = urllib.request.urlopen(urllib.request.Request(uri, headers={"Accept": "application/statuslist+jwt"})).read().decode()
part = jws.split(".")[1]
claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
print(BitArray.load(claims["status_list"])[at])
`;
  const { idx, uri } = getStatusListFromJWT(text);
  const read = async () => (await run(process.env.EDGEPASS_PYTHON, ['-c', program, uri, String(idx)])).stdout.trim();
  assert.equal(await read(), '0');
  await post('oauth/revoke', { token: text, ...await asserted('signs-itself', plain.pkjwt) });
  assert.equal(await read(), '1');
});

test('a token of another issuer gets a status entry, and is revoked by its jti', async () => {
  const exp = Math.floor(Date.now() / 1000) + 900;
  const foreign = { jti: crypto.randomUUID(), exp, iss: 'https://auth.other.example', sub: 'user-1' };
  const allot = async (body, headers = basic(plain, 'api')) => {
    const response = await report('status-entries', body, headers);
    return [response.status, await response.json()];
  };
  const [status, claim] = await allot(foreign);
  assert.equal(status, 200, JSON.stringify(claim));
  assert.deepEqual(await allot(foreign), [200, claim], 'the same entry again');
  const text = await new jose.SignJWT({ ...foreign, ...claim }).setProtectedHeader({ alg: 'ES256' }).sign(plain.pkjwt.privateKey);
  assert.equal(await statusOf(text), 0);
  for (const [what, body, headers] of [
    ['another exp', { ...foreign, exp: exp + 1 }], ['another iss', { ...foreign, iss: 'https://x.example' }],
    ['another sub', { ...foreign, sub: 'user-2' }],
    ['the jti of a token of ours', { ...foreign, jti: claims(await token()).jti }],
    ['a past exp', { ...foreign, jti: 'a', exp: 1 }], ['too late an exp', { ...foreign, jti: 'b', exp: exp + 86_400 }],
    ['no jti', { exp, iss: 'i', sub: 's' }], ['an unknown member', { ...foreign, x: 1 }], ['no JSON', 'x'],
    ['a client that may not', foreign, basic(plain)],
  ]) assert.equal((await allot(body, headers ?? basic(plain, 'api')))[0], 400, what);
  await plain.issuer.edgepass('revoke', '--jti', foreign.jti, '--reason', 'test');
  assert.equal(await statusOf(text), 1);
  const listed = JSON.parse(await plain.issuer.edgepass('tokens', '--json', '--jti', foreign.jti));
  assert.deepEqual([listed.role, listed.aud, listed.sub], ['status-entry', foreign.iss, 'user-1']);
});

test('the verifier accepts tokens of oidc-provider, whose metadata it finds', async () => {
  const { default: Provider } = await import('oidc-provider');
  const server = createServer((request, response) => provider.callback()(request, response));
  const url = await listen(server);
  const resource = { scope: 'invoices:read', audience: AUDIENCE, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } };
  const provider = new Provider(url, {
    clients: [{ client_id: 'c', client_secret: 's', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }],
    features: {
      clientCredentials: { enabled: true }, devInteractions: { enabled: false },
      resourceIndicators: { enabled: true, defaultResource: () => AUDIENCE, getResourceServerInfo: () => resource },
    },
    scopes: ['invoices:read'],
  });
  const response = await fetch(`${url}/token`, { method: 'POST', headers: basic({ secret: 's' }, 'c'), body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'invoices:read' }) });
  const { access_token: text } = await response.json();
  assert.deepEqual(await verified(text, '--issuer', url, '--audience', AUDIENCE, '--scope', 'invoices:read', '--status', 'none'), { accepted: true, code: null });
  assert.equal((await verified(changed(text), '--issuer', url, '--audience', AUDIENCE, '--status', 'none')).code, 'signature_invalid');
  assert.equal((await verified(text, '--issuer', url, '--audience', OTHER_AUDIENCE, '--status', 'none')).code, 'audience_mismatch');
  server.close();
  server.closeAllConnections();
});

test("the verifier accepts tokens of better-auth's plugin jwt", async () => {
  const [{ betterAuth }, { memoryAdapter }, { jwt }, { toNodeHandler }] = await Promise.all([
    import('better-auth'), import('better-auth/adapters/memory'), import('better-auth/plugins'), import('better-auth/node'),
  ]);
  const server = createServer((request, response) => handler(request, response));
  const url = await listen(server);
  const handler = toNodeHandler(betterAuth({
    baseURL: url, secret: Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('hex'), telemetry: { enabled: false },
    database: memoryAdapter({ user: [], session: [], account: [], verification: [], jwks: [] }),
    emailAndPassword: { enabled: true },
    plugins: [jwt({ jwt: { audience: AUDIENCE, definePayload: ({ user }) => ({ email: user.email, scope: 'invoices:read' }) } })],
  }));
  const account = { email: 'ada@example.com', password: 'a long password', name: 'Ada' };
  const signed = await fetch(`${url}/api/auth/sign-up/email`, { method: 'POST', headers: { 'content-type': 'application/json', origin: url }, body: JSON.stringify(account) });
  const cookie = signed.headers.getSetCookie().map((field) => field.split(';')[0]).join('; ');
  const { token: text } = await (await fetch(`${url}/api/auth/token`, { headers: { cookie } })).json();
  const jwks = await (await fetch(`${url}/api/auth/jwks`)).json();
  const line = (audience, one) => ({
    id: audience, token: one, jwks, now: Math.floor(Date.now() / 1000),
    policy: { profile: 'jwt', issuer: url, audience, typ: null, status: { mode: 'ignore' }, required_scopes: { all_of: ['invoices:read'] } },
  });
  const lines = [line(AUDIENCE, text), line(AUDIENCE, changed(text)), line(OTHER_AUDIENCE, text)];
  const judging = run(process.env.EDGEPASS_PROGRAM, ['verify', '--batch', '-']);
  judging.child.stdin.end(lines.map((one) => JSON.stringify(one)).join('\n'));
  const { stdout } = await judging.catch((error) => error);
  assert.deepEqual(stdout.trim().split('\n').map((answer) => JSON.parse(answer).code), [null, 'signature_invalid', 'audience_mismatch']);
  server.close();
  server.closeAllConnections();
});

// --- leaked tokens ---------------------------------------------------------------------------------

/** Whether a token becomes inactive within ten seconds. */
async function ends(text) {
  for (let tries = 0; tries < 500; tries += 1) {
    if (await isActive(text) === false) return true;
    await setTimeout(20);
  }
  return false;
}

async function auditOf(text) {
  const lines = (await plain.issuer.edgepass('audit', '--json', '--jti', claims(text).jti)).trim().split('\n');
  return lines.map((line) => JSON.parse(line)).find(({ act }) => act === 'token_revoked');
}

/** Posts JSON, or a text as it is. */
const report = (path, body, headers = {}) => fetch(`${plain.issuer.url}/${path}`, {
  method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: typeof body === 'string' ? body : JSON.stringify(body),
});

test('whoever holds a token may revoke it, and learns nothing', async () => {
  const [one, two, three] = [await token(), await token(), await token()];
  const forged = changed(three);
  const bodies = [
    { token: one, url: 'https://git.example/acme/shop/blob/main/.env' }, { tokens: [forged, 'x', 1, two] },
    { token: 'nothing' }, { token: forged }, {}, [], 'no JSON', '',
  ];
  const answers = [];
  const send = async (body) => {
    const response = await report('leaks/revoke', body);
    answers.push([response.status, await response.text(), [...response.headers.keys()].sort().join()]);
  };
  for (const body of bodies) await send(body);
  const form = await fetch(`${plain.issuer.url}/leaks/revoke`, { method: 'POST', body: new URLSearchParams({ token: 'x' }) });
  answers.push([form.status, await form.text(), [...form.headers.keys()].sort().join()]);
  assert.deepEqual([await ends(one), await ends(two)], [true, true]);
  await send({ token: one });
  assert.deepEqual([...new Set(answers.map(String))], [String(answers[0])], 'the same answer whatever was sent');
  assert.equal(answers[0][0], 202);
  // As they are copied: with the end of a line, or from a header field.
  const copied = [await token(), await token()];
  await report('leaks/revoke', { tokens: [` ${copied[0]}\r\n`, `Bearer ${copied[1]}\n`] });
  assert.deepEqual([await ends(copied[0]), await ends(copied[1])], [true, true]);
  // The forged one came before `two` in the same report, so its turn has been.
  assert.equal(await isActive(three), true, 'a forged signature revokes nothing');
  const entry = await auditOf(one);
  assert.deepEqual([entry.actor, entry.reason, entry.report], ['leak:possession', 'leak', {
    channel: 'possession', address: '127.0.0.1', url: 'https://git.example/acme/shop/blob/main/.env',
  }]);
});

test('GitHub and GitLab report leaked tokens by their own contracts', async () => {
  const [one, two, three] = [await token(), await token(), await token()];
  const body = JSON.stringify([{ token: one, type: 'edgepass_token', url: 'https://github.com/acme/shop/blob/1/a', source: 'commit', new: 1 }]);
  const signature = (text) => sign('sha256', Buffer.from(text), github.signs.privateKey).toString('base64');
  const headers = (text, id = 'github-1') => ({ 'github-public-key-identifier': id, 'github-public-key-signature': signature(text) });
  for (const [what, sent, header] of [
    ['no signature', body, {}], ['another body', body, headers(`${body}\n`)], ['an unknown key', body, headers(body, 'github-2')],
  ]) {
    const { status, headers: told } = await report('leaks/github', sent, header);
    assert.deepEqual([status, told.get('www-authenticate'), told.get('cache-control')], [401, 'GitHub-Public-Key-Signature', 'no-store'], what);
  }
  assert.equal(await isActive(one), true);
  assert.equal((await report('leaks/github', body, headers(body))).status, 200);
  assert.equal(await ends(one), true);
  assert.equal((await auditOf(one)).report.url, 'https://github.com/acme/shop/blob/1/a');

  // One that has another form does not keep the others from being revoked.
  const [nulls, many] = [await token(), await token()];
  const odd = JSON.stringify([{ token: nulls, url: null }, { url: 'x' }, 7]);
  assert.equal((await report('leaks/github', odd, headers(odd))).status, 200);
  const large = JSON.stringify([...Array.from({ length: 600 }, (_, at) => ({ token: `junk-${at}` })), { token: many }]);
  assert.equal((await report('leaks/github', large, headers(large))).status, 200);
  assert.deepEqual([await ends(nulls), await ends(many)], [true, true]);

  const gitlab = { authorization: plain.secret };
  const types = await fetch(`${plain.issuer.url}/v1/revocable_token_types`, { headers: gitlab });
  assert.deepEqual(await types.json(), { types: ['gitleaks_rule_id_edgepass_token'] });
  const found = [{ type: 'gitleaks_rule_id_edgepass_token', token: two, location: 'https://gitlab.example/acme/shop' }];
  const unknown = await report('v1/revoke_tokens', found, { authorization: 'wrong' });
  assert.deepEqual([unknown.status, unknown.headers.get('www-authenticate'), unknown.headers.get('cache-control')], [401, 'GitLab-Token', 'no-store']);
  const none = await fetch(`${plain.issuer.url}/v1/revocable_token_types`);
  assert.deepEqual([none.status, none.headers.get('www-authenticate'), none.headers.get('cache-control')], [401, 'GitLab-Token', 'no-store']);
  assert.equal((await report('leaks/revoke', 'x'.repeat(2 << 20))).status, 413);
  assert.equal((await report('v1/revoke_tokens', 'x', gitlab)).status, 400);
  assert.equal((await report('v1/revoke_tokens', found, gitlab)).status, 204);
  assert.equal((await report('v1/revoke_tokens', found, gitlab)).status, 204);
  assert.equal(await ends(two), true);
  assert.equal(await isActive(three), true);
});

test('Kingfisher finds tokens and secrets by the rule of the issuer, and revokes what it finds', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'edgepass-leak-'));
  const kingfisher = join(dirname(process.env.EDGEPASS_PYTHON), 'kingfisher');
  const rule = join(folder, 'edgepass.yml');
  await writeFile(rule, await plain.issuer.edgepass('leaks', 'rule', '--format', 'kingfisher'));
  const leaked = await token();
  assert.equal((await guarded(leaked))[0], 200);
  await writeFile(join(folder, 'deploy.env'), `API_TOKEN=${leaked}\nCLIENT_SECRET="${plain.secret}"\n`);
  await writeFile(join(folder, 'other.env'), 'TOKEN=eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJodHRwczovL290aGVyLmV4YW1wbGUifQ.c2lnbmF0dXJlc2lnbmF0dXJl\n');
  const options = ['--rules-path', rule, '--load-builtins', 'false', '--no-validate', '--format', 'json', '--no-update-check'];
  const scanned = await run(kingfisher, ['scan', folder, ...options]).catch((error) => error);
  assert.match(scanned.stdout, /edgepass\.token\.1/, `${scanned.stdout}${scanned.stderr}`);
  assert.match(scanned.stdout, /edgepass\.secret\.1/);
  assert.doesNotMatch(scanned.stdout, /other\.env/);
  // gitleaks, as it is.
  const gitleaks = join(dirname(process.env.EDGEPASS_PYTHON), 'gitleaks');
  const [config, found] = [join(folder, 'gitleaks.toml'), join(folder, 'gitleaks.json')];
  await writeFile(config, await plain.issuer.edgepass('leaks', 'rule', '--format', 'gitleaks'));
  const scan = await run(gitleaks, ['dir', folder, '--config', config, '--report-path', found, '--no-banner']).catch((error) => error);
  assert.equal(scan.code, 1, `${scan.stdout}${scan.stderr}`);
  const named = JSON.parse(await readFile(found, 'utf8')).map(({ RuleID, Secret, File }) => [RuleID, Secret, File.split('/').at(-1)]);
  assert.deepEqual(named.sort(), [['edgepass_client_secret', plain.secret, 'deploy.env'], ['edgepass_token', leaked, 'deploy.env']]);
  // No registry has TruffleHog.
  const text = await plain.issuer.edgepass('leaks', 'rule', '--format', 'trufflehog');
  const pattern = new RegExp(/eyJ\[A-Za-z0-9\]\{17\}[^'\n)]+/.exec(text)[0]);
  assert.equal(pattern.exec(leaked)?.[0], leaked);
  const revoking = run(kingfisher, ['revoke', '--rules-path', rule, '--no-builtins', '--rule', 'edgepass.token.1', '--allow-internal-ips', '-']);
  revoking.child.stdin.end(leaked);
  const revoked = await revoking.catch((error) => error);
  assert.equal(await ends(leaked), true, `${revoked.stdout}${revoked.stderr}`);
  await isRefused(leaked);
  await rm(folder, { recursive: true });
});

test('Kingfisher validates what it finds: the signature and the time, by the published keys', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'edgepass-live-'));
  const kingfisher = join(dirname(process.env.EDGEPASS_PYTHON), 'kingfisher');
  // It asks only issuers with https.
  const program = `
import datetime, ipaddress, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
now = datetime.datetime.now(datetime.timezone.utc)
builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
print(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode())
print(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode())
`;
  const { stdout: pem } = await run(process.env.EDGEPASS_PYTHON, ['-c', program]);
  const [cert, key] = [pem.split('-----BEGIN PRIVATE')[0], `-----BEGIN PRIVATE${pem.split('-----BEGIN PRIVATE')[1]}`];
  let own;
  const front = createSecureServer({ cert, key }, async (asked, response) => {
    const answer = await fetch(`${own}${asked.url}`, { headers: { accept: asked.headers.accept ?? '*/*' } });
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'text/plain' });
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  const issuer = await Issuer.start({
    url: async (address) => { own = address; return (await listen(front)).replace('http:', 'https:'); },
  });
  const { token: leaked } = await issuer.token();
  const rule = join(folder, 'edgepass.yml');
  await writeFile(rule, await issuer.edgepass('leaks', 'rule', '--format', 'kingfisher'));
  await writeFile(join(folder, 'deploy.env'), `TOKEN=${leaked}\n`);
  await writeFile(join(folder, 'forged.env'), `TOKEN=${changed(leaked)}\n`);
  const options = ['--rules-path', rule, '--load-builtins', 'false', '--format', 'json', '--no-update-check', '--allow-internal-ips', '--tls-mode', 'off'];
  const { stdout } = await run(kingfisher, ['scan', folder, ...options], { maxBuffer: 1 << 24 }).catch((error) => error);
  const outcomes = JSON.parse(stdout.split('\n')[0]).findings.map(({ finding }) => [finding.path.split('/').at(-1), finding.validation.outcome]);
  front.close();
  front.closeAllConnections();
  await issuer.remove();
  await rm(folder, { recursive: true });
  const byFile = Object.fromEntries(outcomes);
  assert.notEqual(byFile['deploy.env'], byFile['forged.env'], stdout);
  assert.match(byFile['deploy.env'], /active|valid/, stdout);
});

test('requests over a limit get 429 and the seconds to wait', async () => {
  const limited = await Issuer.start({ change: (text) => `${text}\n[limits]\nrequests_per_client = 2\nfailures_per_address = 3\nreports_per_address = 1\n` });
  const of = { issuer: limited, secret: limited.secret };
  const ask = (headers) => post('oauth/token', { grant_type: 'client_credentials' }, headers, of);
  const statuses = async (times, headers) => Promise.all(Array.from({ length: times }, async () => (await ask(headers)).status));
  assert.deepEqual((await statuses(3, basic(of))).sort(), [200, 200, 429]);
  const over = await ask(basic(of));
  assert.deepEqual([over.status, over.body.error], [429, 'temporarily_unavailable']);
  assert.ok(Number(over.headers.get('retry-after')) >= 1);
  assert.deepEqual((await statuses(4, basic({ secret: 'wrong' }))).sort(), [401, 401, 401, 429]);
  const blocked = await ask(basic(of));
  assert.equal(blocked.status, 429, 'after too many failures nothing of the address is looked at');
  const reports = [];
  for (let times = 0; times < 2; times += 1) reports.push((await fetch(`${limited.url}/leaks/revoke`, { method: 'POST' })).status);
  assert.deepEqual(reports, [202, 429]);
  await limited.remove();
});

test('five thousand malformed requests that Schemathesis makes from the OpenAPI document meet no fault', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'edgepass-schema-'));
  const logFile = join(folder, 'log');
  const open = (text) => `${text.replace('id = "example-service"', 'id = "example-service"\nmay = ["revoke"]')}\n[limits]\nfailures_per_address = 0\nreports_per_address = 0\n`;
  const issuer = await Issuer.start({ change: open, log: 'warn', logFile });
  const schemathesis = join(dirname(process.env.EDGEPASS_PYTHON), 'schemathesis');
  const checks = ['not_a_server_error', 'status_code_conformance', 'content_type_conformance', 'response_schema_conformance', 'unsupported_method'];
  const drive = async (authorization, which, mode, examples, least) => {
    const ran = await run(schemathesis, ['run', `${issuer.url}/openapi.json`, `--${which}-path-regex`, '^/admin/', '--mode', mode, '--checks', checks.join(), '--max-examples', process.env.EXAMPLES ?? examples, '--workers', '2', '--seed', '1', '--header', `Authorization: ${authorization}`], { cwd: folder, maxBuffer: 1 << 26 })
      .catch((error) => error);
    const [, generated, passed] = /(\d+) generated, (\d+) passed/.exec(ran.stdout) ?? assert.fail(`${ran.stdout}${ran.stderr}`);
    t.diagnostic(`${generated} requests, ${mode}, ${which} /admin/`);
    assert.ok(Number(generated) >= least && generated === passed, ran.stdout);
  };
  await drive(basic({ secret: issuer.secret }).authorization, 'exclude', 'negative', '345', 5000);
  await drive(basic({ secret: issuer.secret }).authorization, 'exclude', 'positive', '40', 200);
  const operator = await issuer.edgepass('issue', '--role', 'edgepass-operator', '--subject', 'ada');
  await drive(`Bearer ${operator.trim()}`, 'include', 'all', '40', 1000);
  assert.doesNotMatch(await readFile(logFile, 'utf8'), /panic/i);
  assert.equal(await issuer.isReady(), true);
  await issuer.remove();
  await rm(folder, { recursive: true });
});
