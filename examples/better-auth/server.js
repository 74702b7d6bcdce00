// better-auth signs the tokens, an Edgepass issuer makes them revocable: each token carries an entry of one
// of its status lists.
//
// EDGEPASS=https://auth.example CLIENT=better-auth SECRET=... AUDIENCE=https://api.example \
//   URL=https://login.example PORT=8080 node server.js

import { randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { betterAuth } from 'better-auth';
import { memoryAdapter } from 'better-auth/adapters/memory';
import { toNodeHandler } from 'better-auth/node';
import { jwt } from 'better-auth/plugins';

const { EDGEPASS, CLIENT, SECRET, AUDIENCE, PORT = '8080', URL: baseURL = `http://127.0.0.1:${PORT}` } = process.env;
const LIFETIME = 300; // seconds

/** Asks the Edgepass issuer for the claim `status` of a token. Without it no token is signed. */
async function statusEntry(token) {
  const response = await fetch(`${EDGEPASS}/status-entries`, {
    method: 'POST',
    headers: {
      authorization: `Basic ${Buffer.from(`${CLIENT}:${SECRET}`).toString('base64')}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify(token),
    signal: AbortSignal.timeout(5000),
  });
  if (!response.ok) throw new Error(`no status entry: ${response.status}`);
  return response.json();
}

const auth = betterAuth({
  baseURL,
  secret: randomBytes(32).toString('hex'), // yours, from a secret store
  database: memoryAdapter({ user: [], session: [], account: [], verification: [], jwks: [] }), // your database
  emailAndPassword: { enabled: true },
  plugins: [jwt({
    jwt: {
      audience: AUDIENCE,
      async definePayload({ user }) {
        const token = { jti: randomUUID(), exp: Math.floor(Date.now() / 1000) + LIFETIME };
        const { status } = await statusEntry({ ...token, iss: baseURL, sub: user.id });
        return { ...token, scope: 'invoices:read', status };
      },
    },
  })],
});

const server = createServer(toNodeHandler(auth));
server.listen(Number(PORT), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
