// Makes tokens for the benchmarks: access tokens with 13 claims, as issuers sign them, and bad
// ones.

import { createHash, generateKeyPairSync, sign } from 'node:crypto';

export const ISSUER = 'https://issuer.example';
export const AUDIENCE = 'https://api.example';

/** The key types and algorithms that are compared. */
export const ALGORITHMS = {
  ES256: { generate: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }), hash: 'sha256' },
  Ed25519: { generate: () => generateKeyPairSync('ed25519'), hash: null, alg: 'EdDSA' },
  RS256: { generate: () => generateKeyPairSync('rsa', { modulusLength: 2048 }), hash: 'sha256' },
};

const b64 = (value) => Buffer.from(value).toString('base64url');

/** Makes a key of a kind: `{ kind, kid, alg, jwk, pem, sign }`. */
export function makeKey(kind, kid = kind) {
  const { generate, hash, alg = kind } = ALGORITHMS[kind];
  const { privateKey, publicKey } = generate();
  return {
    kind, kid, alg,
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' },
    pem: publicKey.export({ type: 'spki', format: 'pem' }),
    sign: (input) => sign(hash, input, { key: privateKey, dsaEncoding: 'ieee-p1363' }),
  };
}

/** Signs a token with `key`. `number` makes the token unique, `more` adds or replaces claims. */
export function makeToken(key, number, more = {}, header = {}) {
  const now = Math.floor(Date.now() / 1000);
  const id = createHash('sha256').update(`${key.kid} ${number}`).digest('hex').slice(0, 32);
  const claims = {
    iss: ISSUER, sub: `service-${id.slice(0, 12)}`, aud: AUDIENCE, client_id: 'billing-service',
    iat: now - 60, nbf: now - 60, exp: now + 36_000, jti: id, scope: 'invoices:read invoices:write orders:read',
    tenant: 'tenant-4711', agreement: 'DPA-2026-0117', region: 'eu-central', purpose: 'invoice reconciliation',
    status: { status_list: { idx: number % 100_000, uri: `${ISSUER}/status-lists/1` } }, ...more,
  };
  const input = `${b64(JSON.stringify({ alg: key.alg, kid: key.kid, typ: 'at+jwt', ...header }))}.${b64(JSON.stringify(claims))}`;
  return `${input}.${b64(key.sign(Buffer.from(input)))}`;
}

/** Returns tokens that are refused, by the reason. */
export function makeRefused(key, number) {
  const good = makeToken(key, number);
  const [header, payload, signature] = good.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  bytes[40] ^= 1;
  return {
    'bad signature': `${header}.${payload}.${b64(bytes)}`,
    expired: makeToken(key, number, { exp: Math.floor(Date.now() / 1000) - 60, iat: Math.floor(Date.now() / 1000) - 600 }),
    garbage: b64(createHash('sha512').update(good).digest()).repeat(9),
    'unknown kid': makeToken(key, number, {}, { kid: 'unknown' }),
  };
}
