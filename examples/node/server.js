// An API in plain Node. It serves invoices to clients whose token has the scope `invoices:read`.
//
// ISSUER=https://issuer.example AUDIENCE=https://api.example PORT=8080 node server.js

import { createServer } from 'node:http';
import { Verifier } from 'edgepass';

const { ISSUER: issuer, AUDIENCE: audience, PORT: port = '8080' } = process.env;

// One verifier per process: it holds keys and status lists.
const verifier = Verifier.create({ issuer, audience });

const server = createServer(async (incoming, outgoing) => {
  // The verifier takes a Request of the Fetch API, which Node does not make by itself.
  const request = new Request(new URL(incoming.url, 'http://localhost'), {
    method: incoming.method, headers: incoming.headers,
  });
  const verdict = await verifier.verify(request, { allOf: ['invoices:read'] });
  const response = verdict.accepted
    ? Response.json({ client: verdict.claims.client_id, invoices: [{ id: 1 }] })
    : verdict.toResponse();
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  outgoing.end(await response.text());
});

server.listen(Number(port), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
