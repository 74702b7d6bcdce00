// Tokens for the benchmarks: an access token as issuers sign them, 13 claims, and ones that are refused.

import { createHash, generateKeyPairSync, sign } from 'node:crypto';

export const ISSUER = 'https://issuer.example';
export const AUDIENCE = 'https://api.example';

/** The kinds of keys that are compared. */
export const ALGORITHMS = {
  ES256: { generate: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }), hash: 'sha256' },
  Ed25519: { generate: () => generateKeyPairSync('ed25519'), hash: null, alg: 'EdDSA' },
  RS256: { generate: () => generateKeyPairSync('rsa', { modulusLength: 2048 }), hash: 'sha256' },
};

const b64 = (value) => Buffer.from(value).toString('base64url');

/** A key by its kind: `{ kind, alg, jwk, pem, sign }`. */
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

/** A token under `key`; `number` makes it differ from others, `more` are further claims. */
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

/** Tokens that are refused, by why. */
export function makeRefused(key, number) {
  const good = makeToken(key, number);
  const [header, payload, signature] = good.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  bytes[40] ^= 1;
  return {
    'bad signature': `${header}.${payload}.${b64(bytes)}`,
    expired: makeToken(key, number, { exp: Math.floor(Date.now() / 1000) - 60, iat: Math.floor(Date.now() / 1000) - 600 }),
    garbage: b64(createHash('sha512').update(good).digest()).repeat(9),
    'unknown kid': makeToken(key, number, {}, { kid: 'nobody' }),
  };
}
