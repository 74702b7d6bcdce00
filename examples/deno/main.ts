// An API in Deno. It serves invoices to clients whose token has the scope `invoices:read`.
//
// ISSUER=https://issuer.example AUDIENCE=https://api.example deno task start

import { Verifier } from 'edgepass';

const setting = (name: string): string => {
  const value = Deno.env.get(name);
  if (!value) throw new Error(`set ${name}`);
  return value;
};

// One verifier per process: it holds keys and status lists.
const verifier = Verifier.create({ issuer: setting('ISSUER'), audience: setting('AUDIENCE') });

Deno.serve({ port: Number(Deno.env.get('PORT') ?? 8080), hostname: '127.0.0.1' }, async (request) => {
  const verdict = await verifier.verify(request, { allOf: ['invoices:read'] });
  if (!verdict.accepted) return verdict.toResponse();
  return Response.json({ client: verdict.claims.client_id, invoices: [{ id: 1 }] });
});
