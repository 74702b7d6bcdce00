// The signature alone: the reference that others are compared with.

const ALGORITHM = {
  ES256: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  Ed25519: { name: 'Ed25519' },
  RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
};

export default async function subtle({ kind, jwks }) {
  const algorithm = ALGORITHM[kind];
  const { use, alg, ...jwk } = jwks.keys[0];
  const key = await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['verify']);
  return ({ input, signature }) => crypto.subtle.verify(algorithm, key, signature, input);
}
