// Verifiers of other authors, configured to expect the same as ours.

import { createPublicKey } from 'node:crypto';
import { createVerifier } from 'fast-jwt';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { ALGORITHMS, EXPECTED, JWKS, NOW } from './tokens.mjs';

const REQUIRED = ['exp', 'iat', 'sub', 'client_id', 'jti'];

/** Whether `jose` accepts the token. */
export async function jose(text) {
  try {
    await jwtVerify(text, KEYS, {
      ...EXPECTED, algorithms: ALGORITHMS, currentDate: new Date(NOW * 1000), requiredClaims: REQUIRED,
    });
    return true;
  } catch {
    return false;
  }
}
const KEYS = createLocalJWKSet(JWKS);

/** Whether `fast-jwt` accepts the token, with the key that the header names, as its guide shows. */
export async function fastJwt(text) {
  try {
    const header = JSON.parse(Buffer.from(text.split('.')[0], 'base64url').toString());
    const verify = VERIFIERS.get(header.kid);
    return verify !== undefined && verify(text) !== undefined;
  } catch {
    return false;
  }
}
const VERIFIERS = new Map(JWKS.keys.map((key) => [key.kid, createVerifier({
  key: createPublicKey({ key, format: 'jwk' }).export({ type: 'spki', format: 'pem' }),
  algorithms: [key.alg], allowedIss: EXPECTED.issuer, allowedAud: EXPECTED.audience, checkTyp: EXPECTED.typ,
  clockTimestamp: NOW * 1000, requiredClaims: REQUIRED, cache: false,
})]));
