// Signs the verification vectors: verify.json, one file for every host.
//
// A vector holds policy, keys, token, time, the source's responses and the expected outcome. It is
// only data, so that a host needs no code but a reader. ECDSA signatures are random, so those of a
// new file differ from the committed ones.

import { writeFileSync } from 'node:fs';
import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { KEYS, b64, jws, publicJwk, signature } from './sign.mjs';

const here = new URL('.', import.meta.url);
const T = 1_800_000_000; // now, in seconds
const ISSUER = 'https://issuer.example';
const LIST = `${ISSUER}/status-lists/1`;
const JWKS = `${ISSUER}/.well-known/jwks.json`;
const METADATA = `${ISSUER}/.well-known/oauth-authorization-server`;

const jwks = {
  keys: [
    publicJwk(KEYS.ed25519, { kid: 'ed', alg: 'EdDSA', use: 'sig' }),
    publicJwk(KEYS.ed25519_other, { kid: 'standby', alg: 'EdDSA', use: 'sig' }),
    publicJwk(KEYS.p256, { kid: 'ec', alg: 'ES256', use: 'sig' }),
    publicJwk(KEYS.rsa, { kid: 'rsa', alg: 'RS256', use: 'sig' }),
  ],
  iat: T - 1000,
};
const only = (...kids) => ({ ...jwks, keys: jwks.keys.filter((key) => kids.includes(key.kid)) });

const HEADER = { alg: 'EdDSA', kid: 'ed', typ: 'at+jwt' };
const CLAIMS = {
  iss: ISSUER, sub: 'client', aud: 'https://api.example', client_id: 'client',
  iat: T - 60, exp: T + 540, jti: 'token-1', scope: 'invoices:read reports:read',
  status: { status_list: { idx: 7, uri: LIST } },
};
const without = (object, ...names) =>
  Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));
const token = (claims = {}, header = {}, key) =>
  jws({ ...HEADER, ...header }, { ...CLAIMS, ...claims }, key);

/** Encodes a `lst` with these statuses. */
function lst(statuses = {}, bits = 1, entries = 128, pack = deflateSync) {
  const bytes = Buffer.alloc((entries * bits) / 8);
  for (const [index, value] of Object.entries(statuses)) {
    bytes[Math.floor((index * bits) / 8)] |= value << ((index * bits) % 8);
  }
  return b64(pack(bytes));
}

/** Signs a status list token. */
function list({ statuses, bits = 1, key = 'ed25519', header = {}, claims = {}, status_list } = {}) {
  return jws(
    { alg: 'EdDSA', kid: 'ed', typ: 'statuslist+jwt', ...header },
    {
      sub: LIST, iat: T - 10, exp: T + 3600, ttl: 5, number: 10,
      status_list: { bits, lst: lst(statuses, bits), ...status_list }, ...claims,
    },
    key,
  );
}

const listResponse = (body, extra = {}) => ({
  status: 200, body, headers: { 'content-type': 'application/statuslist+jwt', etag: '"l"' }, ...extra,
});
const jsonResponse = (value) => ({
  status: 200, headers: { 'content-type': 'application/json', etag: '"j"' },
  body: typeof value === 'string' ? value : JSON.stringify(value),
});
const allValid = { [LIST]: listResponse(list()) };

const POLICY = { issuer: ISSUER, audience: 'https://api.example' };
const IGNORE = { status: { mode: 'ignore' } };
const vectors = [];

/** Adds a vector. By default: given keys, a list with only VALID statuses, at T, not accepted. */
function add(family, name, change = {}) {
  const { policy, expect, responses, ...rest } = change;
  vectors.push({
    id: `${family}/${name}`, token: token(), policy: { ...POLICY, ...policy }, now: T, ...rest,
    ...(responses && { responses }),
    expect: { accepted: false, code: null, stale: false, ...expect },
  });
}
const accepted = { accepted: true };
const refused = (code, more = {}) => ({ code, ...more });
const nothingFetched = { fetched: [] };

// --- accepted -------------------------------------------------------------------------------
add('accepted', 'eddsa', { expect: { ...accepted, fetched: [LIST] } });
add('accepted', 'ed25519-name', { token: token({}, { alg: 'Ed25519' }), expect: accepted });
add('accepted', 'es256', { token: token({}, { alg: 'ES256', kid: 'ec' }, 'p256'), expect: accepted });
add('accepted', 'rs256', { token: token({}, { alg: 'RS256', kid: 'rsa' }, 'rsa'), expect: accepted });
for (const typ of ['at+JWT', 'application/at+jwt', 'APPLICATION/AT+JWT']) {
  add('accepted', `typ-${typ}`, { token: token({}, { typ }), expect: accepted });
}
add('accepted', 'typ-any', { token: token({}, { typ: 'JWT' }), policy: { typ: null }, expect: accepted });
add('accepted', 'audience-list', {
  token: token({ aud: ['https://other.example', 'https://api.example'] }), expect: accepted,
});
add('accepted', 'no-kid-one-key', {
  token: jws(without(HEADER, 'kid'), CLAIMS), jwks: only('ed'), expect: accepted,
});
add('accepted', 'unknown-header-members', {
  token: token({}, { jku: 'https://evil.example', x5u: 'https://evil.example', jwk: {}, x: 1 }),
  expect: { ...accepted, fetched: [LIST] },
});
add('accepted', 'keys-by-url', {
  jwks_uri: JWKS, responses: { ...allValid, [JWKS]: jsonResponse(jwks) },
  expect: { ...accepted, fetched: [JWKS, LIST] },
});
add('accepted', 'keys-by-metadata', {
  discover: true,
  responses: {
    ...allValid, [JWKS]: jsonResponse(jwks),
    [METADATA]: jsonResponse({ issuer: ISSUER, jwks_uri: JWKS }),
  },
  expect: { ...accepted, fetched: [METADATA, JWKS, LIST] },
});
add('accepted', 'list-signed-with-es256', {
  responses: {
    [LIST]: listResponse(list({ header: { alg: 'ES256', kid: 'ec' }, key: 'p256' })),
  },
  expect: accepted,
});
add('accepted', 'list-two-bits', {
  responses: { [LIST]: listResponse(list({ bits: 2, statuses: { 6: 1, 8: 2 } })) }, expect: accepted,
});
add('accepted', 'list-without-number-or-exp', {
  responses: { [LIST]: listResponse(list({ claims: { number: undefined, exp: undefined } })) },
  expect: accepted,
});
add('accepted', 'status-absent-when-present', {
  token: token({ status: undefined }), policy: { status: { mode: 'when_present' } },
  expect: { ...accepted, ...nothingFetched },
});
add('accepted', 'status-ignored', { policy: IGNORE, expect: { ...accepted, ...nothingFetched } });
add('accepted', 'any-of', {
  demand: { any_of: ['invoices:write', 'reports:read'] }, expect: accepted,
});
add('accepted', 'all-of', {
  demand: { all_of: ['invoices:read', 'reports:read'] }, expect: accepted,
});
add('accepted', 'audience-of-the-call', {
  token: token({ aud: 'https://other.example' }),
  demand: { audience: ['https://other.example'] }, expect: accepted,
});
add('accepted', 'authorization-header', {
  token: undefined, authorization: `bearer ${token()}`, expect: accepted,
});

// --- parse ----------------------------------------------------------------------------------
const [h, p, s] = token().split('.');
const malformed = {
  'empty': '', 'dots': '..', 'two-parts': `${h}.${p}`, 'four-parts': `${h}.${p}.${s}.${s}`,
  'five-parts': `${h}.${p}.${s}.${s}.${s}`, 'ten-thousand-dots': '.'.repeat(10_000),
  'too-long': `${h}.${p}.${s}${'A'.repeat(16_384)}`,
  'padded-header': `${h}=.${p}.${s}`, 'padded-signature': `${h}.${p}.${s}==`,
  'leading-space': ` ${h}.${p}.${s}`, 'inner-newline': `${h}.\n${p}.${s}`,
  'standard-alphabet': `${h}.${p}.${s.slice(0, -2)}+/`,
  'trailing-bits': `${h}.${p}.${s.slice(0, -1)}${s.at(-1) === 'B' ? 'C' : 'B'}`,
  'json-serialization': JSON.stringify({ protected: h, payload: p, signature: s }),
  'header-not-json': jws('not json', CLAIMS), 'header-array': jws('["EdDSA"]', CLAIMS),
  'header-trailing-comma': jws('{"alg":"EdDSA","kid":"ed","typ":"at+jwt",}', CLAIMS),
  'header-bom': jws(`\ufeff${JSON.stringify(HEADER)}`, CLAIMS),
  'header-without-alg': jws(without(HEADER, 'alg'), CLAIMS),
  'header-alg-number': token({}, { alg: 1 }), 'header-kid-number': token({}, { kid: 1 }),
  'header-typ-null': token({}, { typ: null }), 'nested': token({}, { cty: 'JWT' }),
  'header-duplicate': jws('{"alg":"EdDSA","alg":"EdDSA","kid":"ed","typ":"at+jwt"}', CLAIMS),
  'crit-known': token({}, { crit: ['exp'], exp: 1 }), 'crit-empty': token({}, { crit: [] }),
  'crit-not-array': token({}, { crit: 'exp' }), 'b64-false': token({}, { b64: false }),
  'b64-true': token({}, { b64: true }), 'zip': token({}, { zip: 'DEF' }),
  'payload-text': jws(HEADER, '"text"'), 'payload-array': jws(HEADER, '[]'),
  'payload-empty': jws(HEADER, ''), 'payload-bom': jws(HEADER, `\ufeff${JSON.stringify(CLAIMS)}`),
  'payload-duplicate': jws(HEADER, `{"sub":"a",${JSON.stringify(CLAIMS).slice(1)}`),
  'payload-duplicate-escaped': jws(HEADER, `{"\\u0073ub":"a",${JSON.stringify(CLAIMS).slice(1)}`),
  'payload-duplicate-nested': jws(HEADER, JSON.stringify(CLAIMS).replace('"idx":7', '"idx":7,"idx":8')),
  'payload-invalid-utf8': jws(HEADER, Buffer.concat([
    Buffer.from(`{"x":"`), Buffer.from([0xff]), Buffer.from(`",${JSON.stringify(CLAIMS).slice(1)}`)])),
  'payload-lone-surrogate': jws(HEADER, `{"x":"\\ud800",${JSON.stringify(CLAIMS).slice(1)}`),
  'payload-number-overflow': jws(HEADER, `{"x":1e400,${JSON.stringify(CLAIMS).slice(1)}`),
  'payload-too-deep': token({ deep: JSON.parse('['.repeat(20) + ']'.repeat(20)) }),
  'payload-two-values': jws(HEADER, `${JSON.stringify(CLAIMS)} {}`),
};
for (const [name, text] of Object.entries(malformed)) {
  add('parse', name, { token: text, expect: refused('token_malformed', nothingFetched) });
}
for (const [name, authorization, code] of [
  ['no-credentials', undefined, 'token_missing'], ['other-scheme', 'Basic dTpw', 'token_missing'],
  ['scheme-only', 'Bearer', 'token_missing'],
  ['two-tokens', `Bearer ${token()}, Bearer ${token()}`, 'request_invalid'],
  ['two-schemes', `Basic dTpw, Bearer ${token()}`, 'request_invalid'],
  ['token-with-blank', `Bearer ${h}. ${p}.${s}`, 'request_invalid'],
  ['dpop-scheme', `DPoP ${token()}`, 'binding_mismatch'],
]) {
  add('parse', `authorization-${name}`, {
    token: undefined, authorization: authorization ?? null, expect: refused(code),
  });
}

// --- policy ---------------------------------------------------------------------------------
for (const [name, typ] of [
  ['jwt', 'JWT'], ['dpop', 'dpop+jwt'], ['list', 'statuslist+jwt'], ['absent', undefined],
  ['blank', 'at+jwt '], ['other-tree', 'text/at+jwt'],
]) {
  add('policy', `typ-${name}`, {
    token: token({}, { typ }), expect: refused('typ_not_accepted', nothingFetched),
  });
}
for (const alg of ['none', 'None', 'noNE', '', 'HS256', 'hs256', 'es256', 'EDDSA', ' EdDSA', 'ESP256', 'PS256', 'ML-DSA-44']) {
  add('policy', `alg-${alg || 'empty'}`, {
    token: token({}, { alg }), expect: refused('alg_not_allowed', nothingFetched),
  });
}
add('policy', 'alg-none-unsigned', {
  token: `${b64(JSON.stringify({ ...HEADER, alg: 'none' }))}.${p}.`, expect: refused('alg_not_allowed'),
});
add('policy', 'alg-off-the-list', {
  policy: { algorithms: ['ES256'] }, expect: refused('alg_not_allowed'),
});
add('policy', 'alg-list-empty', { policy: { algorithms: [] }, expect: refused('alg_not_allowed') });
for (const [name, iss, code] of [
  ['other', 'https://other.example', 'issuer_mismatch'], ['slash', `${ISSUER}/`, 'issuer_mismatch'],
  ['case', ISSUER.toUpperCase(), 'issuer_mismatch'], ['prefix', `${ISSUER}.evil.example`, 'issuer_mismatch'],
  ['absent', undefined, 'claim_missing'], ['array', [ISSUER], 'claim_invalid'],
  ['null', null, 'claim_invalid'], ['empty', '', 'issuer_mismatch'],
]) {
  add('policy', `iss-${name}`, { token: token({ iss }), expect: refused(code, nothingFetched) });
}

// --- key ------------------------------------------------------------------------------------
add('key', 'unknown-kid', { token: token({}, { kid: 'nobody' }), expect: refused('key_not_found') });
add('key', 'kid-of-another-algorithm', { token: token({}, { kid: 'ec' }), expect: refused('key_not_found') });
add('key', 'es256-with-kid-of-ed25519', {
  token: token({}, { alg: 'ES256' }, 'p256'), expect: refused('key_not_found'),
});
for (const kid of ['../ed', 'ed\u0000', "ed' OR 1=1", '__proto__', 'constructor', 'ED', 'ed ', '']) {
  add('key', `kid-${JSON.stringify(kid)}`, { token: token({}, { kid }), expect: refused('key_not_found') });
}
add('key', 'kid-huge', { token: token({}, { kid: 'k'.repeat(4096) }), expect: refused('key_not_found') });
add('key', 'no-kid-two-keys', {
  token: jws(without(HEADER, 'kid'), CLAIMS), expect: refused('key_not_found'),
});
const soundAnd = (...bad) => ({ keys: [...bad, ...only('ed').keys] });
add('key', 'bad-keys-take-no-good-one-down', {
  jwks: soundAnd({ kty: 'AKP', alg: 'ML-DSA-44', pub: 'AAAA', kid: 'pq' }, { kty: 'oct', k: 'AAAA', kid: 'x' },
    { kty: 'OKP', crv: 'Ed25519', x: 'AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', kid: 'small-order' },
    { kty: 'EC', crv: 'P-256', x: KEYS.p256.y, y: KEYS.p256.x, kid: 'off-curve' }, { kid: 'ed2' }),
  expect: accepted,
});
for (const [name, key, kid] of [
  ['small-order', { kty: 'OKP', crv: 'Ed25519', x: 'AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' }],
  ['private', { ...KEYS.ed25519 }], ['for-encryption', publicJwk(KEYS.ed25519, { use: 'enc' })],
  ['key-ops-sign', publicJwk(KEYS.ed25519, { key_ops: ['sign'] })],
  ['alg-of-another-type', publicJwk(KEYS.ed25519, { alg: 'ES256' })],
  ['x-31-octets', { kty: 'OKP', crv: 'Ed25519', x: b64(Buffer.alloc(31, 1)) }],
]) {
  add('key', `key-${name}`, {
    jwks: { keys: [{ ...key, kid: kid ?? 'ed' }] }, expect: refused('key_not_found'),
  });
}
for (const [name, response] of [
  ['unreachable', undefined], ['404', { status: 404, headers: {}, body: '' }],
  ['redirect', { status: 302, headers: { location: JWKS }, body: '' }],
  ['html', { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' }],
  ['not-a-set', jsonResponse({ keys: {} })],
  ['byte-order-mark-twice', jsonResponse(`\ufeff\ufeff${JSON.stringify(jwks)}`)],
  ['duplicate-member', jsonResponse('{"keys":[],"keys":[]}')],
  ['too-large', jsonResponse({ keys: jwks.keys, x: 'x'.repeat(20_000) })],
]) {
  add('key', `set-${name}`, {
    jwks_uri: JWKS, policy: { status: { max_response_bytes: 10_000 } },
    responses: response ? { ...allValid, [JWKS]: response } : allValid,
    expect: refused('keys_unavailable', { fetched: [JWKS] }),
  });
}
add('key', 'set-duplicate-kid-of-another-algorithm', {
  jwks_uri: JWKS, responses: { ...allValid, [JWKS]: jsonResponse({ keys: [...only('ed').keys, { ...jwks.keys.find(({ kid }) => kid === 'ec'), kid: 'ed' }] }) },
  expect: accepted,
});
add('key', 'metadata-of-another-issuer', {
  discover: true,
  responses: { ...allValid, [JWKS]: jsonResponse(jwks), [METADATA]: jsonResponse({ issuer: `${ISSUER}/`, jwks_uri: JWKS }) },
  expect: refused('keys_unavailable', { fetched: [METADATA, METADATA.replace('oauth-authorization-server', 'openid-configuration')] }),
});

// --- signature ------------------------------------------------------------------------------
const withSignature = (bytes, text = token()) => `${text.slice(0, text.lastIndexOf('.'))}.${b64(bytes)}`;
const good = Buffer.from(s, 'base64url');
const flip = (bytes, bit) => {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] ^= 1 << (bit & 7);
  return copy;
};
const ORDER = Buffer.from('edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010', 'hex');
const sPlusOrder = (() => {
  const copy = Buffer.from(good);
  let carry = 0;
  for (let i = 0; i < 32; i++) {
    carry += copy[32 + i] + ORDER[i];
    copy[32 + i] = carry & 255;
    carry >>= 8;
  }
  return copy;
})();
const bad = { 'other-key': token({}, {}, 'ed25519_other'), 'empty': `${h}.${p}.`,
  'short': withSignature(good.subarray(0, 63)), 'long': withSignature(Buffer.concat([good, Buffer.alloc(1)])),
  's-plus-order': withSignature(sPlusOrder), 'zeros': withSignature(Buffer.alloc(64)),
  'identity-r': withSignature(Buffer.concat([Buffer.from([1]), Buffer.alloc(63)])),
  'payload-swapped': `${h}.${b64(JSON.stringify({ ...CLAIMS, scope: 'admin' }))}.${s}` };
for (const bit of [0, 7, 100, 255, 256, 300, 505, 511]) bad[`bit-${bit}`] = withSignature(flip(good, bit));
for (const [name, text] of Object.entries(bad)) {
  add('signature', `ed25519-${name}`, { token: text, expect: refused('signature_invalid', nothingFetched) });
}
const es = token({}, { alg: 'ES256', kid: 'ec' }, 'p256');
const esBytes = Buffer.from(es.slice(es.lastIndexOf('.') + 1), 'base64url');
const N = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex');
const der = (() => {
  const integer = (bytes) => {
    let start = 0;
    while (start < 31 && bytes[start] === 0) start++;
    const value = bytes[start] & 128 ? Buffer.concat([Buffer.alloc(1), bytes.subarray(start)]) : bytes.subarray(start);
    return Buffer.concat([Buffer.from([2, value.length]), value]);
  };
  const body = Buffer.concat([integer(esBytes.subarray(0, 32)), integer(esBytes.subarray(32))]);
  return Buffer.concat([Buffer.from([0x30, body.length]), body]);
})();
for (const [name, bytes] of Object.entries({
  'bit-0': flip(esBytes, 0), 'bit-511': flip(esBytes, 511), 'r-and-s-zero': Buffer.alloc(64),
  'r-is-n': Buffer.concat([N, esBytes.subarray(32)]), 's-is-n': Buffer.concat([esBytes.subarray(0, 32), N]),
  'der': der, 'short': esBytes.subarray(0, 63), 'long': Buffer.concat([esBytes, Buffer.alloc(1)]),
})) {
  add('signature', `es256-${name}`, { token: withSignature(bytes, es), expect: refused('signature_invalid') });
}
const rs = token({}, { alg: 'RS256', kid: 'rsa' }, 'rsa');
const rsBytes = Buffer.from(rs.slice(rs.lastIndexOf('.') + 1), 'base64url');
for (const [name, bytes] of Object.entries({
  'bit-0': flip(rsBytes, 0), 'bit-2047': flip(rsBytes, 2047), 'zeros': Buffer.alloc(256), 'ones': Buffer.alloc(256, 255),
  'short': rsBytes.subarray(1), 'long': Buffer.concat([Buffer.alloc(1), rsBytes]), 'empty': Buffer.alloc(0),
})) {
  add('signature', `rs256-${name}`, { token: withSignature(bytes, rs), expect: refused('signature_invalid') });
}

// --- claims ---------------------------------------------------------------------------------
for (const name of ['exp', 'iat', 'aud', 'sub', 'client_id', 'jti', 'status']) {
  add('claims', `${name}-absent`, {
    token: token({ [name]: undefined }), expect: refused('claim_missing', nothingFetched),
  });
}
for (const [name, value] of [
  ['exp', `${T + 500}`], ['exp', null], ['exp', true], ['exp', [T + 500]], ['exp', -1], ['exp', 1e300],
  ['exp', (T + 500) * 1000], ['iat', 'now'], ['nbf', 'now'], ['nbf', false], ['aud', []], ['aud', 1], ['aud', [1]],
  ['sub', ''], ['sub', 1], ['client_id', {}], ['jti', 7], ['scope', ['invoices:read']], ['scope', 1],
  ['status', null], ['status', {}], ['status', { status_list: { uri: LIST } }], ['status', { status_list: { idx: 7 } }],
  ['status', { status_list: { idx: -1, uri: LIST } }], ['status', { status_list: { idx: '7', uri: LIST } }],
  ['status', { status_list: { idx: 7, uri: 'https://evil.example/1' } }],
  ['status', { status_list: { idx: 7, uri: `${ISSUER}.evil.example/1` } }],
  ['status', { status_list: { idx: 7, uri: `${ISSUER}/../1` } }],
  ['status', { status_list: { idx: 7, uri: 'http://169.254.169.254/' } }],
]) {
  add('claims', `${name}-${JSON.stringify(value)}`, {
    token: token({ [name]: value }), expect: refused('claim_invalid', nothingFetched),
  });
}
for (const [name, claims, now, code] of [
  ['exp-last-second', {}, T + 549, null], ['exp-on-the-second', {}, T + 550, 'token_expired'],
  ['exp-fraction-rounds-down', { exp: T + 540.9 }, T + 550, 'token_expired'],
  ['iat-in-the-future', { iat: T + 11 }, T, 'token_not_yet_valid'], ['iat-within-leeway', { iat: T + 10 }, T, null],
  ['nbf-in-the-future', { nbf: T + 11 }, T, 'token_not_yet_valid'], ['nbf-within-leeway', { nbf: T + 10 }, T, null],
  ['nbf-fraction-rounds-up', { nbf: T + 10.1 }, T, 'token_not_yet_valid'],
  ['lifetime-24h', { iat: T - 60, exp: T - 60 + 86_400 }, T, null],
  ['lifetime-beyond-24h', { iat: T - 60, exp: T - 59 + 86_400 }, T, 'lifetime_exceeded'],
  ['audience-other', { aud: 'https://other.example' }, T, 'audience_mismatch'],
  ['audience-prefix', { aud: 'https://api.example.evil' }, T, 'audience_mismatch'],
  ['audience-case', { aud: 'https://API.example' }, T, 'audience_mismatch'],
  ['expired-comes-before-audience', { aud: 'x', exp: T - 60 }, T, 'token_expired'],
]) {
  add('claims', name, {
    token: token(claims), now, expect: code ? refused(code, nothingFetched) : accepted,
    // By then the issuer has signed its list again.
    ...(now > T + 240 && !code ? { responses: { [LIST]: listResponse(list({ claims: { iat: T + 500 } })) } } : {}),
  });
}
add('claims', 'no-leeway', { policy: { leeway: '0s' }, now: T + 540, expect: refused('token_expired') });

// --- binding and scopes ---------------------------------------------------------------------
for (const [name, cnf] of [['jkt', { jkt: 'x' }], ['certificate', { 'x5t#S256': 'x' }], ['unknown', { z: 1 }], ['null', null]]) {
  const code = cnf === null ? 'claim_invalid' : 'binding_mismatch';
  add('binding', `cnf-${name}`, { token: token({ cnf }), expect: refused(code, nothingFetched) });
}
for (const [name, scope, demand] of [
  ['missing', 'invoices:read', { all_of: ['invoices:read', 'invoices:write'] }],
  ['absent', undefined, { all_of: ['invoices:read'] }], ['none-of-any', 'a', { any_of: ['b', 'c'] }],
  ['case', 'Invoices:read', { all_of: ['invoices:read'] }], ['prefix', 'invoices:reader', { all_of: ['invoices:read'] }],
  ['double-space', 'invoices:read  x', { all_of: ['invoices:read'] }], ['tab', 'invoices:read\tx', { all_of: ['invoices:read'] }],
  ['trailing-space', 'invoices:read ', { all_of: ['invoices:read'] }],
  ['unicode', 'invoices:read é', { all_of: ['invoices:read'] }],
]) {
  add('scopes', name, {
    token: token({ scope }), demand, expect: refused('scope_insufficient', nothingFetched),
  });
}

// --- status ---------------------------------------------------------------------------------
const statusOf = (name, response, code, more = {}) => add('status', name, {
  responses: response ? { [LIST]: response } : {},
  expect: { ...(code ? refused(code) : accepted), fetched: [LIST] }, ...more,
});
statusOf('revoked', listResponse(list({ statuses: { 7: 1 } })), 'token_revoked');
statusOf('revoked-two-bits', listResponse(list({ bits: 2, statuses: { 7: 1 } })), 'token_revoked');
statusOf('suspended', listResponse(list({ bits: 2, statuses: { 7: 2 } })), 'token_suspended');
statusOf('application-specific', listResponse(list({ bits: 4, statuses: { 7: 12 } })), 'status_invalid');
statusOf('index-out-of-range', listResponse(list()), 'status_invalid', {
  token: token({ status: { status_list: { idx: 128, uri: LIST } } }),
});
statusOf('index-huge', listResponse(list()), 'status_invalid', {
  token: token({ status: { status_list: { idx: Number.MAX_SAFE_INTEGER, uri: LIST } } }),
});
const lists = {
  'without-exp-a-year-old': listResponse(list({ claims: { exp: undefined, iat: T - 31_536_000 } })),
  'unreachable': undefined, '404': { status: 404, headers: {}, body: '' },
  'redirect': { status: 302, headers: { location: 'https://evil.example' }, body: '' },
  'html': listResponse('<html>'), 'empty': listResponse(''),
  'content-type-json': listResponse(list(), { headers: { 'content-type': 'application/json' } }),
  'content-type-absent': listResponse(list(), { headers: {} }),
  'typ-jwt': listResponse(list({ header: { typ: 'JWT' } })), 'typ-access-token': listResponse(list({ header: { typ: 'at+jwt' } })),
  'alg-none': listResponse(list({ header: { alg: 'none' } })), 'unknown-kid': listResponse(list({ header: { kid: 'x' } })),
  'bad-signature': listResponse(withSignature(good, list())),
  'signed-by-another-key': listResponse(list({ key: 'ed25519_other' })),
  'sub-of-another-list': listResponse(list({ claims: { sub: `${LIST}0` } })),
  'sub-absent': listResponse(list({ claims: { sub: undefined } })), 'iat-absent': listResponse(list({ claims: { iat: undefined } })),
  'expired': listResponse(list({ claims: { exp: T } })), 'exp-text': listResponse(list({ claims: { exp: 'later' } })),
  'ttl-zero': listResponse(list({ claims: { ttl: 0 } })), 'status_list-absent': listResponse(list({ claims: { status_list: undefined } })),
  'bits-0': listResponse(list({ status_list: { bits: 0 } })), 'bits-3': listResponse(list({ status_list: { bits: 3 } })),
  'bits-16': listResponse(list({ status_list: { bits: 16 } })), 'bits-text': listResponse(list({ status_list: { bits: '1' } })),
  'lst-padded': listResponse(list({ status_list: { lst: `${lst()}=` } })), 'lst-empty': listResponse(list({ status_list: { lst: '' } })),
  'lst-raw-deflate': listResponse(list({ status_list: { lst: lst({}, 1, 128, deflateRawSync) } })),
  'lst-gzip': listResponse(list({ status_list: { lst: lst({}, 1, 128, gzipSync) } })),
  'lst-truncated': listResponse(list({ status_list: { lst: b64(deflateSync(Buffer.alloc(16)).subarray(0, -2)) } })),
  'lst-wrong-checksum': listResponse(list({ status_list: { lst: b64(flip(deflateSync(Buffer.alloc(16)), 8 * (deflateSync(Buffer.alloc(16)).length - 1))) } })),
  'lst-wrong-fcheck': listResponse(list({ status_list: { lst: b64(flip(deflateSync(Buffer.alloc(16)), 8)) } })),
  'lst-trailing-bytes': listResponse(list({ status_list: { lst: b64(Buffer.concat([deflateSync(Buffer.alloc(16)), Buffer.alloc(1)])) } })),
  'bomb': listResponse(list({ status_list: { lst: b64(deflateSync(Buffer.alloc(4 << 20))) } })),
};
for (const [name, response] of Object.entries(lists)) statusOf(name, response, 'status_unavailable');
// The maximum age of a list's signature, independent of its exp.
const signed = (ago) => listResponse(list({ claims: { iat: T - ago } }));
const ofHalfAnHour = { policy: { freshness: { max_list_age: '30m' } } };
statusOf('signed-299-s-ago', signed(299), null);
statusOf('signed-300-s-ago', signed(300), 'status_unavailable');
statusOf('signed-30-min-ago-where-that-may-be', signed(1799), null, ofHalfAnHour);
statusOf('signed-longer-ago-than-may-be', signed(1800), 'status_unavailable', ofHalfAnHour);
statusOf('signed-long-ago-without-a-deadline', signed(3000), null, {
  policy: { freshness: { deadline: 'none' } },
});
statusOf('too-large', listResponse(list({ claims: { x: 'x'.repeat(30_000) } })), 'status_unavailable', {
  policy: { status: { max_response_bytes: 20_000 } },
});

// --- over time: lines of one session share a verifier -----------------------------------------
// Hosts take some milliseconds for each line, so no line is exactly at the end of an interval.
let at = 0;
const session = (name) => (step, offset, change) => add('session', `${name}-${(++at).toString().padStart(3, '0')}-${step}`, {
  session: name, now: T + offset, token: token({ exp: T + 3000 }), ...change,
});
const revoked = { [LIST]: listResponse(list({ statuses: { 7: 1 }, claims: { number: 11 } }), { headers: { 'content-type': 'application/statuslist+jwt', etag: '"m"' } }) };
const unchanged = { [LIST]: { status: 304, headers: {}, body: '' } };
{
  const line = session('revocation');
  line('first-use', 0, { expect: { ...accepted, fetched: [LIST] } });
  line('held', 4, { responses: revoked, expect: { ...accepted, ...nothingFetched } });
  line('refresh-due-behind-the-verdict', 6, { responses: revoked, expect: { ...accepted, fetched: [LIST] } });
  line('refused', 7, { responses: revoked, expect: refused('token_revoked', nothingFetched) });
}
{
  const line = session('past-the-window');
  line('first-use', 0, { expect: accepted });
  line('waits-for-the-new-list', 9, { responses: revoked, expect: refused('token_revoked', { fetched: [LIST] }) });
}
{
  const line = session('outage');
  line('first-use', 0, { expect: accepted });
  line('refresh-fails', 6, { responses: {}, expect: { ...accepted, fetched: [LIST] } });
  line('stale', 9, { responses: {}, expect: { ...accepted, stale: true, fetched: [LIST] } });
  line('still-stale', 68, { responses: {}, expect: { ...accepted, stale: true, fetched: [LIST] } });
  line('outage-bound', 70, { responses: {}, expect: refused('status_unavailable', { fetched: [LIST] }) });
  line('strict-route', 72, { responses: {}, demand: { stale_if_error: '0s' }, expect: refused('status_unavailable', { fetched: [LIST] }) });
  line('source-is-back', 74, { expect: { ...accepted, fetched: [LIST] } });
}
{
  const line = session('not-modified');
  line('first-use', 0, { expect: accepted });
  line('confirmed', 6, { responses: unchanged, expect: { ...accepted, fetched: [LIST] } });
  line('fresh-since-the-confirmation', 10, { responses: {}, expect: { ...accepted, ...nothingFetched } });
}
{
  const line = session('rolled-back');
  line('first-use', 0, { responses: revoked, expect: refused('token_revoked') });
  line('older-list-offered', 9, { expect: refused('token_revoked', { stale: true, fetched: [LIST] }) });
  line('never-unrevoked', 40, { expect: refused('token_revoked', { stale: true, fetched: [LIST] }) });
  line('refuses-in-the-end', 70, { expect: refused('status_unavailable', { fetched: [LIST] }) });
}
{
  const line = session('clock-backwards');
  line('first-use', 20, { expect: accepted });
  line('source-reachable', 10, { expect: { ...accepted, fetched: [LIST] } });
  line('healed', 11, { responses: {}, expect: { ...accepted, ...nothingFetched } });
  line('copy-of-the-future-is-not-fresh', 0, { responses: {}, expect: refused('status_unavailable', { fetched: [LIST] }) });
}
{
  const line = session('list-expires');
  const short = { [LIST]: listResponse(list({ claims: { exp: T + 7 } })) };
  line('first-use', 0, { responses: short, expect: accepted });
  line('not-relied-on-after-exp', 7, { responses: short, expect: refused('status_unavailable', { fetched: [LIST] }) });
}
{
  const line = session('unknown-kids');
  const keys = { jwks_uri: JWKS, policy: IGNORE, responses: { [JWKS]: jsonResponse(jwks) } };
  const stranger = (n) => ({ ...keys, token: token({ exp: T + 3000 }, { kid: `nobody-${n}` }) });
  line('first-use', 0, { ...keys, expect: { ...accepted, fetched: [JWKS] } });
  line('fresh-set', 1, { ...stranger(1), expect: refused('key_not_found', nothingFetched) });
  line('one-fetch', 6, { ...stranger(2), expect: refused('key_not_found', { fetched: [JWKS] }) });
  line('cool-down', 12, { ...stranger(3), expect: refused('keys_unavailable', nothingFetched) });
  line('known-kid-is-unharmed', 12, { ...keys, expect: { ...accepted, fetched: [JWKS] } });
}
{
  const line = session('keys-outage');
  const keys = { jwks_uri: JWKS, policy: IGNORE };
  line('first-use', 0, { ...keys, responses: { [JWKS]: jsonResponse(jwks) }, expect: accepted });
  line('stale', 9, { ...keys, responses: {}, expect: { ...accepted, stale: true, fetched: [JWKS] } });
  line('outage-bound', 69, { ...keys, responses: {}, expect: refused('keys_unavailable', { fetched: [JWKS] }) });
}
{
  const line = session('key-withdrawn');
  const keys = (set) => ({ jwks_uri: JWKS, policy: IGNORE, responses: { [JWKS]: jsonResponse(set) } });
  line('first-use', 0, { ...keys(jwks), expect: accepted });
  line('withdrawn', 9, { ...keys({ ...only('standby'), iat: T }), expect: refused('key_not_found', { fetched: [JWKS] }) });
  line('older-set-brings-it-not-back', 18, { ...keys(jwks), expect: refused('keys_unavailable', { fetched: [JWKS] }) });
}
{
  const line = session('list-of-a-withdrawn-key');
  const shared = { jwks_uri: JWKS, token: token({ exp: T + 3000 }, { kid: 'standby' }, 'ed25519_other') };
  line('first-use', 0, { ...shared, responses: { ...allValid, [JWKS]: jsonResponse(jwks) }, expect: accepted });
  line('withdrawn', 9, {
    ...shared, responses: { ...allValid, [JWKS]: jsonResponse({ ...only('standby'), iat: T }) },
    expect: refused('status_unavailable', { fetched: [JWKS, LIST] }),
  });
}

// Vectors of one session must be judged in order; all others are independent.
// `defaults` are the values of members that a vector omits.
const file = {
  about: 'Made by forge.mjs; times are seconds since the epoch',
  defaults: { jwks, responses: allValid }, vectors,
};
writeFileSync(new URL('verify.json', here), `${JSON.stringify(file, null, 1)}\n`);
console.log(`${vectors.length} vectors`);
