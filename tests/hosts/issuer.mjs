// An issuer that serves its JWK Set and signs the claims that a test gives it.

import { createServer } from 'node:http';
import { KEYS, jws, publicJwk } from '../vectors/sign.mjs';

export const AUDIENCE = 'https://api.example';
export const now = () => Math.floor(Date.now() / 1000);

export async function issuer(t, key, kid = 'k') {
  const server = createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'application/jwk-set+json' });
    response.end(JSON.stringify({ keys: [publicJwk(KEYS[key], { kid, alg: 'ES256' })] }));
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  t.after(() => server.close());
  const url = `http://127.0.0.1:${server.address().port}`;
  const token = (claims = {}, header = {}, by = key) => jws(
    { alg: 'ES256', kid, typ: 'at+jwt', ...header },
    {
      iss: url, aud: AUDIENCE, sub: 's', client_id: 'c', jti: 'j', scope: 'invoices:read',
      iat: now(), exp: now() + 300, ...claims,
    }, by,
  );
  const trusted = {
    issuer: url, audience: AUDIENCE, jwks_uri: `${url}/jwks.json`, status: { mode: 'ignore' },
  };
  return { url, token, trusted };
}
