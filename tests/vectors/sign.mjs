// Signs the vectors: compact JWSs under the keys of keys.json, which are for tests only.

import { constants, createHash, createPrivateKey, sign as cryptoSign } from 'node:crypto';
import { readFileSync } from 'node:fs';

export const KEYS = JSON.parse(readFileSync(new URL('keys.json', import.meta.url)));

export const b64 = (bytes) => Buffer.from(bytes).toString('base64url');
export const sha256 = (text) => b64(createHash('sha256').update(text).digest());
export const publicJwk = ({ kty, crv, x, y, n, e }, extra) =>
  JSON.parse(JSON.stringify({ kty, crv, x, y, n, e, ...extra }));

/** Signs bytes with one of the keys. Returns the signature in the form of JWS. */
export function signature(key, input, alg = DEFAULT[KEYS[key].crv ?? KEYS[key].kty]) {
  const privateKey = createPrivateKey({ key: KEYS[key], format: 'jwk' });
  if (alg === 'EdDSA') return cryptoSign(null, input, privateKey);
  const hash = `sha${alg.slice(2)}`;
  if (alg.startsWith('ES')) return cryptoSign(hash, input, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  if (alg.startsWith('RS')) return cryptoSign(hash, input, privateKey);
  return cryptoSign(hash, input, {
    key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  });
}

const DEFAULT = { Ed25519: 'EdDSA', 'P-256': 'ES256', 'P-384': 'ES384', RSA: 'RS256' };

/** Makes a compact JWS. Header and payload may be objects, raw text or bytes. */
export function jws(header, payload, key = 'ed25519', alg = undefined) {
  const text = (part) => (typeof part === 'string' || Buffer.isBuffer(part) ? part : JSON.stringify(part));
  const input = `${b64(text(header))}.${b64(text(payload))}`;
  return `${input}.${b64(signature(key, Buffer.from(input), alg))}`;
}

/** Returns the thumbprint of a key (RFC 7638, SHA-256). */
export function thumbprint(key) {
  const { kty, crv, x, y, n, e } = KEYS[key];
  const members = { RSA: { e, kty, n }, EC: { crv, kty, x, y }, OKP: { crv, kty, x } }[kty];
  return sha256(JSON.stringify(members));
}
