// A program that uses the package's middlewares, for the type checker. It is never run. An
// `@ts-expect-error` fails if the line below it has no type error.

import { createServer } from 'node:http';
import express from 'express';
import fastify from 'fastify';
import { Hono } from 'hono';
import Koa from 'koa';
import { Verifier, type Accepted } from 'edgepass';
import { protect as forExpress } from 'edgepass/express';
import { protect as forFastify } from 'edgepass/fastify';
import { protect as forHono } from 'edgepass/hono';
import { protect as forKoa } from 'edgepass/koa';
import { fromNode, send } from 'edgepass/node';
import { TestClient, TestIssuer } from 'edgepass/testing';

const issuer = await TestIssuer.create();
const verifier = Verifier.create({ ...issuer.options(), onEvent: ({ document, reason }) => console.warn(document, reason) });
const required = { allOf: ['invoices:read'] };
const certificate = 'a'.repeat(64);

createServer(async (request, response) => {
  const verdict = await verifier.verify(fromNode(request), required);
  if (!verdict.accepted) return send(response, verdict);
  // @ts-expect-error An accepted verdict is not sent.
  send(response, verdict);
  return response.end(verdict.claims.sub);
});

const app = express();
app.use(express.json(), forExpress(verifier, required));
app.get('/invoices/:id', forExpress(verifier, required), (request, response) => {
  const verdict: Accepted | undefined = request.edgepass;
  response.json({ id: request.params.id, client: verdict?.claims.client_id });
});
app.post('/', forExpress(verifier, required, (request: express.Request) => ({ certificateSha256: request.ip ?? certificate })));
// @ts-expect-error A misspelled requirement.
app.get('/x', forExpress(verifier, { allOff: ['x'] }));

const server = fastify();
server.addHook('onRequest', forFastify(verifier, required));
server.get('/invoices', { onRequest: forFastify(verifier, required) }, async (request) => (
  { client: request.edgepass?.claims.client_id }
));

const koa = new Koa();
koa.use(forKoa(verifier, required));
koa.use((context) => { context.body = context.state.edgepass.claims.sub; });

const hono = new Hono()
  .use('/open/*', async (_, next) => next())
  .get('/invoices', forHono<{ tenant: string }>(verifier, required), (context) => {
    const { claims } = context.var.edgepass;
    const tenant: string = claims.tenant;
    // @ts-expect-error The client is a string.
    const client: number = claims.client_id;
    return context.json({ tenant, client });
  });
export default hono;

const client = await TestClient.create();
const token: string = await issuer.token({ scope: 'invoices:read', tenant: 'acme' }, { boundTo: client });
await client.headers(token, 'GET', 'https://api.test/');
const warm: boolean = await verifier.warm();
console.log(warm);
