import { createLocalJWKSet, jwtVerify } from 'jose';
import { kept } from './kept.mjs';

export default function jose({ alg, jwks, issuer, audience }) {
  const keys = createLocalJWKSet(jwks);
  const options = { issuer, audience, algorithms: [alg], typ: 'at+jwt' };
  return ({ text }) => kept(jwtVerify(text, keys, options));
}
