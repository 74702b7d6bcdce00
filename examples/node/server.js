// An API in plain Node. It serves invoices to clients whose token has the scope `invoices:read`.
//
// ISSUER=https://issuer.example AUDIENCE=https://api.example PORT=8080 node server.js

import { createServer } from 'node:http';
import { Verifier } from 'edgepass';
import { fromNode, send } from 'edgepass/node';

const { ISSUER: issuer, AUDIENCE: audience, PORT: port = '8080' } = process.env;

// One verifier per process: it holds keys and status lists.
const verifier = Verifier.create({ issuer, audience });

const server = createServer(async (request, response) => {
  const verdict = await verifier.verify(fromNode(request), { allOf: ['invoices:read'] });
  if (!verdict.accepted) return send(response, verdict);
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ client: verdict.claims.client_id, invoices: [{ id: 1 }] }));
});

server.listen(Number(port), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
