// An API with Hono. Each route names the scopes that it requires.

import { Hono } from 'hono';
import { createMiddleware } from 'hono/factory';
import { Verifier } from 'edgepass';

// One verifier per isolate: it holds keys and status lists. Creating it does no I/O.
let verifier;

/** Lets a request pass if its token has all of these scopes. Handlers find the claims in `c.var`. */
const requires = (...scopes) => createMiddleware(async (c, next) => {
  verifier ??= Verifier.create({ issuer: c.env.ISSUER, audience: c.env.AUDIENCE });
  const verdict = await verifier.verify(c.req.raw, { allOf: scopes }, {
    waitUntil: (work) => c.executionCtx.waitUntil(work),
  });
  if (!verdict.accepted) return verdict.toResponse();
  c.set('claims', verdict.claims);
  return next();
});

const app = new Hono();

app.get('/health', (c) => c.text('ok'));
app.get('/invoices', requires('invoices:read'), (c) => (
  c.json({ client: c.var.claims.client_id, invoices: [{ id: 1 }] })));
app.post('/invoices', requires('invoices:write'), (c) => c.json({ id: 2 }, 201));

export default app;
