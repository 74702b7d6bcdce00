import tsndr from '@tsndr/cloudflare-worker-jwt';
import { kept } from './kept.mjs';

export default function cloudflareWorkerJwt({ kind, alg, jwks }) {
  if (kind === 'Ed25519') return undefined;
  return ({ text }) => kept(tsndr.verify(text, jwks.keys[0], { algorithm: alg, throwError: true }));
}
