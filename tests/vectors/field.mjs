// Signs the lines of field.jsonl: what tokens, keys and lists of other issuers look like, by kind.
//
// Lines of the kind `reported` have their origin in public reports and are in reported.jsonl as they
// were reproduced; the others are more of the same kinds.

import { readFileSync, writeFileSync } from 'node:fs';
import { deflateSync } from 'node:zlib';
import { KEYS, b64, jws, publicJwk } from './sign.mjs';

const T = 1_800_000_000;
const ISSUER = 'https://issuer.example';
const LIST = `${ISSUER}/lists/1`;
const RSA = publicJwk(KEYS.rsa, { kid: 'k', alg: 'RS256', use: 'sig' });
const OTHER = publicJwk(KEYS.rsa_e3, { kid: 'k', alg: 'RS256', use: 'sig' });
const THIRD = publicJwk(KEYS.rsa_e17, { kid: 'k', alg: 'RS256', use: 'sig' });
const CLAIMS = { iss: ISSUER, aud: 'https://api.example', iat: T - 60, exp: T + 540 };
const POLICY = {
  profile: 'jwt', issuer: ISSUER, audience: 'https://api.example', algorithms: ['RS256'], typ: null,
  status: { mode: 'ignore' },
};

const lines = [];
/** Adds a line. By default: a token under RS256, accepted without a fetch. */
function line(id, { claims, header, key = 'rsa', alg = 'RS256', policy, expect, code = null, ...change } = {}) {
  const verdict = code === null ? 'accepted' : 'rejected';
  lines.push({
    id, policy: { ...POLICY, ...policy }, now: T,
    ...(change.request ? {} : { token: jws({ alg, kid: 'k', ...header }, { ...CLAIMS, ...claims }, key, alg) }),
    ...(change.jwks_text === undefined && { jwks: { keys: [RSA] } }), ...change,
    expect: { verdict, code, stale: false, fetched: [], ...expect },
  });
}

// --- sets: one odd member does not spoil the rest ---------------------------------------------
const set = (...keys) => ({ jwks: { keys } });
line('set/two-keys-of-one-kid-first', set(RSA, OTHER));
line('set/two-keys-of-one-kid-second', set(OTHER, RSA));
line('set/two-keys-of-one-kid-neither', { ...set(RSA, OTHER), key: 'rsa_e17', code: 'signature_invalid' });
line('set/three-keys-of-one-kid-third-is-not-tried', { ...set(OTHER, THIRD, RSA), code: 'signature_invalid' });
line('set/one-key-twice-beside-another', set(OTHER, OTHER, RSA));
line('set/ambiguous-kid-beside-a-good-one', {
  ...set({ ...OTHER, kid: 'x' }, { ...THIRD, kid: 'x' }, RSA),
});
{
  const of = (key, alg) => publicJwk(KEYS[key], { kid: 'k', alg });
  const all = [of('p256', 'ES256'), of('ed25519', 'EdDSA'), of('rsa', 'PS256'), of('rsa', 'RS384'), of('rsa', 'RS256')];
  for (const [key, alg] of [['p256', 'ES256'], ['ed25519', 'EdDSA'], ['rsa', 'PS256'], ['rsa', 'RS384'], ['rsa', 'RS256']]) {
    const algorithms = ['ES256', 'EdDSA', 'PS256', 'RS384', 'RS256'];
    line(`set/one-kid-five-algorithms-${alg}`, { ...set(...all), key, alg, policy: { algorithms } });
    // No key verifies another algorithm than its own.
    line(`set/one-kid-without-${alg}`, {
      ...set(...all.filter((jwk) => jwk.alg !== alg)), key, alg, policy: { algorithms }, code: 'key_not_found',
    });
  }
  line('set/alg-of-token-signed-by-another-algorithm', {
    jwks: { keys: all }, policy: { algorithms: ['RS256', 'PS256'] }, code: 'signature_invalid',
    token: jws({ alg: 'PS256', kid: 'k' }, CLAIMS, 'rsa', 'RS256'),
  });
}
for (const [name, odd] of Object.entries({
  'null': null, 'a-number': 7, 'a-text': 'x', 'an-array': [RSA], 'empty': {}, 'kty-of-a-number': { ...OTHER, kty: 1 },
  'kid-of-a-number': { ...OTHER, kid: 7 }, 'kid-too-long': { ...OTHER, kid: 'k'.repeat(1025) },
  'use-enc': { ...OTHER, use: 'enc' }, 'use-unheard-of': { ...OTHER, use: 'x' }, 'use-of-a-number': { ...OTHER, use: 1 },
  'key-ops-of-a-text': { ...OTHER, use: undefined, key_ops: 'verify' }, 'alg-unheard-of': { ...OTHER, alg: 'RS257' },
  'alg-of-a-number': { ...OTHER, alg: 256 }, 'alg-of-another-type': { ...OTHER, alg: 'ES256' },
  'n-of-a-number': { ...OTHER, n: 1 }, 'n-in-base64': { ...OTHER, n: `${OTHER.n}==` }, 'n-empty': { ...OTHER, n: '' },
  'e-even': { ...OTHER, e: 'Ag' }, 'a-private-key': { ...OTHER, d: 'AQAB' }, 'of-1024-bits': { ...OTHER, n: OTHER.n.slice(0, 171) },
  'ml-dsa': { kty: 'AKP', alg: 'ML-DSA-44', pub: 'AAAA', kid: 'k' }, 'a-secret': { kty: 'oct', k: 'AAAA', kid: 'k' },
  'on-no-curve': { kty: 'EC', crv: 'P-256', x: KEYS.p256.y, y: KEYS.p256.x, kid: 'k', alg: 'ES256' },
})) {
  line(`set/odd-key-${name}`, set(odd, RSA));
  line(`set/odd-key-${name}-last`, set(RSA, odd));
}
line('set/odd-members', { jwks: { keys: [RSA], iat: 'yesterday', exp: [1], kid: {}, more: [[{}]] } });
line('set/x5c-and-unknown-members', set({ ...RSA, x5c: ['MIIC', 'MIID'], x5t: 'x', 'x5t#S256': 1, issuer: 'https://{x}', more: {} }));
const text = (jwks) => ({ jwks_text: jwks });
const good = JSON.stringify({ keys: [RSA] });
line('set/byte-order-mark', text(`\ufeff${good}`));
line('set/white-space', text(`\r\n\t ${good}\n\n`));
line('set/repeated-member-of-another-key', text(`{"keys":[{"kty":"RSA","kty":"RSA"},${JSON.stringify(RSA)}]}`));
line('set/repeated-member-of-this-key', {
  ...text(`{"keys":[${JSON.stringify(RSA).replace('{', '{"use":"sig",')}]}`), code: 'key_not_found',
});
line('set/repeated-keys', { ...text(`{"keys":[],${good.slice(1)}`), code: 'keys_unavailable' });
for (const length of [129, 1024]) {
  const kid = 'k'.repeat(length);
  line(`set/kid-of-${length}-characters`, { header: { kid }, ...set({ ...RSA, kid }) });
}
for (const kid of ['RId+oQm2IhmkUI1wTQUBPQm7jXY=', 'key/a', 'ключ', 'a b', '{"a":1}']) {
  line(`set/kid-${kid}`, { header: { kid }, ...set({ ...RSA, kid }) });
}

// --- rsa: moduli and exponents as issuers write them -------------------------------------------
const zeros = (value, count) => b64(Buffer.concat([Buffer.alloc(count), Buffer.from(value, 'base64url')]));
for (const count of [1, 2, 7]) {
  line(`rsa/n-after-${count}-zeros`, set({ ...RSA, n: zeros(RSA.n, count) }));
  line(`rsa/e-after-${count}-zeros`, set({ ...RSA, e: zeros(RSA.e, count) }));
}
for (const bits of [2049, 2051, 2055, 4095]) {
  for (const alg of ['RS256', 'PS512']) {
    const key = `rsa_${bits}`;
    const more = { key, alg, policy: { algorithms: [alg] }, ...set(publicJwk(KEYS[key], { kid: 'k', alg })) };
    line(`rsa/${bits}-bits-${alg}`, more);
    const token = jws({ alg, kid: 'k' }, CLAIMS, key, alg);
    line(`rsa/${bits}-bits-${alg}-changed`, { ...more, token: `${token.slice(0, -6)}AAAAAA`, code: 'signature_invalid' });
  }
}

// --- names: each member of an array is judged by itself ----------------------------------------
const named = (names, all_of, code = null, claim = 'roles') => ({
  claims: { [claim]: names }, policy: { scope_claim: claim, required_scopes: { all_of } }, code,
});
const odd = ['Invoice Reader', 'admin', 'Prüfer', '', ' ', 'a\\b', 'a"b', 'x\ty', 1, null, true, {}, ['nested'], 'admin'];
line('names/odd-names-harm-no-other', named(odd, ['admin']));
for (const name of ['Invoice Reader', 'Prüfer', 'a\\b', 'a"b', ' ']) line(`names/granted-${name}`, named(odd, [name]));
for (const name of ['Invoice', 'prüfer', 'nested', 'ADMIN', '1', 'true', 'null', 'invoice reader']) {
  line(`names/not-granted-${name}`, named(odd, [name], 'scope_insufficient'));
}
line('names/empty-array', named([], ['admin'], 'scope_insufficient'));
line('names/only-odd', named([1, null], ['admin'], 'scope_insufficient'));
line('names/a-text-is-one-name', named('Invoice Reader', ['Invoice Reader']));
line('names/no-word-of-a-text-is-granted', named('admin reader', ['reader'], 'scope_insufficient'));
line('names/one-word', named('reader', ['reader']));
line('names/a-text-with-two-spaces-grants-nothing', named('admin  reader', ['reader'], 'scope_insufficient'));
line('names/a-text-outside-the-grammar-grants-nothing', named('admin Prüfer', ['admin'], 'scope_insufficient'));
line('names/an-object-is-refused', named({ admin: true }, ['admin'], 'claim_invalid'));
line('names/all-of-both-kinds', named(odd, ['admin', 'Invoice Reader']));
line('names/one-missing-of-both-kinds', named(odd, ['admin', 'Invoice Writer'], 'scope_insufficient'));

// --- path: claims inside claims ----------------------------------------------------------------
const keycloak = { realm_access: { roles: ['reader'] }, resource_access: { 'my-api': { roles: ['writer'] } }, scope: 'openid' };
const kubernetes = { 'kubernetes.io': { namespace: 'shop', serviceaccount: { name: 'orders' } } };
const scoped = (scope_claim, all_of, claims, code = null) => ({ claims, policy: { scope_claim, required_scopes: { all_of } }, code });
line('path/realm-roles', scoped('realm_access.roles', ['reader'], keycloak));
line('path/client-roles', scoped('resource_access.my-api.roles', ['writer'], keycloak));
line('path/pointer', scoped('/realm_access/roles', ['reader'], keycloak));
line('path/absent', scoped('realm_access.groups', ['reader'], keycloak, 'scope_insufficient'));
line('path/through-an-array', scoped('realm_access.roles.0', ['reader'], keycloak, 'scope_insufficient'));
line('path/name-with-dots', scoped('https://app.example/roles', ['reader'], { 'https://app.example/roles': ['reader'] }));
line('path/two-readings', scoped('realm_access.roles', ['reader'], { ...keycloak, 'realm_access.roles': ['reader'] }, 'claim_invalid'));
line('path/pointer-has-one-reading', scoped('/realm_access/roles', ['admin'], { ...keycloak, 'realm_access.roles': ['admin'] }, 'scope_insufficient'));
const expecting = (expected_claims, claims, code = null) => ({ claims, policy: { expected_claims }, code });
line('path/namespace-by-pointer', expecting({ '/kubernetes.io/namespace': 'shop' }, kubernetes));
line('path/namespace-by-dots', expecting({ 'kubernetes.io.namespace': 'shop' }, kubernetes));
line('path/namespace-of-another', expecting({ '/kubernetes.io/namespace': 'bank' }, kubernetes, 'claim_invalid'));
line('path/pointer-to-nothing', expecting({ '/kubernetes/io/namespace': 'shop' }, kubernetes, 'claim_missing'));
line('path/escaped-pointer', expecting({ '/https:~1~1a.example~1tenant': 't' }, { 'https://a.example/tenant': 't' }));
line('path/audience', { claims: { aud: undefined, azp: { client: ['https://api.example'] } }, policy: { audience_claim: 'azp.client' } });
line('path/audience-absent', { policy: { audience_claim: 'azp.client' }, code: 'claim_missing' });
line('path/audience-of-another', { claims: { azp: { client: 'x' } }, policy: { audience_claim: 'azp.client' }, code: 'audience_mismatch' });
line('path/subject-that-is-not-read', { claims: { sub: 5, jti: null, client_id: 7 } });
line('path/subject-that-is-required', { claims: { sub: 5 }, policy: { required_claims: ['sub'] }, code: 'claim_invalid' });
line('path/required', { claims: keycloak, policy: { required_claims: ['realm_access.roles', '/resource_access/my-api'] } });
line('path/required-absent', { claims: keycloak, policy: { required_claims: ['realm_access.x'] }, code: 'claim_missing' });
for (const path of ['', 'a b', 'a"b', 'ä', '.'.repeat(16)]) {
  line(`path/refused-${JSON.stringify(path).slice(0, 8)}`, { policy: { scope_claim: path }, expect: { verdict: 'error' } });
}

// --- expected: strings, booleans, numbers, arrays, patterns --------------------------------------
const groups = { groups: ['Everyone', 'Group2'], email_verified: true, level: 3, ref: 'refs/heads/release/1.2' };
for (const [name, expected, code] of [
  ['one-of-an-array', { groups: 'Group2' }], ['not-in-an-array', { groups: 'Group1' }, 'claim_invalid'],
  ['any-of-an-array', { groups: ['Group1', 'Group2'] }], ['any-in-an-object', { groups: { any: ['Group1', 'Everyone'] } }],
  ['all-of-an-array', { groups: { all: ['Everyone', 'Group2'] } }], ['all-but-one', { groups: { all: ['Everyone', 'Group1'] } }, 'claim_invalid'],
  ['true', { email_verified: true }], ['false', { email_verified: false }, 'claim_invalid'],
  ['true-as-a-text', { email_verified: 'true' }, 'claim_invalid'], ['number', { level: 3 }], ['number-with-a-point', { level: 3.0 }],
  ['another-number', { level: 2 }, 'claim_invalid'], ['number-as-a-text', { level: '3' }, 'claim_invalid'],
  ['one-of-several-types', { level: ['3', true, 3] }], ['absent', { tid: 'x' }, 'claim_missing'],
  ['pattern', { ref: { like: 'refs/heads/release/*' } }], ['pattern-of-another', { ref: { like: 'refs/heads/main*' } }, 'claim_invalid'],
  ['pattern-is-anchored-at-its-start', { ref: { like: 'heads/release/*' } }, 'claim_invalid'],
  ['pattern-is-anchored-at-its-end', { ref: { like: 'refs/heads/*' } }, 'claim_invalid'],
  ['pattern-across', { ref: { like: 'refs/**' } }], ['pattern-one-of-two', { ref: { like: ['refs/tags/*', 'refs/heads/release/*'] } }],
  ['pattern-in-an-array', { groups: { like: 'Group*' } }], ['pattern-of-a-number', { level: { like: '*' } }, 'claim_invalid'],
  ['star-is-no-pattern', { ref: 'refs/heads/release/*' }, 'claim_invalid'], ['several-claims', { groups: 'Group2', level: 3, email_verified: true }],
  ['one-of-several-claims-is-wrong', { groups: 'Group2', level: 4 }, 'claim_invalid'],
]) {
  line(`expected/${name}`, expecting(expected, groups, code));
}
for (const [name, expected] of Object.entries({
  'nothing': [], 'null': null, 'null-in-an-array': [null], 'an-array-in-an-array': [['a']], 'no-form': {}, 'two-forms': { any: ['a'], all: ['a'] },
  'another-form': { none: ['a'] }, 'pattern-of-a-number': { like: [1] }, 'nothing-of-all': { all: [] }, 'no-pattern': { like: [] },
})) {
  line(`expected/refused-${name}`, { policy: { expected_claims: { groups: expected } }, expect: { verdict: 'error' } });
}

// --- scope: several claims, prefixes, maps -----------------------------------------------------
const entra = { scp: 'access_as_user', roles: ['Invoice Reader', 'admin'] };
line('scope/two-claims-first', scoped(['scp', 'roles'], ['access_as_user'], entra));
line('scope/two-claims-second', scoped(['scp', 'roles'], ['admin'], entra));
line('scope/two-claims-both', scoped(['scp', 'roles'], ['admin', 'access_as_user'], entra));
line('scope/two-claims-one-absent', scoped(['scp', 'roles'], ['admin'], { roles: ['admin'] }));
line('scope/one-claim-of-two-is-not-read', scoped('scp', ['admin'], entra, 'scope_insufficient'));
const prefixed = ['scp', { claim: 'roles', prefix: 'role:' }];
line('scope/text-that-is-split', scoped({ claim: 'permissions', split: true }, ['write'], { permissions: 'read write' }));
line('scope/text-that-is-not-split', scoped({ claim: 'scp', split: false }, ['read'], { scp: 'read write' }, 'scope_insufficient'));
line('scope/text-of-a-name-in-a-url', scoped('https://api.example/Scopes', ['write'], { 'https://api.example/Scopes': 'read write' }));
line('scope/map-of-a-text', scoped({ claim: 'role', map: { 'Invoice Reader': 'invoices:read' } }, ['invoices:read'], { role: 'Invoice Reader' }));
line('scope/null-beside-another', scoped(['scp', 'roles'], ['read'], { scp: 'read', roles: null }));
line('scope/number-beside-another', scoped(['scp', 'roles'], ['read'], { scp: 'read', roles: 5 }, 'claim_invalid'));
line('scope/prefix', scoped(prefixed, ['role:admin'], entra));
line('scope/prefix-tells-claims-apart', scoped(prefixed, ['admin'], entra, 'scope_insufficient'));
line('scope/prefix-of-a-text', scoped({ claim: 'scp', prefix: 'x:' }, ['x:access_as_user'], entra));
const mapped = { claim: 'roles', map: { 'Invoice Reader': ['invoices:read', 'invoices:list'], admin: 'all' } };
line('scope/map', scoped(mapped, ['invoices:read', 'invoices:list', 'all'], entra));
line('scope/map-grants-no-other-name', scoped(mapped, ['admin'], entra, 'scope_insufficient'));
line('scope/map-is-exact', scoped({ claim: 'roles', map: { ADMIN: 'all' } }, ['all'], entra, 'scope_insufficient'));
for (const [name, scope_claim] of Object.entries({
  'none': [], 'number': 1, 'null': null, 'unknown-member': { claim: 'a', as: 'b' }, 'no-claim': { prefix: 'a' }, 'prefix-and-map': { claim: 'a', prefix: 'b', map: { c: 'd' } },
  'empty-map': { claim: 'a', map: {} }, 'map-to-nothing': { claim: 'a', map: { b: [] } }, 'map-to-no-scope': { claim: 'a', map: { b: 'c d' } }, 'prefix-outside-the-grammar': { claim: 'a', prefix: 'b c' },
})) {
  if (scope_claim !== null) line(`scope/refused-${name}`, { policy: { scope_claim }, expect: { verdict: 'error' } });
}

// --- tenant: one issuer per tenant ---------------------------------------------------------------
const TENANT = '11111111-2222-3333-4444-555555555555';
const template = 'https://login.example/{tid}/v2.0';
const tenant = (tid, more = {}, iss = `https://login.example/${tid}/v2.0`) => ({
  claims: { iss, tid }, policy: { issuer: template, ...more },
});
line('tenant/any', tenant(TENANT, { tenants: 'any' }));
line('tenant/listed', tenant(TENANT, { tenants: ['x', TENANT] }));
line('tenant/not-listed', { ...tenant(TENANT, { tenants: ['x'] }), code: 'issuer_mismatch' });
line('tenant/expected', tenant(TENANT, { expected_claims: { tid: [TENANT] } }));
line('tenant/not-expected', { ...tenant(TENANT, { expected_claims: { tid: ['x'] } }), code: 'claim_invalid' });
for (const [name, tid, iss] of [
  ['another-in-iss', TENANT, 'https://login.example/x/v2.0'], ['iss-in-upper-case', TENANT, `https://login.example/${TENANT}/V2.0`],
  ['more-after-iss', TENANT, `https://login.example/${TENANT}/v2.0/`], ['two-segments', 'a/b', undefined], ['empty', '', undefined],
  ['no-text', [TENANT], `https://login.example/${TENANT}/v2.0`], ['template-itself', '{tid}', template], ['absent', undefined, `https://login.example/${TENANT}/v2.0`],
  ['host-of-another', TENANT, `https://login.example.evil/${TENANT}/v2.0`], ['escaped', '%2e%2e', undefined],
]) {
  line(`tenant/${name}`, { ...tenant(tid, { tenants: 'any' }, iss), code: 'issuer_mismatch' });
}
line('tenant/as-entra-writes-it', { claims: { iss: `https://login.example/${TENANT}/v2.0`, tid: TENANT }, policy: { issuer: 'https://login.example/{tenantid}/v2.0', tenants: 'any' } });
for (const [name, issuer, code] of [
  ['all', 'https://login.example/{tenantid}/v2.0', null], ['this', `https://login.example/${TENANT}/v2.0`, null],
  ['another', 'https://login.example/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0', 'key_not_found'], ['no-text', 7, null],
]) {
  line(`tenant/key-of-${name}`, { ...tenant(TENANT, { tenants: 'any' }), ...set({ ...RSA, issuer }), code });
}
{
  const [other, own] = ['https://login.example/x/v2.0', `https://login.example/${TENANT}/v2.0`].map((issuer) => ({ ...RSA, issuer }));
  line('tenant/key-of-another-first', { ...tenant(TENANT, { tenants: 'any' }), ...set(other, own) });
  line('tenant/key-of-another-second', { ...tenant(TENANT, { tenants: 'any' }), ...set(own, other) });
  line('tenant/keys-of-others', { ...tenant(TENANT, { tenants: 'any' }), ...set(other, { ...OTHER, issuer: other.issuer }), code: 'key_not_found' });
}
for (const [name, tenants] of Object.entries({ asterisk: '*', spaced: ' x', empty: [''], url: 'https://login.example/x', long: 'x'.repeat(257) })) {
  line(`tenant/refused-${name}`, { policy: { issuer: template, tenants }, expect: { verdict: 'error' } });
}
line('tenant/key-of-another-without-template', set({ ...RSA, issuer: 'https://login.example/x/v2.0' }));
line('tenant/in-a-path', { claims: { iss: 'https://acme.login.example', org: { name: 'acme' } }, policy: { issuer: 'https://{org.name}.login.example', tenants: ['acme'] } });
for (const [name, policy] of Object.entries({
  'no-tenants': { issuer: template }, 'tenants-without-template': { tenants: 'any' }, 'no-tenant': { issuer: template, tenants: [] },
  'two-variables': { issuer: 'https://{a}.example/{b}', tenants: 'any' }, 'part-of-a-segment': { issuer: 'https://login.example/x{tid}', tenants: 'any' },
  'open-brace': { issuer: 'https://login.example/{tid', tenants: 'any' }, 'by-pattern': { issuer: template, expected_claims: { tid: { like: '*' } } },
})) {
  line(`tenant/refused-${name}`, { policy, expect: { verdict: 'error' } });
}

// --- place: where the token is -----------------------------------------------------------------
const TOKEN = jws({ alg: 'RS256', kid: 'k' }, CLAIMS, 'rsa', 'RS256');
const sent = (token_from, headers, code = null, { query = '', method = 'GET' } = {}) => ({
  policy: { token_from }, code,
  request: { method, url: `https://api.example/a${query}`, headers: Object.entries(headers).flatMap(([name, value]) => [value].flat().map((one) => [name, one])) },
});
const bearer = { Authorization: `Bearer ${TOKEN}` };
line('place/authorization', sent('authorization', bearer));
line('place/own-access-token-of-the-origin', sent('authorization', bearer, null, { query: '?access_token=EAAB' }));
line('place/two-own-access-tokens-of-the-origin', sent('authorization', bearer, null, { query: '?access_token=a&access_token=b' }));
line('place/header', sent('header:Cf-Access-Jwt-Assertion', { 'cf-access-jwt-assertion': TOKEN }));
line('place/header-beside-own-authorization', sent('header:x-token', { 'X-Token': TOKEN, Authorization: 'Basic dTpw' }));
line('place/header-twice', sent('header:x-token', { 'X-Token': [TOKEN, TOKEN] }, 'request_invalid'));
line('place/header-with-scheme', sent('header:x-serverless-authorization', { 'X-Serverless-Authorization': `bearer ${TOKEN}` }));
line('place/header-with-another-scheme', sent('header:x-token', { 'X-Token': `Basic ${TOKEN}` }, 'request_invalid'));
line('place/query-escaped', sent('query', {}, null, { query: `?access_token=${TOKEN.replaceAll('.', '%2E').replaceAll('-', '%2d')}` }));
line('place/header-absent', sent('header:x-token', bearer, 'token_missing'));
line('place/cookie', sent('cookie:session', { Cookie: `a=1; session=${TOKEN}; b=2` }));
line('place/cookie-in-two-fields', sent('cookie:session', { Cookie: ['a=1', `session=${TOKEN}`] }));
line('place/cookie-twice', sent('cookie:session', { Cookie: `session=${TOKEN}; session=x` }, 'request_invalid'));
line('place/cookie-of-another-name', sent('cookie:session', { Cookie: `xsession=${TOKEN}; session2=x` }, 'token_missing'));
line('place/cookie-beside-authorization', sent(['authorization', 'cookie:session'], { ...bearer, Cookie: `session=${TOKEN}` }, 'request_invalid'));
line('place/cookie-beside-own-authorization', sent(['authorization', 'cookie:session'], { Authorization: 'Basic dTpw', Cookie: `session=${TOKEN}` }));
const cookie = { Cookie: `session=${TOKEN}` };
for (const [name, headers, method, code] of [
  ['post-without-origin', {}, 'POST', 'cross_site_request'], ['post-of-own-origin', { Origin: 'https://api.example' }, 'POST', null],
  ['post-of-another-origin', { Origin: 'https://evil.example' }, 'POST', 'cross_site_request'], ['post-of-origin-null', { Origin: 'null' }, 'POST', 'cross_site_request'],
  ['delete-of-the-same-origin', { 'Sec-Fetch-Site': 'same-origin' }, 'DELETE', null], ['put-of-the-same-site', { 'Sec-Fetch-Site': 'same-site' }, 'PUT', 'cross_site_request'],
  ['patch-from-another-site', { 'Sec-Fetch-Site': 'cross-site', Origin: 'https://api.example' }, 'PATCH', 'cross_site_request'],
  ['get-from-another-site', { 'Sec-Fetch-Site': 'cross-site' }, 'GET', null], ['own-method', {}, 'REPORT', 'cross_site_request'],
  ['socket-without-origin', { Upgrade: 'websocket' }, 'GET', 'cross_site_request'], ['socket-of-own-origin', { Upgrade: 'websocket', Origin: 'https://api.example' }, 'GET', null],
]) {
  line(`place/cookie-${name}`, sent('cookie:session', { ...cookie, ...headers }, code, { method }));
}
line('place/websocket', sent('websocket', { 'Sec-WebSocket-Protocol': `chat, bearer.${TOKEN}` }));
line('place/websocket-twice', sent('websocket', { 'Sec-WebSocket-Protocol': `bearer.${TOKEN}, bearer.x` }, 'request_invalid'));
line('place/websocket-without-token', sent('websocket', { 'Sec-WebSocket-Protocol': 'chat' }, 'token_missing'));
line('place/query', sent('query', {}, null, { query: `?a=1&access_token=${TOKEN}` }));
line('place/query-escaped-name', sent('query', {}, null, { query: `?%61ccess_token=${TOKEN}` }));
line('place/query-of-another-name', sent('query:t', {}, null, { query: `?t=${TOKEN}&access_token=x` }));
line('place/query-twice', sent('query', {}, 'request_invalid', { query: `?access_token=${TOKEN}&access_token=x` }));
line('place/query-beside-authorization', sent(['query', 'authorization'], bearer, 'request_invalid', { query: `?access_token=${TOKEN}` }));
line('place/all-absent', sent(['authorization', 'header:x', 'cookie:c', 'websocket', 'query'], {}, 'token_missing'));
for (const [name, token_from] of Object.entries({
  'none': [], 'unknown': 'body', 'header-without-name': 'header', 'header-cookie': 'header:cookie', 'twice': ['query', 'query:access_token'], 'null-in-it': [null],
})) {
  line(`place/refused-${name}`, { ...sent(token_from, bearer), expect: { verdict: 'error' } });
}

// --- purpose: the agreement under which a token is used ----------------------------------------------
/** A token under an agreement, for a route that demands these purposes and data, from a client of this country. */
function purpose(id, agreement, required, code = null, country = 'DE') {
  const details = agreement && [].concat(agreement).map((one) => ({ type: 'edgepass_agreement', ...one }));
  const token = jws({ alg: 'RS256', kid: 'k' }, { ...CLAIMS, ...(details && { authorization_details: details }) }, 'rsa', 'RS256');
  const request = { headers: [['authorization', `Bearer ${token}`]], method: 'GET', url: 'https://api.example/x', client: country ? { country } : undefined };
  line(`purpose/${id}`, { request, code, policy: { required_scopes: required } });
}
const DPA = { agreement: 'dpa-1', purposes: ['invoicing', 'support'], datatypes: ['contact', 'payment'] };
purpose('one-of-them', DPA, { purposes: ['marketing', 'support'] });
purpose('none-of-them', DPA, { purposes: ['marketing'] }, 'purpose_not_allowed');
purpose('no-agreement', undefined, { purposes: ['support'] }, 'purpose_not_allowed');
purpose('another-type', { ...DPA, type: 'payment_initiation' }, { purposes: ['support'] }, 'purpose_not_allowed');
purpose('beside-another-type', [{ type: 'payment_initiation', purposes: 7 }, DPA], { purposes: ['support'] });
purpose('two-agreements', [DPA, DPA], { purposes: ['support'] }, 'claim_invalid');
purpose('not-an-array', { ...DPA, purposes: 'support' }, { purposes: ['support'] }, 'claim_invalid');
purpose('all-data', DPA, { data: ['contact', 'payment'] });
purpose('missing-data', DPA, { data: ['contact', 'health'] }, 'purpose_not_allowed');
purpose('purpose-and-data', DPA, { purposes: ['support'], data: ['contact'] });
purpose('not-asked-for', DPA, {});
purpose('in-the-eu', { ...DPA, regions: ['EU'] }, {});
purpose('outside-the-eu', { ...DPA, regions: ['EU'] }, {}, 'network_not_allowed', 'CH');
purpose('in-the-eea', { ...DPA, regions: ['EEA'] }, {}, null, 'NO');
purpose('in-one-of-the-regions', { ...DPA, regions: ['EU', 'CH'] }, {}, null, 'CH');
purpose('in-an-unknown-country', { ...DPA, regions: ['EU'] }, {}, 'network_not_allowed', null);
purpose('an-unknown-region', { ...DPA, regions: ['Europe'] }, {}, 'claim_invalid');

// --- network: where a request comes from -----------------------------------------------------------
const NETWORKS = 'edgepass_networks';
/** A request from a client that the platform reports like this, with a token that names these networks. */
function network(id, networks, client, code = null) {
  const token = jws({ alg: 'RS256', kid: 'k' }, { ...CLAIMS, [NETWORKS]: networks }, 'rsa', 'RS256');
  const request = { method: 'GET', url: 'https://api.example/invoices', headers: [['Authorization', `Bearer ${token}`]], ...(client && { client }) };
  line(`network/${id}`, { request, code });
}
const from = { address: '203.0.113.9', asn: 64500, country: 'DE' };
network('of-its-block', ['203.0.113.0/24'], from);
network('of-its-address', ['203.0.113.9'], from);
network('of-its-address-mapped', ['203.0.113.0/24'], { address: '::ffff:203.0.113.9' });
network('of-another-block', ['198.51.100.0/24'], from, 'network_not_allowed');
network('of-a-neighbour', ['203.0.113.8/32'], from, 'network_not_allowed');
network('of-its-block-in-ipv6', ['2001:db8::/32'], { address: '2001:DB8:1::1' });
network('of-all-ipv4-from-ipv6', ['0.0.0.0/0'], { address: '2001:db8::1' }, 'network_not_allowed');
network('of-its-system', ['AS64500'], from);
network('of-another-system', ['AS64501'], from, 'network_not_allowed');
network('of-its-country', ['DE'], from);
network('of-another-country', ['FR', 'IT'], from, 'network_not_allowed');
network('of-one-of-several', ['198.51.100.0/24', 'AS1', 'DE'], from);
network('unknown', ['203.0.113.0/24', 'AS64500', 'DE'], undefined, 'network_not_allowed');
network('of-an-unknown-country', ['DE'], { address: '203.0.113.9' }, 'network_not_allowed');
network('of-a-country-in-small-letters', ['DE'], { country: 'de' }, 'network_not_allowed');
network('of-an-address-that-is-none', ['0.0.0.0/0', '::/0'], { address: '203.0.113.9, 10.0.0.1' }, 'network_not_allowed');
for (const [id, networks] of Object.entries({
  'none': [], 'null': null, 'a-text': '203.0.113.0/24', 'a-number-in-it': ['203.0.113.0/24', 7], 'a-word-in-it': ['203.0.113.0/24', 'office'],
  'bits-beyond-the-block': ['203.0.113.9/24'], 'too-long-a-block': ['203.0.113.9/33'], 'an-object': { 0: '203.0.113.0/24' },
  'too-many': Array.from({ length: 65 }, () => 'DE'),
})) network(`claim-of-${id}`, networks, from, 'claim_invalid');
// A host that passes only the token tells nothing of the sender.
line('network/token-alone', { claims: { [NETWORKS]: ['0.0.0.0/0'] }, code: 'network_not_allowed' });

// --- list: status lists of other issuers -----------------------------------------------------------
const lst = b64(deflateSync(Buffer.alloc(16)));
const listed = (claims, code = null, more = {}) => ({
  claims: { status: { status_list: { idx: 1, uri: LIST } } }, code,
  policy: { status: { mode: 'required', uri_prefixes: [`${ISSUER}/`] }, ...more },
  responses: { [LIST]: { status: 200, headers: { 'content-type': 'application/statuslist+jwt' }, body: jws(
    { alg: 'RS256', kid: 'k', typ: 'statuslist+jwt' },
    { sub: LIST, iat: T - 10, exp: T + 600, status_list: { bits: 1, lst }, ...claims }, 'rsa', 'RS256',
  ) } },
  expect: { fetched: [LIST] },
});
line('list/plain', listed({}));
line('list/nbf-now', listed({ nbf: T }));
line('list/nbf-within-the-leeway', listed({ nbf: T + 5 }, null, { leeway: '5s' }));
line('list/nbf-past-the-leeway', listed({ nbf: T + 6 }, 'status_unavailable', { leeway: '5s' }));
line('list/nbf-in-an-hour', listed({ nbf: T + 3600 }, 'status_unavailable'));
line('list/nbf-of-a-text', listed({ nbf: `${T}` }, 'status_unavailable'));
for (const [name, ttl, code] of [
  ['of-a-century', 3_153_600_000], ['beyond-dates', 253_402_300_800], ['of-64-bits', 18_446_744_073_709_551_615n], ['huge', 1e300],
  ['of-zero', 0, 'status_unavailable'], ['negative', -1, 'status_unavailable'], ['of-a-text', '5', 'status_unavailable'],
]) {
  const claims = { ttl: typeof ttl === 'bigint' ? 'BIG' : ttl };
  const own = listed(claims, code ?? null);
  if (typeof ttl === 'bigint') {
    const payload = JSON.stringify({ sub: LIST, iat: T - 10, exp: T + 600, status_list: { bits: 1, lst }, ttl: 'BIG' }).replace('"BIG"', String(ttl));
    own.responses[LIST].body = jws({ alg: 'RS256', kid: 'k', typ: 'statuslist+jwt' }, payload, 'rsa', 'RS256');
  }
  line(`list/ttl-${name}`, own);
}

// Lists that another issuer publishes: its keys sign them, and no others.
const STATUS = 'https://status.example';
const [META, OPENID] = ['oauth-authorization-server', 'openid-configuration'].map((name) => `${STATUS}/.well-known/${name}`);
const [SET, THEIRS] = [`${STATUS}/jwks`, `${STATUS}/lists/1`];
const ED = publicJwk(KEYS.ed25519, { kid: 's', alg: 'EdDSA' });
/** The token's issuer signs with RSA, the issuer of the list with Ed25519. `revoked`: the first eight. */
function foreign({ code = null, uri = THEIRS, revoked = 0, key = 'ed25519', alg = 'EdDSA', kid = 's', change = {}, status, fetched = [META, SET, uri], ...more } = {}) {
  const bits = Buffer.alloc(16);
  bits[0] = revoked;
  const list = { sub: uri, iat: T - 10, exp: T + 600, status_list: { bits: 1, lst: b64(deflateSync(bits)) } };
  const json = (body) => ({ status: 200, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  const responses = {
    [META]: json({ issuer: STATUS, jwks_uri: SET }),
    [SET]: json({ keys: [ED] }),
    [uri]: {
      status: 200, headers: { 'content-type': 'application/statuslist+jwt' },
      body: jws({ alg, kid, typ: 'statuslist+jwt' }, list, key, alg),
    },
    ...change,
  };
  for (const [url, response] of Object.entries(responses)) if (response === null) delete responses[url];
  return {
    claims: { status: { status_list: { idx: 1, uri } } }, code, responses,
    policy: { status: { mode: 'required', issuer: STATUS, ...status } }, expect: { fetched }, ...more,
  };
}
line('list/of-another-issuer', foreign());
line('list/of-another-issuer-revoked', foreign({ revoked: 2, code: 'token_revoked' }));
line('list/of-another-issuer-with-its-metadata-at-openid', foreign({
  change: { [META]: { status: 404, headers: {}, body: '' }, [OPENID]: { status: 200, headers: {}, body: JSON.stringify({ issuer: STATUS, jwks_uri: SET }) } },
  fetched: [META, OPENID, SET, THEIRS],
}));
line('list/of-another-issuer-signed-by-the-tokens-issuer', foreign({ key: 'rsa', alg: 'RS256', kid: 'k', code: 'status_unavailable' }));
line('list/of-another-issuer-signed-by-a-strange-key', foreign({ key: 'p256', alg: 'ES256', kid: 's', code: 'status_unavailable' }));
line('list/of-the-tokens-issuer-though-another-publishes-lists', foreign({ uri: LIST, code: 'claim_invalid', fetched: [] }));
line('list/of-another-issuer-below-a-prefix-of-its-own', foreign({
  uri: 'https://lists.example/1', status: { uri_prefixes: ['https://lists.example/'] },
}));
line('list/of-another-issuer-without-metadata', foreign({
  change: { [META]: null }, code: 'status_unavailable', fetched: [META],
}));
line('list/of-another-issuer-whose-metadata-are-of-a-third', foreign({
  change: { [META]: { status: 200, headers: {}, body: JSON.stringify({ issuer: ISSUER, jwks_uri: SET }) } },
  code: 'status_unavailable', fetched: [META, OPENID],
}));
line('list/of-another-issuer-without-keys', foreign({ change: { [SET]: null }, code: 'status_unavailable', fetched: [META, SET] }));
line('list/of-another-issuer-absent', foreign({ change: { [THEIRS]: null }, code: 'status_unavailable' }));
// The keys of the lists sign no token.
line('list/tokens-of-the-issuer-of-the-lists', {
  ...foreign({ code: 'issuer_mismatch', fetched: [] }), key: 'ed25519', alg: 'EdDSA', header: { kid: 's' },
  claims: { iss: STATUS }, policy: { algorithms: ['EdDSA'], status: { mode: 'required', issuer: STATUS } },
});
line('list/token-of-the-issuer-signed-by-the-key-of-the-lists', {
  ...foreign({ code: 'key_not_found', fetched: [] }), key: 'ed25519', alg: 'EdDSA', header: { kid: 's' },
  policy: { algorithms: ['RS256', 'EdDSA'], status: { mode: 'required', issuer: STATUS } },
});
// In a session keys and lists are held together, and a withdrawn key takes its lists with it.
line('list/of-another-issuer-in-a-session', { ...foreign(), session: 'held' });
line('list/of-another-issuer-held', { ...foreign({ change: { [META]: null, [SET]: null, [THEIRS]: null }, fetched: [] }), session: 'held' });
line('list/of-another-issuer-before-its-key-is-withdrawn', { ...foreign(), session: 'withdrawn' });
line('list/of-another-issuer-whose-key-is-withdrawn', {
  ...foreign({
    change: { [SET]: { status: 200, headers: {}, body: JSON.stringify({ keys: [publicJwk(KEYS.p256, { kid: 'new', alg: 'ES256' })] }) } },
    code: 'status_unavailable', fetched: [SET, THEIRS],
  }), session: 'withdrawn', now: T + 60,
});
line('list/of-another-issuer-than-the-line-before', {
  ...foreign({ status: { issuer: 'https://third.example', uri_prefixes: [`${STATUS}/`] }, code: 'status_unavailable', fetched: ['https://third.example/.well-known/oauth-authorization-server'] }),
  session: 'held',
});
for (const [name, issuer] of Object.entries({
  'no-url': 'status', 'plain-http': 'http://status.example', 'with-a-query': `${STATUS}?a`, 'a-template': `${STATUS}/{tid}`, 'empty': '',
})) {
  line(`list/of-another-issuer-that-is-${name}`, { ...foreign({ status: { issuer } }), expect: { verdict: 'error' } });
}
line('list/of-another-issuer-but-ignored', { policy: { status: { mode: 'ignore', issuer: STATUS } }, expect: { verdict: 'error' } });

const reported = readFileSync(new URL('reported.jsonl', import.meta.url), 'utf8').trim().split('\n');
for (const text of reported) {
  const { id, ...own } = JSON.parse(text);
  lines.push({ id: `reported/${id}`, ...own });
}
for (const own of lines) {
  if (own.expect.verdict === 'error') own.expect = { ...own.expect, code: null, stale: false, fetched: [] };
}
writeFileSync(new URL('field.jsonl', import.meta.url), `${lines.map((own) => JSON.stringify(own)).join('\n')}\n`);
console.log(`${lines.length} lines of the field`);
