// An API in a Worker. It serves invoices to clients whose token has the scope `invoices:read`.

import { Verifier } from 'edgepass';

// One verifier per isolate: it holds keys and status lists. Creating it does no I/O.
let verifier;

export default {
  async fetch(request, env, ctx) {
    verifier ??= Verifier.create({ issuer: env.ISSUER, audience: env.AUDIENCE });
    const verdict = await verifier.verify(request, { allOf: ['invoices:read'] }, {
      // Refreshes run after the response.
      waitUntil: (work) => ctx.waitUntil(work),
    });
    if (!verdict.accepted) return verdict.toResponse();
    return Response.json({ client: verdict.claims.client_id, invoices: [{ id: 1 }] });
  },
};
