// Signs the lines of batch.jsonl, vectors in the form of a batch: algorithms, profiles, DPoP,
// certificates, and status lists over time.
//
// A line has its expected answer in `expect`, a member that a batch ignores.

import { writeFileSync } from 'node:fs';
import { deflateSync } from 'node:zlib';
import { KEYS, b64, jws, publicJwk, sha256, thumbprint } from './sign.mjs';

const T = 1_800_000_000;
const ISSUER = 'https://issuer.example';
const LIST = `${ISSUER}/lists/1`;
const URL_ = 'https://api.example/orders?limit=5';
const NONCE = 'eyJ7S_zG.eyJH0-Z.HX4w-7v';
const without = (object, ...names) =>
  Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));

const KIDS = {
  ed: ['ed25519', 'EdDSA'], es256: ['p256', 'ES256'], es384: ['p384', 'ES384'],
  rs256: ['rsa', 'RS256'], rs384: ['rsa', 'RS384'], rs512: ['rsa', 'RS512'],
  ps256: ['rsa', 'PS256'], ps384: ['rsa', 'PS384'], ps512: ['rsa', 'PS512'],
};
const ALL = Object.values(KIDS).map(([, alg]) => alg);
const JWKS = {
  keys: Object.entries(KIDS).map(([kid, [key, alg]]) => publicJwk(KEYS[key], { kid, alg, use: 'sig' })),
};
const CLAIMS = {
  iss: ISSUER, sub: 'client', aud: 'https://api.example', client_id: 'client',
  iat: T - 60, exp: T + 540, jti: 'token-1', scope: 'orders:read',
};
const POLICY = {
  issuer: ISSUER, audience: 'https://api.example', algorithms: ALL,
  required_scopes: { all_of: ['orders:read'] }, leeway: '0s', typ: 'at+jwt',
};

function token(claims = {}, kid = 'ed', header = {}) {
  const [key, alg] = KIDS[kid];
  return jws({ alg, kid, typ: 'at+jwt', ...header }, { ...CLAIMS, ...claims }, key, header.alg ?? alg);
}

const lines = [];
/** Adds a line. By default: a token under Ed25519, accepted without a fetch. */
function line(id, { policy, expect, ...change } = {}) {
  lines.push({
    id, jwks: JWKS, policy: { ...POLICY, ...policy }, now: T,
    ...(change.request || change.token !== undefined ? {} : { token: token() }), ...change,
    expect: { verdict: 'accepted', code: null, stale: false, fetched: [], ...expect },
  });
}
const rejected = (code, more = {}) => ({ expect: { verdict: 'rejected', code, ...more } });

// --- algorithms -----------------------------------------------------------------------------
for (const [kid, [, alg]] of Object.entries(KIDS)) {
  const signed = token({}, kid);
  line(`algorithm/${alg}`, { token: signed });
  line(`algorithm/${alg}-not-allowed`, {
    token: signed, policy: { algorithms: ALL.filter((other) => other !== alg) },
    ...rejected('alg_not_allowed'),
  });
  const [h, p, s] = signed.split('.');
  const bytes = Buffer.from(s, 'base64url');
  for (const [name, changed] of [
    ['first-bit', Buffer.from(bytes.map((byte, at) => (at === 0 ? byte ^ 0x80 : byte)))],
    ['last-bit', Buffer.from(bytes.map((byte, at) => (at === bytes.length - 1 ? byte ^ 1 : byte)))],
    ['empty', Buffer.alloc(0)], ['zeros', Buffer.alloc(bytes.length)],
    ['ones', Buffer.alloc(bytes.length, 0xff)],
    ['longer', Buffer.concat([bytes, Buffer.alloc(1)])], ['shorter', bytes.subarray(0, -1)],
    ['led-by-zero', Buffer.concat([Buffer.alloc(1), bytes])],
  ]) {
    line(`algorithm/${alg}-signature-${name}`, {
      token: `${h}.${p}.${b64(changed)}`, ...rejected('signature_invalid'),
    });
  }
  line(`algorithm/${alg}-other-payload`, {
    token: `${h}.${b64(JSON.stringify({ ...CLAIMS, scope: 'orders:write' }))}.${s}`,
    ...rejected('signature_invalid'),
  });
}
for (const [named, signed] of [['RS256', 'PS256'], ['PS256', 'RS256'], ['RS384', 'RS256'], ['PS512', 'PS256']]) {
  line(`algorithm/${named}-signed-as-${signed}`, {
    token: jws({ alg: named, kid: named.toLowerCase(), typ: 'at+jwt' }, CLAIMS, 'rsa', signed),
    ...rejected('signature_invalid'),
  });
}
// Every allowed exponent, and lengths up to the longest: hosts differ in the RSA keys they import.
for (const key of ['rsa_e3', 'rsa_e17', 'rsa_e37', 'rsa_8192']) {
  for (const alg of ['RS256', 'PS512']) {
    const signed = jws({ alg, kid: key, typ: 'at+jwt' }, CLAIMS, key, alg);
    const jwks = { keys: [publicJwk(KEYS[key], { kid: key, alg })] };
    line(`rsa-key/${key}-${alg}`, { token: signed, jwks });
    line(`rsa-key/${key}-${alg}-changed`, {
      token: `${signed.slice(0, -6)}AAAAAA`, jwks, ...rejected('signature_invalid'),
    });
  }
}
{
  const bare = (key, extra = {}) => ({ keys: [publicJwk(KEYS[key], { kid: 'k', ...extra })] });
  const by = (alg, key) => jws({ alg, kid: 'k', typ: 'at+jwt' }, CLAIMS, key, alg);
  line('key/alg-of-the-policy', {
    token: by('PS384', 'rsa'), jwks: bare('rsa'), policy: { algorithms: ['PS384', 'ES256'] },
  });
  line('key/alg-of-the-policy-by-both-names', {
    token: by('EdDSA', 'ed25519'), jwks: bare('ed25519'), policy: { algorithms: ['EdDSA', 'Ed25519', 'ES256'] },
  });
  line('key/alg-of-the-policy-leaves-two', {
    token: by('PS384', 'rsa'), jwks: bare('rsa'), policy: { algorithms: ['PS384', 'RS256'] },
    ...rejected('key_not_found'),
  });
  line('key/alg-of-the-key-is-another', {
    token: by('PS384', 'rsa'), jwks: bare('rsa', { alg: 'RS256' }), ...rejected('key_not_found'),
  });
  for (const [name, jwks_text, code] of [
    ['empty', '', 'keys_unavailable'], ['html', '<html>', 'keys_unavailable'],
    ['array', '[]', 'keys_unavailable'], ['no-keys', '{}', 'keys_unavailable'],
    ['keys-object', '{"keys":{}}', 'keys_unavailable'],
    ['bom-twice', `\ufeff\ufeff${JSON.stringify(JWKS)}`, 'keys_unavailable'],
    ['duplicate-member', '{"keys":[],"keys":[]}', 'keys_unavailable'],
    ['duplicate-member-of-a-key', `{"keys":[{"kid":"ed","kid":"ed"}]}`, 'key_not_found'],
    ['no-key', '{"keys":[]}', 'key_not_found'], ['null-key', '{"keys":[null,1,"x",[]]}', 'key_not_found'],
    ['too-many', JSON.stringify({ keys: Array(101).fill({ kty: 'x' }) }), 'keys_unavailable'],
    ['deep', `{"keys":[${'['.repeat(100)}${']'.repeat(100)}]}`, 'keys_unavailable'],
  ]) {
    line(`key/set-${name}`, { jwks: undefined, jwks_text, ...rejected(code) });
  }
  const named = (kid) => ({
    token: jws({ alg: 'EdDSA', kid, typ: 'at+jwt' }, CLAIMS), jwks: { keys: [publicJwk(KEYS.ed25519, { kid, alg: 'EdDSA' })] },
  });
  line('key/kid-of-1024-characters', named('k'.repeat(1024)));
  line('key/kid-of-1025-characters', { ...named('k'.repeat(1025)), ...rejected('key_not_found') });
  const dated = (iat, keys) => ({ jwks: { keys, iat }, session: 'dated-keys' });
  line('key/older-set-is-refused-1', { ...dated(200, [JWKS.keys[1]]), ...rejected('key_not_found') });
  line('key/older-set-is-refused-2', { ...dated(100, JWKS.keys), ...rejected('key_not_found') });
  line('key/older-set-is-refused-3', dated(300, JWKS.keys));
  line('key/same-key-twice', { jwks: { keys: [JWKS.keys[0], JWKS.keys[0]] } });
  line('key/p384-off-curve', {
    token: by('ES384', 'p384'), ...rejected('key_not_found'),
    jwks: { keys: [{ ...publicJwk(KEYS.p384, { kid: 'k' }), y: KEYS.p384.x }] },
  });
  line('key/p384-short-coordinate', {
    token: by('ES384', 'p384'), ...rejected('key_not_found'),
    jwks: { keys: [{ ...publicJwk(KEYS.p384, { kid: 'k' }), x: b64(Buffer.alloc(47, 1)) }] },
  });
}

// --- times ----------------------------------------------------------------------------------
for (const [name, claims, leeway, code] of [
  ['exp-before', { exp: T + 1 }, '0s', null], ['exp-at', { exp: T }, '0s', 'token_expired'],
  ['exp-after', { exp: T - 1 }, '0s', 'token_expired'],
  ['exp-leeway-before', { exp: T - 9 }, '10s', null], ['exp-leeway-at', { exp: T - 10 }, '10s', 'token_expired'],
  ['exp-fraction', { exp: T + 0.9 }, '0s', 'token_expired'],
  ['nbf-before', { nbf: T + 1 }, '0s', 'token_not_yet_valid'], ['nbf-at', { nbf: T }, '0s', null],
  ['nbf-fraction', { nbf: T + 0.1 }, '0s', 'token_not_yet_valid'],
  ['nbf-leeway', { nbf: T + 10 }, '10s', null], ['nbf-leeway-before', { nbf: T + 11 }, '10s', 'token_not_yet_valid'],
  ['iat-at', { iat: T }, '0s', null], ['iat-ahead', { iat: T + 1 }, '0s', 'token_not_yet_valid'],
  ['iat-leeway', { iat: T + 10 }, '10s', null],
  ['lifetime-most', { iat: T - 86_399, exp: T + 1 }, '0s', null],
  ['lifetime-more', { iat: T - 86_400, exp: T + 1 }, '0s', 'lifetime_exceeded'],
]) {
  line(`time/${name}`, { token: token(claims), policy: { leeway }, ...(code && rejected(code)) });
}

// --- order ----------------------------------------------------------------------------------
// Of two defects, the one that an earlier step finds gives the code, and nothing is fetched.
{
  const list = `${ISSUER}/lists/1`;
  const defects = [
    ['two-parts', 'token_malformed', { cut: true }], ['crit', 'token_malformed', { header: { crit: ['x'], x: 1 } }],
    ['typ', 'typ_not_accepted', { header: { typ: 'JWT' } }],
    ['alg', 'alg_not_allowed', { header: { alg: 'HS256' } }],
    ['iss', 'issuer_mismatch', { claims: { iss: 'https://other.example' } }],
    ['kid', 'key_not_found', { header: { kid: 'nobody' } }],
    ['signature', 'signature_invalid', { signature: true }],
    ['jti', 'claim_missing', { claims: { jti: undefined } }],
    ['exp', 'token_expired', { claims: { exp: T - 1, iat: T - 60 } }],
    ['nbf', 'token_not_yet_valid', { claims: { nbf: T + 60 } }],
    ['aud', 'audience_mismatch', { claims: { aud: 'https://other.example' } }],
    ['cnf', 'binding_mismatch', { claims: { cnf: { jkt: 'x' } } }],
    ['scope', 'scope_insufficient', { claims: { scope: 'other' } }],
    ['status', 'token_revoked', {}],
  ];
  const bytes = Buffer.alloc(16);
  bytes[0] = 1 << 7;
  const revoked = jws({ alg: 'EdDSA', kid: 'ed', typ: 'statuslist+jwt' }, {
    sub: list, iat: T - 10, exp: T + 3600, status_list: { bits: 1, lst: b64(deflateSync(bytes)) },
  });
  const responses = {
    [list]: { status: 200, headers: { 'content-type': 'application/statuslist+jwt' }, body: revoked },
  };
  defects.forEach(([earlier, code, one], at) => {
    for (const [later, , two] of defects.slice(at + 1)) {
      const claims = { status: { status_list: { idx: 7, uri: list } }, ...one.claims, ...two.claims };
      const header = { kid: 'ed', typ: 'at+jwt', alg: 'EdDSA', ...two.header, ...one.header };
      let text = jws(header, { ...CLAIMS, ...claims });
      if (one.signature || two.signature) text = `${text.slice(0, text.lastIndexOf('.'))}.${b64(Buffer.alloc(64, 1))}`;
      if (one.cut || two.cut) text = text.slice(0, text.lastIndexOf('.'));
      line(`order/${earlier}-before-${later}`, {
        token: text, responses, policy: { status: { mode: 'required', uri_prefixes: [`${ISSUER}/`] } },
        ...rejected(code),
      });
    }
  });
  line('order/status-alone', {
    token: token({ status: { status_list: { idx: 7, uri: list } } }), responses,
    policy: { status: { mode: 'required', uri_prefixes: [`${ISSUER}/`] } }, ...rejected('token_revoked', { fetched: [list] }),
  });
}

// --- profiles -------------------------------------------------------------------------------
const jwtPolicy = { profile: 'jwt', typ: 'JWT', required_scopes: undefined };
const foreign = (claims, kid = 'rs256', header = { typ: 'JWT' }) => {
  const [key, alg] = KIDS[kid];
  return jws({ alg, kid, ...header }, claims, key, alg);
};
const at = { iat: T - 60, exp: T + 540 };
for (const [name, policy, claims, header, code] of [
  ['auth0', {
    issuer: 'https://tenant.eu.auth0.com/', audience: 'https://api.example',
    required_claims: ['sub', 'azp'], required_scopes: { all_of: ['read:orders'] },
  }, {
    iss: 'https://tenant.eu.auth0.com/', sub: 'auth0|1', azp: 'app',
    aud: ['https://api.example', 'https://tenant.eu.auth0.com/userinfo'], scope: 'openid read:orders', ...at,
  }, { typ: 'JWT' }, null],
  ['auth0-permissions', {
    issuer: 'https://tenant.eu.auth0.com/', audience: 'https://api.example', scope_claim: 'permissions',
    required_scopes: { any_of: ['read:orders'] },
  }, {
    iss: 'https://tenant.eu.auth0.com/', sub: 'auth0|1', aud: 'https://api.example',
    permissions: ['read:orders', 'write:orders'], ...at,
  }, { typ: 'JWT' }, null],
  ['cognito', {
    issuer: 'https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_x', audience: 'app-client-id', typ: null,
    audience_claim: 'client_id', expected_claims: { token_use: 'access' },
  }, {
    iss: 'https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_x', sub: 'u', client_id: 'app-client-id',
    token_use: 'access', scope: 'api/read', jti: 'j', ...at,
  }, {}, null],
  ['cognito-id-token', {
    issuer: 'https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_x', audience: 'app-client-id', typ: null,
    audience_claim: 'client_id', expected_claims: { token_use: 'access' },
  }, {
    iss: 'https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_x', sub: 'u', client_id: 'app-client-id',
    token_use: 'id', ...at,
  }, {}, 'claim_invalid'],
  ['entra', {
    issuer: 'https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0',
    audience: 'api-client-id', scope_claim: 'scp', required_scopes: { all_of: ['Orders.Read'] },
    expected_claims: { tid: '11111111-2222-3333-4444-555555555555' },
  }, {
    iss: 'https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0', sub: 's',
    aud: 'api-client-id', tid: '11111111-2222-3333-4444-555555555555', scp: 'Orders.Read User.Read', ver: '2.0',
    nbf: T - 60, ...at,
  }, { typ: 'JWT' }, null],
  ['cloudflare-access', {
    issuer: 'https://team.cloudflareaccess.com', audience: 'a'.repeat(64), typ: null,
    expected_claims: { type: 'app' },
  }, {
    iss: 'https://team.cloudflareaccess.com', aud: ['a'.repeat(64)], sub: 'u', email: 'u@example.com',
    type: 'app', nbf: T - 60, ...at,
  }, {}, null],
  ['github-actions', {
    issuer: 'https://token.actions.githubusercontent.com', audience: 'https://api.example',
    expected_claims: { repository: 'octo-org/octo-repo', ref: ['refs/heads/main', 'refs/heads/release'] },
    required_claims: ['sub', 'jti'], max_lifetime: '15m',
  }, {
    iss: 'https://token.actions.githubusercontent.com', aud: 'https://api.example', jti: 'j',
    sub: 'repo:octo-org/octo-repo:ref:refs/heads/main', repository: 'octo-org/octo-repo',
    ref: 'refs/heads/main', nbf: T - 60, ...at,
  }, { typ: 'JWT' }, null],
  ['github-actions-other-repository', {
    issuer: 'https://token.actions.githubusercontent.com', audience: 'https://api.example',
    expected_claims: { repository: 'octo-org/octo-repo' },
  }, {
    iss: 'https://token.actions.githubusercontent.com', aud: 'https://api.example',
    sub: 'repo:evil/octo-repo', repository: 'evil/octo-repo', ...at,
  }, { typ: 'JWT' }, 'claim_invalid'],
  ['kubernetes', {
    issuer: 'https://kubernetes.default.svc.cluster.local', audience: 'https://api.example', typ: null,
    expected_claims: { sub: 'system:serviceaccount:shop:orders' },
  }, {
    iss: 'https://kubernetes.default.svc.cluster.local', aud: ['https://api.example'],
    sub: 'system:serviceaccount:shop:orders', jti: 'j', nbf: T - 60,
    'kubernetes.io': { namespace: 'shop', serviceaccount: { name: 'orders', uid: 'u' } }, ...at,
  }, {}, null],
  ['typ-of-another', { typ: 'JWT' }, { ...CLAIMS }, { typ: 'at+jwt' }, 'typ_not_accepted'],
  ['required-claim-absent', { required_claims: ['azp'] }, { ...CLAIMS }, { typ: 'JWT' }, 'claim_missing'],
  ['without-iat', {}, without(CLAIMS, 'iat'), { typ: 'JWT' }, null],
  ['without-iat-too-long', {}, { ...without(CLAIMS, 'iat'), exp: T + 86_401 }, { typ: 'JWT' }, 'lifetime_exceeded'],
  ['without-exp', {}, without(CLAIMS, 'exp'), { typ: 'JWT' }, 'claim_missing'],
  ['without-aud', {}, without(CLAIMS, 'aud'), { typ: 'JWT' }, 'claim_missing'],
  ['scope-array', { required_scopes: { all_of: ['orders:read'] } }, { ...CLAIMS, scope: ['orders:read'] }, { typ: 'JWT' }, null],
  ['scope-array-of-numbers', {}, { ...CLAIMS, scope: ['a', 1] }, { typ: 'JWT' }, null],
  ['scope-object', {}, { ...CLAIMS, scope: { a: 1 } }, { typ: 'JWT' }, 'claim_invalid'],
  ['issuer-that-is-no-url', { issuer: 'joe' }, { ...CLAIMS, iss: 'joe' }, { typ: 'JWT' }, null],
  ['issuer-decomposed', { issuer: 'https://issuer.example/\u00e9' }, { ...CLAIMS, iss: 'https://issuer.example/e\u0301' }, { typ: 'JWT' }, 'issuer_mismatch'],
]) {
  line(`profile/${name}`, {
    token: foreign(claims, 'rs256', header), policy: { ...jwtPolicy, ...policy },
    ...(code && rejected(code)),
  });
}
line('profile/scope-array-in-rfc9068', { token: token({ scope: ['orders:read'] }), ...rejected('claim_invalid') });

line('profile/typ-in-its-long-form', { policy: { typ: 'application/at+jwt' } });

// --- lines ----------------------------------------------------------------------------------
const broken = { expect: { verdict: 'error' } };
line('line/policy-of-no-profile', { policy: { profile: 'jwt', typ: undefined }, ...broken });
line('line/unknown-policy-field', { policy: { leway: '1s' }, ...broken });
line('line/unknown-algorithm', { policy: { algorithms: ['HS256'] }, ...broken });
line('line/leeway-without-unit', { policy: { leeway: 10 }, ...broken });
line('line/token-and-request', { token: token(), request: { method: 'GET', url: URL_ }, ...broken });
line('line/no-keys', { jwks: undefined, ...broken });
line('line/negative-now', { now: -1, ...broken });
line('line/unknown-member', { remark: 'is ignored' });
line('line/null-members', { request: null, jwks_text: null, responses: null, session: null, policy: { dpop: null, status: null } });

// --- requests and DPoP ----------------------------------------------------------------------
const CLIENT = 'p256_client';
const bound = (claims = {}) => token({ cnf: { jkt: thumbprint(CLIENT) }, ...claims });
let proofs = 0;
function proof({ claims = {}, header = {}, key = CLIENT, alg = undefined, of = bound() } = {}) {
  const { crv, kty } = KEYS[key];
  alg ??= { 'P-256': 'ES256', Ed25519: 'EdDSA' }[crv] ?? (kty === 'RSA' ? 'RS256' : 'ES384');
  return jws(
    { typ: 'dpop+jwt', alg, jwk: publicJwk(KEYS[key]), ...header },
    {
      jti: `proof-${++proofs}`, htm: 'GET', htu: 'https://api.example/orders', iat: T,
      ath: sha256(of), ...claims,
    },
    key, alg.startsWith('HS') || alg === 'none' ? undefined : alg,
  );
}
const request = (fields, more = {}) => ({ method: 'GET', url: URL_, headers: Object.entries(fields), ...more });
const dpop = (own = proof(), of = bound(), more = {}) =>
  ({ request: request({ Authorization: `DPoP ${of}`, DPoP: own }, more) });
const badProof = rejected('dpop_proof_invalid');

line('request/bearer', { request: request({ authorization: `bearer ${token()}` }) });
line('request/none', { request: request({}), ...rejected('token_missing') });
line('request/basic', { request: request({ Authorization: 'Basic dTpw' }), ...rejected('token_missing') });
line('request/twice', {
  request: { method: 'GET', url: URL_, headers: [['Authorization', `Bearer ${token()}`], ['authorization', `Bearer ${token()}`]] },
  ...rejected('request_invalid'),
});
line('request/two-schemes', {
  request: { method: 'GET', url: URL_, headers: [['Authorization', `Bearer ${token()}`], ['authorization', `DPoP ${bound()}`]] },
  ...rejected('request_invalid'),
});
// The query is the origin's own, unless the token may be there.
line('request/token-in-query-too', {
  request: request({ Authorization: `Bearer ${token()}` }, { url: `https://api.example/?access_token=${token()}` }),
});
for (const [name, query] of [['too', `access_token=${token()}`], ['escaped', '%61ccess_token=x']]) {
  line(`request/token-in-both-places-${name}`, {
    request: request({ Authorization: `Bearer ${token()}` }, { url: `https://api.example/?${query}` }),
    policy: { token_from: ['authorization', 'query'] }, ...rejected('request_invalid'),
  });
}
line('request/line-break', { request: request({ Authorization: `Bearer ${token()}\n` }), ...rejected('token_malformed') });
line('request/digest', { request: request({ Authorization: 'Digest a="b", c="d"' }), ...rejected('token_missing') });
line('request/token-in-query-only', {
  request: request({}, { url: `https://api.example/?access_token=${token()}` }), ...rejected('token_missing'),
});

line('dpop/good', dpop());
for (const key of ['ed25519_client', 'rsa_client']) {
  const own = token({ cnf: { jkt: thumbprint(key) } });
  line(`dpop/good-${key}`, dpop(proof({ key, of: own }), own));
}
line('dpop/bound-as-bearer', {
  request: request({ Authorization: `Bearer ${bound()}`, DPoP: proof() }), ...rejected('binding_mismatch'),
});
line('dpop/bound-as-bearer-without-request', { token: bound(), ...rejected('binding_mismatch') });
line('dpop/unbound-as-dpop', { ...dpop(proof({ of: token() }), token()), ...rejected('binding_mismatch') });
line('dpop/unbound-as-dpop-without-request', {
  token: token(), presented_as: 'DPoP', ...rejected('binding_mismatch'),
});
line('dpop/no-proof', { request: request({ Authorization: `DPoP ${bound()}` }), ...rejected('dpop_proof_missing') });
line('dpop/no-request', { token: bound(), presented_as: 'DPoP', ...rejected('dpop_proof_missing') });
line('dpop/two-fields', {
  request: { method: 'GET', url: URL_, headers: [['Authorization', `DPoP ${bound()}`], ['DPoP', proof()], ['dpop', proof()]] },
  ...badProof,
});
line('dpop/expired-token', {
  ...dpop(proof({ of: bound({ exp: T - 1 }) }), bound({ exp: T - 1 })), ...rejected('token_expired'),
});
line('dpop/scope', {
  ...dpop(proof({ of: bound({ scope: 'x' }) }), bound({ scope: 'x' })), ...rejected('scope_insufficient'),
});
const [ph, pp, ps] = proof().split('.');
for (const [name, own] of Object.entries({
  'empty': '', 'garbage': 'x', 'two-parts': `${ph}.${pp}`, 'four-parts': `${ph}.${pp}.${ps}.x`,
  'padded': `${ph}.${pp}.${ps}=`, 'signature-changed': `${ph}.${pp}.${b64(Buffer.alloc(64, 1))}`,
  'signature-empty': `${ph}.${pp}.`, 'unsigned': `${b64(JSON.stringify({ typ: 'dpop+jwt', alg: 'none', jwk: publicJwk(KEYS[CLIENT]) }))}.${pp}.`,
  'typ-jwt': proof({ header: { typ: 'JWT' } }), 'typ-absent': proof({ header: { typ: undefined } }),
  'typ-of-a-token': proof({ header: { typ: 'at+jwt' } }),
  'alg-none': proof({ header: { alg: 'none' } }), 'alg-hs256': proof({ header: { alg: 'HS256' } }),
  'alg-of-another-key': proof({ header: { alg: 'ES384' } }),
  'alg-not-allowed': proof({ key: 'p384' }),
  'jwk-absent': proof({ header: { jwk: undefined } }), 'jwk-text': proof({ header: { jwk: 'x' } }),
  'jwk-private': proof({ header: { jwk: KEYS[CLIENT] } }),
  'jwk-symmetric': proof({ header: { jwk: { kty: 'oct', k: 'AAAA' } } }),
  'jwk-off-curve': proof({ header: { jwk: { ...publicJwk(KEYS[CLIENT]), y: KEYS[CLIENT].x } } }),
  'jwk-by-kid': proof({ header: { jwk: undefined, kid: 'es256' } }),
  'crit': proof({ header: { crit: ['x'], x: 1 } }), 'b64': proof({ header: { b64: false } }),
  'jti-absent': proof({ claims: { jti: undefined } }), 'jti-empty': proof({ claims: { jti: '' } }),
  'jti-number': proof({ claims: { jti: 1 } }),
  'htm-absent': proof({ claims: { htm: undefined } }), 'htm-other': proof({ claims: { htm: 'POST' } }),
  'htm-case': proof({ claims: { htm: 'get' } }),
  'htu-absent': proof({ claims: { htu: undefined } }), 'htu-path': proof({ claims: { htu: 'https://api.example/order' } }),
  'htu-trailing-slash': proof({ claims: { htu: 'https://api.example/orders/' } }),
  'htu-host': proof({ claims: { htu: 'https://evil.example/orders' } }),
  'htu-scheme': proof({ claims: { htu: 'http://api.example/orders' } }),
  'htu-port': proof({ claims: { htu: 'https://api.example:8443/orders' } }),
  'htu-userinfo': proof({ claims: { htu: 'https://u@api.example/orders' } }),
  'htu-relative': proof({ claims: { htu: '/orders' } }), 'htu-number': proof({ claims: { htu: 1 } }),
  'htu-case-of-path': proof({ claims: { htu: 'https://api.example/Orders' } }),
  'iat-absent': proof({ claims: { iat: undefined } }), 'iat-text': proof({ claims: { iat: `${T}` } }),
  'iat-old': proof({ claims: { iat: T - 301 } }), 'iat-ahead': proof({ claims: { iat: T + 1 } }),
  'ath-absent': proof({ claims: { ath: undefined } }), 'ath-of-another-token': proof({ of: token() }),
  'ath-padded': proof({ claims: { ath: `${sha256(bound())}=` } }),
  'nonce-number': proof({ claims: { nonce: 1 } }),
  'duplicate-claim': jws({ typ: 'dpop+jwt', alg: 'ES256', jwk: publicJwk(KEYS[CLIENT]) },
    `{"htm":"POST","htm":"GET","htu":"https://api.example/orders","jti":"d","iat":${T},"ath":"${sha256(bound())}"}`, CLIENT),
  'too-long': proof({ claims: { x: 'x'.repeat(9000) } }),
})) {
  line(`dpop/proof-${name}`, { ...dpop(own), ...badProof });
}
line('dpop/key-of-another', { ...dpop(proof({ key: 'p256_thief' })), ...rejected('binding_mismatch') });
for (const [name, htu] of Object.entries({
  'case-of-host': 'HTTPS://API.Example/orders', 'default-port': 'https://api.example:443/orders',
  'query': 'https://api.example/orders?other=1', 'fragment': 'https://api.example/orders#x',
  'percent-encoding': 'https://api.example/%6frders', 'dot-segments': 'https://api.example/a/../orders',
})) {
  line(`dpop/htu-equal-${name}`, dpop(proof({ claims: { htu } })));
}
line('dpop/iat-oldest', dpop(proof({ claims: { iat: T - 300 } })));
line('dpop/iat-ahead-within-leeway', { ...dpop(proof({ claims: { iat: T + 10 } })), policy: { leeway: '10s' } });
line('dpop/max-age', {
  ...dpop(proof({ claims: { iat: T - 61 } })), policy: { dpop: { max_age: '60s' } }, ...badProof,
});
line('dpop/algorithms', { ...dpop(), policy: { dpop: { algorithms: ['EdDSA'] } }, ...badProof });
line('dpop/algorithms-none', { ...dpop(), policy: { dpop: { algorithms: [] } }, ...badProof });
line('dpop/seen', {
  ...dpop(proof({ claims: { jti: 'seen-before' } })), policy: { dpop: { seen_jti: ['seen-before'] } }, ...badProof,
});
{
  const own = proof();
  line('dpop/replay-1', { ...dpop(own), session: 'replay' });
  line('dpop/replay-2', { ...dpop(own), session: 'replay', now: T + 1, ...badProof });
  line('dpop/replay-elsewhere', { ...dpop(own), session: 'replay-2' });
  const late = proof();
  line('dpop/replay-in-the-last-second-1', { ...dpop(late), session: 'replay-late' });
  line('dpop/replay-in-the-last-second-2', { ...dpop(late), session: 'replay-late', now: T + 300, ...badProof });
  const post = proof({ claims: { htm: 'POST' } });
  line('dpop/a-refused-proof-is-not-used-up-1', { ...dpop(post), session: 'replay', ...badProof });
  line('dpop/a-refused-proof-is-not-used-up-2', {
    ...dpop(post, bound(), { method: 'POST' }), session: 'replay',
  });
}
const nonces = { dpop: { nonce: NONCE } };
line('dpop/nonce-good', { ...dpop(proof({ claims: { nonce: NONCE } })), policy: nonces });
line('dpop/nonce-absent', { ...dpop(), policy: nonces, ...rejected('dpop_nonce_required') });
line('dpop/nonce-other', {
  ...dpop(proof({ claims: { nonce: `${NONCE}x` } })), policy: nonces, ...rejected('dpop_nonce_required'),
});
line('dpop/nonce-absent-and-clock-wrong', {
  ...dpop(proof({ claims: { iat: T - 9000 } })), policy: nonces, ...rejected('dpop_nonce_required'),
});
line('dpop/nonce-good-and-clock-wrong', {
  ...dpop(proof({ claims: { iat: T - 9000, nonce: NONCE } })), policy: nonces,
});
{
  const own = proof({ claims: { nonce: NONCE } });
  line('dpop/nonce-replay-1', { ...dpop(own), session: 'nonce', policy: nonces });
  const later = bound({ exp: T + 9000, iat: T - 60 });
  const lasting = proof({ of: later, claims: { nonce: NONCE } });
  line('dpop/nonce-replay-2', { ...dpop(lasting, later), session: 'nonce', policy: nonces });
  line('dpop/nonce-replay-3', { ...dpop(lasting, later), session: 'nonce', policy: nonces, now: T + 5000, ...badProof });
}
line('dpop/nonce-not-asked-for', dpop(proof({ claims: { nonce: 'any' } })));

// --- certificates ---------------------------------------------------------------------------
const DER = Buffer.from('a certificate, as far as its digest is concerned');
const x5t = { 'x5t#S256': sha256(DER) };
const mtls = (cnf, more) => ({ request: request({ Authorization: `Bearer ${token({ cnf })}`, ...more?.fields }, more?.request) });
line('certificate/good', mtls(x5t, { request: { certificate: DER.toString('base64') } }));
line('certificate/none', { ...mtls(x5t), ...rejected('binding_mismatch') });
line('certificate/other', {
  ...mtls(x5t, { request: { certificate: Buffer.from('x').toString('base64') } }), ...rejected('binding_mismatch'),
});
line('certificate/in-a-header', {
  ...mtls(x5t, { fields: {
    'Client-Cert': `:${DER.toString('base64')}:`, 'X-Forwarded-Client-Cert': `Cert="${DER.toString('base64')}"`,
    'X-SSL-Client-Cert': DER.toString('base64'),
  } }), ...rejected('binding_mismatch'),
});
line('certificate/without-a-request', { token: token({ cnf: x5t }), ...rejected('binding_mismatch') });
line('certificate/of-an-unbound-token', { request: request({ Authorization: `Bearer ${token()}` }, { certificate: DER.toString('base64') }) });
line('certificate/padded', {
  ...mtls({ 'x5t#S256': `${sha256(DER)}=` }, { request: { certificate: DER.toString('base64') } }), ...rejected('binding_mismatch'),
});
line('certificate/unknown-confirmation', { token: token({ cnf: { 'x5t#S1': 'x' } }), ...rejected('binding_mismatch') });
line('certificate/unknown-beside-known', mtls({ ...x5t, new: 1 }, { request: { certificate: DER.toString('base64') } }));
{
  const both = token({ cnf: { ...x5t, jkt: thumbprint(CLIENT) } });
  const headers = { Authorization: `DPoP ${both}` };
  line('certificate/and-key', {
    request: request({ ...headers, DPoP: proof({ of: both }) }, { certificate: DER.toString('base64') }),
  });
  line('certificate/and-key-without-certificate', {
    request: request({ ...headers, DPoP: proof({ of: both }) }), ...rejected('binding_mismatch'),
  });
}
for (const cnf of ['x', [], 1, { jkt: 1 }, { 'x5t#S256': [] }]) {
  line(`certificate/malformed-${JSON.stringify(cnf)}`, { token: token({ cnf }), ...rejected('claim_invalid') });
}

// --- status ---------------------------------------------------------------------------------
function list({ statuses = {}, bits = 1, kid = 'ed', claims = {}, uri = LIST } = {}) {
  const bytes = Buffer.alloc(16 * bits);
  for (const [index, value] of Object.entries(statuses)) {
    bytes[Math.floor((index * bits) / 8)] |= value << ((index * bits) % 8);
  }
  const [key, alg] = KIDS[kid];
  const lst = b64(deflateSync(bytes, { level: 9 }));
  return jws({ alg, kid, typ: 'statuslist+jwt' }, {
    sub: uri, iat: T - 10, exp: T + 3600, ttl: 40, status_list: { bits, lst }, ...claims,
  }, key, alg);
}
const served = (body, more = {}) => ({
  status: 200, headers: { 'Content-Type': 'application/statuslist+jwt', ETag: '"1"' }, body, ...more,
});
const listed = (index = 7) => token({ status: { status_list: { idx: index, uri: LIST } }, exp: T + 3000 });
const status = { mode: 'required', uri_prefixes: [`${ISSUER}/`] };
const valid = { [LIST]: served(list()) };
const unavailable = (more) => rejected('status_unavailable', { fetched: [LIST], ...more });

line('status/valid', { token: listed(), policy: { status }, responses: valid, expect: { fetched: [LIST] } });
line('status/not-asked', { token: listed() });
for (const [kid] of Object.entries(KIDS)) {
  line(`status/list-by-${kid}`, {
    token: listed(), policy: { status }, responses: { [LIST]: served(list({ kid })) }, expect: { fetched: [LIST] },
  });
}
line('status/empty-list', {
  token: listed(0), policy: { status }, responses: { [LIST]: served(list({ claims: { status_list: { bits: 1, lst: 'eNoDAAAAAAE' } } })) },
  ...rejected('status_invalid', { fetched: [LIST] }),
});
line('status/body-base64', {
  token: listed(), policy: { status }, expect: { fetched: [LIST] },
  responses: { [LIST]: { ...served(''), body_base64: Buffer.from(list()).toString('base64') } },
});
for (const code of [201, 203, 299]) {
  line(`status/success-${code}`, {
    token: listed(), policy: { status }, responses: { [LIST]: served(list(), { status: code }) }, expect: { fetched: [LIST] },
  });
}
for (const code of [0, 199, 204, 206, 300, 400, 404, 500]) {
  line(`status/no-success-${code}`, {
    token: listed(), policy: { status }, responses: { [LIST]: served(list(), { status: code }) }, ...unavailable(),
  });
}
{
  const there = `${ISSUER}/lists/moved`;
  const moved = (location, code = 302) => ({ status: code, headers: { Location: location } });
  for (const code of [301, 302, 303, 307, 308]) {
    line(`status/redirect-${code}`, {
      token: listed(), policy: { status }, expect: { fetched: [LIST, there] },
      responses: { [LIST]: moved(there, code), [there]: served(list()) },
    });
  }
  line('status/redirect-relative', {
    token: listed(), policy: { status }, expect: { fetched: [LIST, there] },
    responses: { [LIST]: moved('moved'), [there]: served(list()) },
  });
  const evil = 'https://evil.example/lists/1';
  line('status/redirect-outside-the-prefixes', {
    token: listed(), policy: { status }, ...unavailable(),
    responses: { [LIST]: moved(evil), [evil]: served(list()) },
  });
  line('status/redirect-to-another-subject', {
    token: listed(), policy: { status }, ...rejected('status_unavailable', { fetched: [LIST, there] }),
    responses: { [LIST]: moved(there), [there]: served(list({ uri: there })) },
  });
  // An entity tag belongs to the URL it came from: a 304 of another URL confirms nothing.
  line('status/redirect-304-1', {
    token: listed(), session: 'redirect-304', policy: { status }, expect: { fetched: [LIST, there] },
    responses: { [LIST]: moved(there), [there]: served(list()) },
  });
  line('status/redirect-304-2', {
    token: listed(), session: 'redirect-304', policy: { status }, now: T + 41,
    expect: { fetched: [LIST, there] },
    responses: { [LIST]: moved(there), [there]: { status: 304, headers: {} } },
  });
  const elsewhere = `${ISSUER}/lists/elsewhere`;
  line('status/redirect-304-3', {
    token: listed(), session: 'redirect-304', policy: { status }, now: T + 82,
    expect: { fetched: [LIST, elsewhere], stale: true },
    responses: { [LIST]: moved(elsewhere), [elsewhere]: { status: 304, headers: {} } },
  });
  line('status/redirect-loop', {
    token: listed(), policy: { status }, responses: { [LIST]: moved(LIST) },
    ...rejected('status_unavailable', { fetched: [LIST, LIST, LIST, LIST] }),
  });
}
// Without a deadline a copy is fresh for its ttl. Then a line revalidates first; if that fails, the
// copy serves until its exp.
{
  let step = 0;
  const follow = (session, more = {}) => (name, after, change) => line(`status-ttl/${session}-${++step}-${name}`, {
    token: listed(), session, now: T + after, policy: { status: { ...status, ...more } }, ...change,
  });
  const ttl = follow('ttl');
  ttl('first', 0, { responses: valid, expect: { fetched: [LIST] } });
  ttl('within', 39, {});
  ttl('revoked-unseen', 39, { responses: { [LIST]: served(list({ statuses: { 7: 1 } })) } });
  ttl('past-unreachable', 40, { expect: { fetched: [LIST], stale: true } });
  ttl('past-unreachable-again', 40, { expect: { fetched: [LIST], stale: true } });
  ttl('past-confirmed', 60, { responses: { [LIST]: { status: 304, headers: {} } }, expect: { fetched: [LIST] } });
  ttl('confirmed-within', 99, {});
  ttl('past-revoked', 100, {
    responses: { [LIST]: served(list({ statuses: { 7: 1 } })) }, ...rejected('token_revoked', { fetched: [LIST] }),
  });
  ttl('older-list-brings-nothing-back', 141, {
    responses: { [LIST]: served(list({ claims: { iat: T - 20 } })) },
    ...rejected('token_revoked', { fetched: [LIST], stale: true }),
  });
  const expiring = follow('until-exp');
  const short = { [LIST]: served(list({ claims: { exp: T + 100 } })) };
  expiring('first', 0, { responses: short, expect: { fetched: [LIST] } });
  expiring('last-second', 99, { expect: { fetched: [LIST], stale: true } });
  expiring('exp', 100, unavailable());
  const every = follow('interval', { refresh_interval: '5s' });
  every('first', 0, { responses: valid, expect: { fetched: [LIST] } });
  every('within', 4, {});
  every('past', 5, { responses: valid, expect: { fetched: [LIST] } });
  const strict = follow('strict', { refresh_interval: '5s', stale_if_error: '0s' });
  strict('first', 0, { responses: valid, expect: { fetched: [LIST] } });
  strict('past', 5, unavailable());
  const quiet = follow('no-ttl');
  quiet('first', 0, { responses: { [LIST]: served(list({ claims: { ttl: undefined } })) }, expect: { fetched: [LIST] } });
  quiet('much-later', 2000, {});
}
// With a deadline: the revocation deadline and the outage bound.
{
  let step = 0;
  const deadline = { refresh_interval: '5s', deadline: '10s', stale_if_error: '60s' };
  const promised = (session, more = {}) => (name, after, change) => line(`status-deadline/${session}-${++step}-${name}`, {
    token: listed(), session: `d-${session}`, now: T + after,
    policy: { status: { ...status, ...deadline, ...more } }, ...change,
  });
  const d = promised('refresh');
  const revoked = { [LIST]: served(list({ statuses: { 7: 1 }, claims: { iat: T } })) };
  d('first', 0, { responses: valid, expect: { fetched: [LIST] } });
  d('fresh', 4, {});
  d('background', 5, { responses: revoked, expect: { fetched: [LIST] } });
  d('counts-from-the-next-line', 5, rejected('token_revoked'));
  const w = promised('window');
  w('first', 0, { responses: valid, expect: { fetched: [LIST] } });
  w('past-the-window-asks-first', 9, { responses: revoked, ...rejected('token_revoked', { fetched: [LIST] }) });
  const o = promised('outage');
  o('first', 0, { responses: valid, expect: { fetched: [LIST] } });
  o('background-fails', 6, { expect: { fetched: [LIST] } });
  o('stale', 9, { expect: { fetched: [LIST], stale: true } });
  o('stale-until-the-outage-bound', 68, { expect: { fetched: [LIST], stale: true } });
  o('refused-after-it', 69, unavailable());
  const z = promised('strict', { stale_if_error: '0s' });
  z('first', 0, { responses: valid, expect: { fetched: [LIST] } });
  z('refused-past-the-window', 9, unavailable());
  const a = promised('age');
  a('old-answer', 0, {
    responses: { [LIST]: served(list(), { headers: { 'content-type': 'application/statuslist+jwt', Age: '4' } }) },
    expect: { fetched: [LIST] },
  });
  a('counts-from-its-age', 1, { responses: valid, expect: { fetched: [LIST] } });
}
line('status-session/key-withdrawn-1', {
  token: listed(), session: 'withdrawn', policy: { status }, expect: { fetched: [LIST] },
  responses: { [LIST]: served(list({ kid: 'es256' })) },
});
line('status-session/key-withdrawn-2', {
  token: listed(), session: 'withdrawn', policy: { status }, now: T + 1, ...unavailable(),
  jwks: { keys: JWKS.keys.filter(({ kid }) => kid !== 'es256') },
});
line('status-session/another-issuer-has-its-own-lists-1', {
  token: listed(), session: 'issuers', policy: { status }, responses: valid, expect: { fetched: [LIST] },
});
line('status-session/another-issuer-has-its-own-lists-2', {
  token: token({ iss: 'https://other.example', status: { status_list: { idx: 7, uri: LIST } } }), session: 'issuers',
  policy: { issuer: 'https://other.example', status }, responses: valid, expect: { fetched: [LIST] },
});
line('status-session/deadline-that-cannot-be-met', {
  token: listed(), policy: { status: { ...status, deadline: '3s', refresh_interval: '5s' } }, ...broken,
});

writeFileSync(new URL('batch.jsonl', import.meta.url), `${lines.map((own) => JSON.stringify(own)).join('\n')}\n`);
console.log(`${lines.length} lines`);
