import { JwtVerifier } from 'aws-jwt-verify';
import { kept } from './kept.mjs';

export default function awsJwtVerify({ jwks, issuer, audience }) {
  const verifier = JwtVerifier.create({ issuer, audience, jwksUri: `${issuer}/jwks.json` });
  verifier.cacheJwks(jwks);
  return ({ text }) => kept(verifier.verify(text));
}
