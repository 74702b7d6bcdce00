// What is compared: every library with the set-up that it recommends, its keys at hand.

import { JwtVerifier } from 'aws-jwt-verify';
import { verifyWithJwks } from 'hono/jwt';
import { createLocalJWKSet, jwtVerify } from 'jose';
import tsndr from '@tsndr/cloudflare-worker-jwt';

const ALGORITHM = {
  ES256: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  Ed25519: { name: 'Ed25519' },
  RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
};

/** Whether a promise is kept: libraries refuse by throwing. */
async function kept(promise) {
  try {
    return Boolean(await promise);
  } catch {
    return false;
  }
}

/**
 * By name: `({ kind, alg, jwks, issuer, audience }, edgepass) => token => Promise<boolean>`. A token is
 * `{ text, input, signature }`. `undefined` where the library does not do the algorithm.
 */
export const SUBJECTS = {
  async subtle({ kind, jwks }) {
    const algorithm = ALGORITHM[kind];
    const { use, alg, ...jwk } = jwks.keys[0];
    const key = await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['verify']);
    return ({ input, signature }) => crypto.subtle.verify(algorithm, key, signature, input);
  },

  edgepass: ({ alg, jwks, issuer, audience }, { Verifier }) => {
    // Peers look up no status: neither does this verifier here.
    const verifier = Verifier.create({
      issuer, audience, jwks, algorithms: [alg], status: { mode: 'ignore' }, background: 'detach',
    });
    const demand = { waitUntil: (work) => globalThis.pending?.push(work) };
    return async ({ text }) => (await verifier.verify(text, demand)).accepted;
  },

  jose({ alg, jwks, issuer, audience }) {
    const keys = createLocalJWKSet(jwks);
    const options = { issuer, audience, algorithms: [alg], typ: 'at+jwt' };
    return ({ text }) => kept(jwtVerify(text, keys, options));
  },

  hono({ alg, jwks, issuer, audience }) {
    const options = { keys: jwks.keys, allowedAlgorithms: [alg], verification: { iss: issuer, aud: audience, typ: 'at+jwt' } };
    return ({ text }) => kept(verifyWithJwks(text, options));
  },

  'aws-jwt-verify'({ jwks, issuer, audience }) {
    const verifier = JwtVerifier.create({ issuer, audience, jwksUri: `${issuer}/jwks.json` });
    verifier.cacheJwks(jwks);
    return ({ text }) => kept(verifier.verify(text));
  },

  '@tsndr/cloudflare-worker-jwt'({ kind, alg, jwks }) {
    if (kind === 'Ed25519') return undefined;
    return ({ text }) => kept(tsndr.verify(text, jwks.keys[0], { algorithm: alg, throwError: true }));
  },
};

/** Make a subject's tokens and verifier: `{ run(n) }`, which throws on a wrong verdict. */
export async function prepare(make, setup, texts, expected, edgepass) {
  const verify = await make(setup, edgepass);
  if (!verify) return undefined;
  const encoder = new TextEncoder();
  const tokens = texts.map((text) => {
    const end = text.lastIndexOf('.');
    const signature = text.slice(end + 1).replaceAll('-', '+').replaceAll('_', '/');
    return {
      text, input: encoder.encode(text.slice(0, Math.max(end, 0))),
      signature: end < 0 ? new Uint8Array() : Uint8Array.from(atob(signature), (char) => char.charCodeAt(0)),
    };
  });
  let next = 0;
  return async (n) => {
    for (let i = 0; i < n; i++) {
      const verdict = await verify(tokens[next++ % tokens.length]);
      if (verdict !== expected) throw new Error(`a wrong verdict: ${verdict}`);
    }
  };
}
