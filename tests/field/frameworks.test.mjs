// The package in the servers that people write: Node.js and its frameworks, with the issuer of
// edgepass/testing. Real frameworks, real sockets.
//
// EDGEPASS_INSTALLED is a folder with the installed package.

import assert from 'node:assert/strict';
import { createServer, request as httpRequest } from 'node:http';
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2';
import { createRequire } from 'node:module';
import { copyFileSync, mkdtempSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { pathToFileURL } from 'node:url';
import { serve } from '@hono/node-server';
import express from 'express';
import fastify from 'fastify';
import { Hono } from 'hono';
import Koa from 'koa';
import { startWorkers } from '../stage/workerd.mjs';

const installed = process.env.EDGEPASS_INSTALLED;
const require = createRequire(join(installed, 'anything.js'));
const load = (name) => import(pathToFileURL(join(installed, 'node_modules/edgepass/dist/lib', `${name}.js`)));
const { Verifier } = await load('inline');
const { TestClient, TestIssuer } = await load('testing');
const { fromNode, send } = await load('node');

const PUBLIC = 'https://api.test';
const issuer = await TestIssuer.create();
const makeVerifier = (more = {}) => Verifier.create({ ...issuer.options(), externalUrl: PUBLIC, ...more });
const verifier = makeVerifier();
const REQUIRED = { allOf: ['invoices:read'] };
const whoIs = (verdict) => ({ client: verdict.claims.client_id, tenant: verdict.claims.tenant });

const closing = [];
after(async () => { for (const close of closing) await close(); });
async function listening(server) {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => new Promise((resolve) => { server.close(resolve); server.closeAllConnections?.(); }));
  return server.address().port;
}

/** Each server answers GET and POST /invoices, and /under/invoices where the framework mounts. */
const SERVERS = {
  async 'node:http'() {
    return listening(createServer(async (request, response) => {
      const verdict = await verifier.verify(fromNode(request), REQUIRED);
      if (!verdict.accepted) return send(response, verdict);
      response.setHeader('content-type', 'application/json').end(JSON.stringify(whoIs(verdict)));
    }));
  },
  async 'Express 5'() {
    const { protect } = await load('express');
    const app = express();
    const guard = protect(verifier, REQUIRED);
    const handler = (request, response) => response.json(whoIs(request.edgepass));
    app.all('/invoices', guard, handler);
    const router = express.Router();
    router.use(guard);
    router.all('/invoices', handler);
    app.use('/under', router);
    return listening(createServer(app));
  },
  async 'Express 5, by require'() {
    const { protect } = require('edgepass/express');
    const common = require('edgepass').Verifier.create({ ...issuer.options(), externalUrl: PUBLIC });
    const app = express();
    app.all('/invoices', protect(common, REQUIRED), (request, response) => { response.json(whoIs(request.edgepass)); });
    return listening(createServer(app));
  },
  async 'Fastify 5'() {
    const { protect } = await load('fastify');
    const app = fastify({ rewriteUrl: (request) => request.url.replace('/under/', '/') });
    app.route({
      method: ['GET', 'POST'], url: '/invoices', onRequest: protect(verifier, REQUIRED),
      handler: async (request) => whoIs(request.edgepass),
    });
    await app.listen({ port: 0, host: '127.0.0.1' });
    closing.push(() => app.close());
    return app.server.address().port;
  },
  async 'Koa 3'() {
    const { protect } = await load('koa');
    const app = new Koa();
    app.use(protect(verifier, REQUIRED));
    app.use((context) => { context.body = whoIs(context.state.edgepass); });
    return listening(createServer(app.callback()));
  },
  async 'Hono on Node.js'() {
    const { protect } = await load('hono');
    const app = new Hono();
    app.all('/invoices', protect(verifier, REQUIRED), (context) => context.json(whoIs(context.var.edgepass)));
    const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' });
    await new Promise((resolve) => server.once('listening', resolve));
    closing.push(() => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); }));
    return server.address().port;
  },
};

/** Sends a request whose fields may repeat. Resolves to status, fields and body. */
function call(port, { path = '/invoices', method = 'GET', headers = [], body } = {}) {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ port, host: '127.0.0.1', path, method, setDefaultHeaders: false, headers: ['host', 'elsewhere.example', ...headers] }, async (response) => {
      let text = '';
      for await (const chunk of response) text += chunk;
      resolve({ status: response.statusCode, headers: response.headers, text, json: () => JSON.parse(text) });
    });
    request.on('error', reject).end(body);
  });
}
const bearer = (token) => ['authorization', `Bearer ${token}`];

for (const [name, start] of Object.entries(SERVERS)) {
  test(`${name}: good, missing, short of scope, revoked, twice, bound to a key`, async () => {
    const port = await start();
    const token = await issuer.token({ scope: 'invoices:read', tenant: 'acme' });
    const good = await call(port, { headers: bearer(token) });
    assert.deepEqual([good.status, good.json()], [200, { client: 'test-client', tenant: 'acme' }]);
    // A POST with a body: the middleware leaves the body alone.
    const posted = await call(port, { method: 'POST', headers: [...bearer(token), 'content-type', 'text/plain', 'content-length', '2'], body: 'hi' });
    assert.equal(posted.status, 200);

    const missing = await call(port);
    assert.deepEqual([missing.status, missing.json().code], [401, 'token_missing']);
    assert.match(missing.headers['www-authenticate'], /^Bearer realm="edgepass", scope="invoices:read"/);
    assert.equal(missing.headers['content-type'], 'application/problem+json');
    assert.equal(missing.headers['cache-control'], 'no-store');
    const short = await call(port, { headers: bearer(await issuer.token({ scope: 'invoices:write' })) });
    assert.deepEqual([short.status, short.json().code], [403, 'scope_insufficient']);
    // Node.js itself hides a second `Authorization`.
    const twice = await call(port, { headers: [...bearer(token), ...bearer('x.y.z')] });
    assert.deepEqual([twice.status, twice.json().code], [400, 'request_invalid']);
    const head = await call(port, { method: 'HEAD' });
    assert.equal(head.text, '');

    const client = await TestClient.create();
    const bound = await issuer.token({ scope: 'invoices:read' }, { boundTo: client });
    const proved = async (path, url = `${PUBLIC}${path}`) => {
      const { authorization, dpop } = await client.headers(bound, 'GET', url);
      const { status, text } = await call(port, { path, headers: ['authorization', authorization, 'dpop', dpop] });
      return [status, JSON.parse(text).code];
    };
    // The proof names the public URL, with the path as it came, not as a framework rewrote it.
    assert.deepEqual(await proved('/invoices?page=2'), [200, undefined]);
    assert.deepEqual(await proved('/invoices', 'https://elsewhere.example/invoices'), [401, 'dpop_proof_invalid']);
    if (/Express 5$|Fastify/.test(name)) assert.deepEqual(await proved('/under/invoices'), [200, undefined]);
    const bare = await call(port, { headers: bearer(bound) });
    assert.deepEqual([bare.status, bare.json().code], [401, 'binding_mismatch']);

    issuer.revoke(token);
    const revoked = await call(port, { headers: bearer(token) });
    assert.deepEqual([revoked.status, revoked.json().code], [401, 'token_revoked']);
  });
}

test('request targets of every form are read without an error', async () => {
  const port = await SERVERS['node:http']();
  for (const target of ['//evil.example/x', '/a%zz', '/%', '*', 'http://other.example/invoices', 'http://[::1', '/..//../', '/?a#b', '/\\x']) {
    const method = target === '*' ? 'OPTIONS' : 'GET';
    const answer = await new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => socket.end(`${method} ${target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`));
      let text = '';
      socket.on('data', (chunk) => { text += chunk; }).on('end', () => resolve(text)).on('error', reject);
    });
    assert.match(answer, /^HTTP\/1.1 40[01] /, target);
  }
});

test('HTTP/2 requests of Node.js are read as those of HTTP/1.1', async () => {
  const server = createHttp2Server(async (request, response) => {
    const verdict = await verifier.verify(fromNode(request), REQUIRED);
    if (!verdict.accepted) return send(response, verdict);
    response.end(verdict.claims.client_id);
  });
  const port = await listening(server);
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  const ask = (headers) => new Promise((resolve, reject) => {
    const stream = session.request({ ':path': '/invoices', ...headers });
    let status; let text = '';
    stream.on('response', (fields) => { status = fields[':status']; }).on('error', reject);
    stream.on('data', (chunk) => { text += chunk; }).on('end', () => resolve([status, text])).end();
  });
  const token = await issuer.token({ scope: 'invoices:read' });
  assert.deepEqual(await ask({ authorization: `Bearer ${token}` }), [200, 'test-client']);
  assert.equal((await ask({}))[0], 401);
  await new Promise((resolve) => session.close(resolve));
});

test('an error of the verifier goes to the error handler of the framework', async () => {
  const { protect } = await load('express');
  const app = express();
  app.get('/', protect(verifier, { allOf: [] }), () => {});
  app.use((error, _request, response, _next) => response.status(500).json({ message: error.message }));
  const port = await listening(createServer(app));
  const { status, text } = await call(port, { path: '/' });
  assert.equal(status, 500);
  assert.match(JSON.parse(text).message, /must not be empty/);
});

test('a cookie is read from the fields of Node.js, with the rule against other sites', async () => {
  const cookies = makeVerifier({ tokenFrom: ['authorization', 'cookie:session'] });
  const port = await listening(createServer(async (request, response) => {
    const verdict = await cookies.verify(fromNode(request), REQUIRED);
    response.end(verdict.code ?? 'accepted');
  }));
  const token = await issuer.token({ scope: 'invoices:read' });
  const said = async (headers, method = 'GET') => (await call(port, { headers, method })).text;
  assert.equal(await said(['cookie', 'a=b', 'cookie', `session=${token}`]), 'accepted');
  assert.equal(await said(['cookie', `session=${token}`], 'POST'), 'cross_site_request');
  assert.equal(await said(['cookie', `session=${token}`, 'sec-fetch-site', 'same-origin'], 'POST'), 'accepted');
  assert.equal(await said(['cookie', `session=${token}`, 'origin', PUBLIC], 'POST'), 'accepted');
  assert.equal(await said([...bearer(token), 'cookie', `session=${token}`]), 'request_invalid');
});

test('the test issuer: keys rotate, tokens are suspended and resumed, claims and header are replaced', async () => {
  const own = await TestIssuer.create({ issuer: 'https://auth.test/tenant', audience: ['a', 'b'] });
  const judge = Verifier.create(own.options());
  const verify = async (token) => (await judge.verify(token)).code;
  const token = await own.token({ scope: 'x' });
  assert.equal(await verify(token), null);
  assert.equal((await judge.verify(token)).stale, false);
  own.suspend(token);
  assert.equal(await verify(token), 'token_suspended');
  own.resume(token);
  assert.equal(await verify(token), null);
  assert.equal(await verify(await own.token({ aud: 'c' })), 'audience_mismatch');
  assert.equal(await verify(await own.token({ exp: 1000, iat: 900 })), 'token_expired');
  assert.equal(await verify(await own.token({ jti: undefined })), 'claim_missing');
  assert.equal(await verify(await own.token({}, { header: { typ: 'JWT' } })), 'typ_not_accepted');
  await own.rotate();
  const later = Verifier.create(own.options());
  assert.equal((await later.verify(token)).code, null);
  assert.equal((await later.verify(await own.token())).code, null);
  await own.rotate({ keep: false });
  assert.equal((await Verifier.create(own.options()).verify(token)).code, 'key_not_found');
  assert.throws(() => own.revoke('x.e30.y'), /no status/);
  // 10,000 tokens, one of them revoked.
  const many = await Promise.all(Array.from({ length: 200 }, () => own.token()));
  own.revoke(many[77]);
  const codes = await Promise.all(many.map((one) => Verifier.create(own.options()).verify(one)));
  assert.deepEqual(codes.flatMap((verdict, at) => (verdict.accepted ? [] : [[at, verdict.code]])), [[77, 'token_revoked']]);
});

test('warm: keys are there before the first token; if not, an event and a cause say why', async () => {
  const own = await TestIssuer.create();
  const events = [];
  const options = { ...own.options(), onEvent: (event) => events.push(event) };
  const judge = Verifier.create(options);
  assert.equal(await judge.warm(), true);
  assert.equal(own.requests, 2, 'metadata and JWK Set');
  assert.equal(await judge.warm(), true);
  assert.equal((await judge.verify(await own.token())).accepted, true);
  assert.deepEqual(events, []);

  own.down = true;
  const cold = Verifier.create(options);
  assert.equal(await cold.warm(), false);
  const refused = await cold.verify(await own.token());
  assert.equal(refused.code, 'keys_unavailable');
  assert.deepEqual(refused.cause, { document: 'metadata', reason: 'unreachable' });
  assert.equal(events[0].type, 'refused');
  assert.equal(events[0].document, 'metadata');
  assert.equal(events[0].url, 'https://issuer.test/.well-known/oauth-authorization-server');
  assert.match(events[0].error.message, /down/);
  // What a hook throws changes nothing.
  const throwing = Verifier.create({ ...own.options(), onEvent: () => { throw new Error('x'); } });
  assert.equal((await throwing.verify(await own.token())).code, 'keys_unavailable');
});

/** Why a fetch failed, as a verifier of the real network says. */
async function causeOf(jwks, more = {}) {
  const own = await TestIssuer.create();
  const judge = Verifier.create({
    issuer: own.issuer, audience: own.audience, jwks, status: { mode: 'ignore' },
    freshness: { deadline: '10s', fetchTimeout: '1500ms' }, ...more,
  });
  const { code, cause } = await judge.verify(await own.token());
  assert.equal(code, 'keys_unavailable');
  return cause;
}

test('the cause tells DNS, connection, TLS, timeout and status apart', async (t) => {
  const { createServer: createTls } = await import('node:https');
  const { execFileSync } = await import('node:child_process');
  const folder = mkdtempSync(join(tmpdir(), 'edgepass-tls-'));
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'key.pem', '-out', 'cert.pem', '-days', '2', '-subj', '/CN=127.0.0.1'], { cwd: folder, stdio: 'ignore' });
  const tls = await listening(createTls({ key: readFileSync(join(folder, 'key.pem')), cert: readFileSync(join(folder, 'cert.pem')) }, (_, response) => response.end('{}')));
  const answering = await listening(createServer((request, response) => {
    if (request.url === '/slow') return;
    if (request.url === '/broken') return request.socket.destroy();
    if (request.url === '/age') return response.setHeader('age', 'old').end('{"keys":[]}');
    response.statusCode = request.url === '/ok' ? 200 : 503;
    response.end('no JSON');
  }));
  const closed = await listening(createServer());
  await closing.pop()();
  const local = (path) => `http://127.0.0.1:${answering}${path}`;
  const jwk = (reason, status) => ({ document: 'jwk_set', reason, ...status && { status } });
  assert.deepEqual(await causeOf('https://no-such-host.invalid/jwks'), jwk('dns'));
  assert.deepEqual(await causeOf(`http://127.0.0.1:${closed}/`), jwk('connection'));
  assert.deepEqual(await causeOf(local('/broken')), jwk('connection'));
  assert.deepEqual(await causeOf(`https://127.0.0.1:${tls}/`), jwk('tls'));
  assert.deepEqual(await causeOf(local('/slow')), jwk('timeout'));
  assert.deepEqual(await causeOf(local('/gone')), jwk('status', 503));
  assert.deepEqual(await causeOf(local('/ok')), jwk('malformed'));
  assert.deepEqual(await causeOf(local('/age')), jwk('age'));
  // A list that a cache kept for too long.
  const own = await TestIssuer.create();
  const judge = Verifier.create({
    ...own.options(), freshness: undefined,
    fetch: async (url) => {
      const response = await own.fetch(url);
      if (url.includes('statuslists')) response.headers.set('age', '5000');
      return response;
    },
  });
  const { code, cause } = await judge.verify(await own.token());
  assert.deepEqual([code, cause], ['status_unavailable', { document: 'status_list', reason: 'too_old' }]);
  t.diagnostic('seven causes over the network, one through a cache');
});

test('a string that begins or ends in white space is told so', async () => {
  const token = await issuer.token({ scope: 'invoices:read' });
  for (const padded of [`${token}\n`, ` ${token}`, `${token}\r\n`]) {
    const { code, message } = await verifier.verify(padded);
    assert.deepEqual([code, message], ['token_malformed', 'the token begins or ends in white space']);
  }
});

test('Hono in workerd passes its waitUntil, and the test issuer works there', async (t) => {
  const source = `
    import { Hono } from 'hono';
    import { Verifier } from 'edgepass';
    import { protect } from 'edgepass/hono';
    import { TestIssuer } from 'edgepass/testing';
    let ready;
    const app = new Hono();
    app.get('/token', async (context) => {
      ready ??= TestIssuer.create().then((issuer) => ({ issuer, verifier: Verifier.create(issuer.options()) }));
      return context.text(await (await ready).issuer.token({ scope: context.req.query('scope') }));
    });
    app.get('/invoices', async (context, next) => protect((await ready).verifier, { allOf: ['invoices:read'] })(context, next),
      (context) => context.text(context.var.edgepass.claims.sub));
    export default app;`;
  const url = await bundled(t, source);
  const ask = async (path, token) => {
    const response = await fetch(new URL(path, url), { headers: token ? { authorization: `Bearer ${token}` } : {} });
    return [response.status, await response.text()];
  };
  const [, token] = await ask('/token?scope=invoices:read');
  assert.deepEqual(await ask('/invoices', token), [200, 'test-subject']);
  const [, other] = await ask('/token?scope=other');
  assert.equal((await ask('/invoices', other))[0], 403);
  assert.equal((await ask('/invoices'))[0], 401);
});

/** Bundles a Worker as wrangler does, and starts it in workerd. Resolves to its URL. */
async function bundled(t, contents) {
  const { build } = await import('esbuild');
  const folder = mkdtempSync(join(tmpdir(), 'edgepass-worker-'));
  await build({
    stdin: { contents, resolveDir: installed, sourcefile: 'worker.js' }, outfile: join(folder, 'worker.js'), bundle: true, format: 'esm',
    conditions: ['workerd', 'worker', 'browser'], nodePaths: [join(import.meta.dirname, '../../node_modules')],
    plugins: [{
      name: 'wasm', setup: (made) => made.onResolve({ filter: /\.wasm$/ }, ({ path, resolveDir }) => {
        copyFileSync(join(resolveDir, path), join(folder, 'edgepass.wasm'));
        return { path: './edgepass.wasm', external: true };
      }),
    }],
  });
  const workers = await startWorkers([{
    name: 'hono', modulesRoot: folder,
    modules: [{ type: 'ESModule', path: join(folder, 'worker.js') }, { type: 'CompiledWasm', path: join(folder, 'edgepass.wasm') }],
  }]);
  t.after(() => workers.stop());
  return workers.url;
}
