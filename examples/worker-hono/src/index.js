// An API with Hono. Each route names the scopes that it requires.

import { Hono } from 'hono';
import { Verifier } from 'edgepass';
import { protect } from 'edgepass/hono';

// One verifier per isolate: it holds keys and status lists. Creating it does no I/O.
let verifier;
const ofWorker = ({ env }) => (verifier ??= Verifier.create({ issuer: env.ISSUER, audience: env.AUDIENCE }));

const app = new Hono();

app.get('/health', (c) => c.text('ok'));
app.get('/invoices', protect(ofWorker, { allOf: ['invoices:read'] }), (c) => (
  c.json({ client: c.var.edgepass.claims.client_id, invoices: [{ id: 1 }] })));
app.post('/invoices', protect(ofWorker, { allOf: ['invoices:write'] }), (c) => c.json({ id: 2 }, 201));

export default app;
