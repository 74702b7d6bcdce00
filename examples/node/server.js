// An API in plain Node. It serves invoices to clients whose token has the scope `invoices:read`.
//
// ISSUER=https://issuer.example AUDIENCE=https://api.example PORT=8080 node server.js

import { createServer } from 'node:http';
import { Verifier } from 'edgepass';

const { ISSUER: issuer, AUDIENCE: audience, PORT: port = '8080' } = process.env;

// One verifier per process: it holds keys and status lists.
const verifier = Verifier.create({ issuer, audience });

async function answer(request) {
  const verdict = await verifier.verify(request, { allOf: ['invoices:read'] });
  if (!verdict.accepted) return verdict.toResponse();
  return Response.json({ client: verdict.claims.client_id, invoices: [{ id: 1 }] });
}

/** The Request of the Fetch API that the verifier takes; `undefined` if the client's is malformed. */
function requestOf({ method, url, rawHeaders }) {
  try {
    const request = new Request(`http://localhost${url}`, { method });
    // All fields as sent: `headers` of Node would drop a second `Authorization`.
    for (let at = 0; at < rawHeaders.length; at += 2) request.headers.append(rawHeaders[at], rawHeaders[at + 1]);
    return request;
  } catch {
    return undefined;
  }
}

const server = createServer(async (incoming, outgoing) => {
  const request = requestOf(incoming);
  const response = request ? await answer(request) : new Response('malformed request\n', { status: 400 });
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  outgoing.end(await response.text());
});

server.listen(Number(port), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
