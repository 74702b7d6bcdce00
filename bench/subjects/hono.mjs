import { verifyWithJwks } from 'hono/jwt';
import { kept } from './kept.mjs';

export default function hono({ alg, jwks, issuer, audience }) {
  const options = {
    keys: jwks.keys, allowedAlgorithms: [alg], verification: { iss: issuer, aud: audience, typ: 'at+jwt' },
  };
  return ({ text }) => kept(verifyWithJwks(text, options));
}
