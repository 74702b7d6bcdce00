// The example `mcp`, both behind the guard and on its own, called by the official client of MCP.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  Client, ClientCredentialsProvider, InsufficientScopeError, PrivateKeyJwtProvider, StreamableHTTPClientTransport, UnauthorizedError, auth,
  discoverOAuthProtectedResourceMetadata, extractWWWAuthenticateParams,
} from '@modelcontextprotocol/client';
import { Issuer, claims, mayRevoke } from '../stage/issuer.mjs';
import { freePort } from '../stage/ports.mjs';
import { guardModules, startWorkers } from '../stage/workerd.mjs';

const run = promisify(execFile);
// EDGEPASS_MCP_GUARD is a guard that was built with examples/mcp/guard.toml.
const { EDGEPASS_INSTALLED: installed, EDGEPASS_MCP_GUARD: guard } = process.env;
const root = fileURLToPath(new URL('../..', import.meta.url));
/** A copy of the example, with the package as its users install it. */
const folder = mkdtempSync(join(root, 'target', 'mcp-'));
const bundles = join(folder, 'bundle');

const ROLES = (resource) => ['mcp:tools', 'mcp:tools mcp:admin', 'mcp:other'].map((scopes, i) => `
[[role]]
name = "${['user', 'admin', 'other'][i]}"
audience = "${resource}"
scopes = ${JSON.stringify(scopes.split(' '))}
`).join('');

/** The scripts of the example, as they are deployed. */
const modules = {};

before(async () => {
  cpSync(join(root, 'examples/mcp'), folder, { recursive: true });
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(join(installed, 'node_modules/edgepass'), join(folder, 'node_modules/edgepass'));
  const sessions = fileURLToPath(new URL('mcp-sessions.js', import.meta.url));
  for (const [name, ...argv] of [['index'], ['alone', '--config', 'wrangler.alone.toml'], ['sessions', sessions, '--config', 'wrangler.toml']]) {
    const modulesRoot = join(bundles, name);
    await run(join(root, 'node_modules/.bin/wrangler'), ['deploy', ...argv, '--dry-run', '--outdir', modulesRoot], { cwd: folder });
    const wasm = readdirSync(modulesRoot).filter((file) => file.endsWith('.wasm'));
    modules[name] = {
      modulesRoot,
      modules: [
        { type: 'ESModule', path: join(modulesRoot, readdirSync(modulesRoot).find((file) => file.endsWith('.js'))) },
        ...wasm.map((file) => ({ type: 'CompiledWasm', path: join(modulesRoot, file) })),
      ],
    };
  }
});

after(() => rmSync(folder, { recursive: true, force: true }));

/** Starts an issuer whose tokens are for this resource. The client's first role is `role`. */
const startIssuer = (resource, role) => Issuer.start({
  change: (text) => mayRevoke(text)
    .replace(/\[\[role\]\][\s\S]*(?=# An OAuth client)/, ROLES(resource))
    .replace(/^roles = .*$/m, `roles = ${JSON.stringify([role, 'user', 'admin', 'other'])}`),
});

/** Starts an issuer and the example. */
async function start(t, kind, role = 'user') {
  const port = await freePort();
  const api = `http://127.0.0.1:${port}`;
  const resource = `${api}/mcp`;
  const issuer = await startIssuer(resource, role);
  t.after(() => issuer.remove());
  const socket = { unsafeDirectSockets: [{ host: '127.0.0.1', port }] };
  const bindings = { ISSUER: issuer.url, AUDIENCE: resource, EXTERNAL_URL: api };
  const { stop } = await startWorkers(kind === 'alone'
    ? [{ name: 'mcp', ...modules.alone, ...socket, bindings: { ISSUER: issuer.url, RESOURCE: resource } }]
    : [
      { name: 'guard', ...guardModules(guard), ...socket, bindings, serviceBindings: { ORIGIN: 'mcp' } },
      { name: 'mcp', ...modules[kind === 'guard' ? 'index' : kind], bindings: { RESOURCE: resource },
        ...(kind === 'sessions' && { durableObjects: { SESSIONS: 'Session' } }) },
    ]);
  t.after(stop);
  return { api, issuer, resource };
}

/** Requests a token with a role. */
async function tokenOf(issuer, role) {
  const response = await fetch(`${issuer.url}/oauth/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'client_credentials', client_id: 'example-service', client_secret: issuer.secret, role,
    }),
  });
  const { access_token: token } = await response.json();
  return { token, jti: claims(token).jti };
}

/** Connects. `requests` gets each request and its status. */
async function connect(t, resource, authProvider, mode = 'auto', options = {}) {
  const requests = [];
  const transport = new StreamableHTTPClientTransport(new URL(resource), {
    authProvider, ...options,
    fetch: async (url, init) => {
      const response = await fetch(url, init);
      const headers = new Headers(init?.headers);
      requests.push({ method: init?.method ?? 'GET', url: String(url), headers, status: response.status, type: response.headers.get('content-type') });
      return response;
    },
  });
  const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode } });
  await client.connect(transport);
  t.after(() => client.close());
  return { client, transport, requests };
}

const fixed = (token) => ({ token: async () => token });

/** The SDK's provider for the grant. It finds the issuer by itself. */
const providerOf = (issuer) => new ClientCredentialsProvider({
  clientId: 'example-service', clientSecret: issuer.secret, expectedIssuer: issuer.url,
});

test('the SDK finds the issuer by the challenge alone', async (t) => {
  const { resource, issuer } = await start(t, 'guard');
  assert.equal(await auth(providerOf(issuer), { serverUrl: resource }), 'AUTHORIZED');
});

test('the SDK authenticates with a key, of which the issuer has the public half', async (t) => {
  const { resource, issuer } = await start(t, 'guard');
  await issuer.edgepass('client', 'add', 'bot', '--role', 'user', '--new-key', 'bot.jwk');
  await issuer.edgepass('policy', 'apply');
  const privateKey = JSON.parse(await readFile(join(issuer.folder, 'bot.jwk'), 'utf8'));
  const provider = new PrivateKeyJwtProvider({
    clientId: 'bot', privateKey, algorithm: privateKey.alg, expectedIssuer: issuer.url,
  });
  const { client } = await connect(t, resource, provider);
  assert.ok((await client.listTools()).tools.length > 0);
  assert.equal(claims(provider.tokens().access_token).client_id, 'bot');
});

for (const kind of ['guard', 'alone']) {
  test(`${kind}: a client without a token learns where to get one`, async (t) => {
    const { api, resource, issuer } = await start(t, kind);
    const response = await fetch(resource, { method: 'POST', body: '{}' });
    assert.equal(response.status, 401);
    const found = extractWWWAuthenticateParams(response);
    assert.equal(found.resourceMetadataUrl.href, `${api}/.well-known/oauth-protected-resource/mcp`);
    assert.equal(found.scope, 'mcp:tools');
    // By the URL of the challenge, and by the path alone.
    for (const resourceMetadataUrl of [found.resourceMetadataUrl, undefined]) {
      const metadata = await discoverOAuthProtectedResourceMetadata(resource, { resourceMetadataUrl });
      assert.deepEqual([metadata.resource, metadata.authorization_servers], [resource, [issuer.url]]);
      assert.deepEqual(metadata.scopes_supported, ['mcp:tools']);
    }
  });

  for (const [mode, version] of [['legacy', '2025-11-25'], ['auto', '2026-07-28']]) {
    test(`${kind}: a client gets a token by itself and calls tools (${version})`, async (t) => {
      const { resource, issuer } = await start(t, kind);
      const { client, requests } = await connect(t, resource, providerOf(issuer), mode);
      assert.equal(client.getNegotiatedProtocolVersion(), version);
      const { tools } = await client.listTools();
      assert.deepEqual(tools.map(({ name }) => name), ['list-invoices', 'send-reminders', 'delete-invoice']);
      const { content: [{ text }] } = await client.callTool({ name: 'list-invoices' });
      assert.deepEqual(JSON.parse(text), { client: 'example-service', invoices: [{ id: 1 }] });
      const seen = [];
      const started = performance.now();
      await client.callTool({ name: 'send-reminders', arguments: { count: 3 } }, {
        onprogress: ({ progress }) => seen.push([progress, performance.now() - started]),
      });
      assert.deepEqual(seen.map(([progress]) => progress), [1, 2, 3]);
      assert.ok(seen[2][1] - seen[0][1] > 50, 'the events came one by one');
      const calls = requests.filter(({ url, method }) => url === resource && method === 'POST');
      assert.match(calls.at(-1).type, /^text\/event-stream/);
      assert.equal(calls.at(-1).headers.get('mcp-protocol-version'), version);
      assert.equal(requests.filter(({ status }) => status === 401).length, 1);
    });
  }

  test(`${kind}: a client is told all scopes at once`, async (t) => {
    const { resource, issuer } = await start(t, kind);
    const other = fixed((await tokenOf(issuer, 'other')).token);
    await assert.rejects(connect(t, resource, other), (error) => (
      error instanceof InsufficientScopeError && error.requiredScope === 'mcp:tools'
      && error.resourceMetadataUrl.href.endsWith('/.well-known/oauth-protected-resource/mcp')));
    // A tool that needs more than the route: the MCP server's own challenge reaches the client.
    const user = fixed((await tokenOf(issuer, 'user')).token);
    for (const mode of ['legacy', 'auto']) {
      const { client } = await connect(t, resource, user, mode);
      await assert.rejects(client.callTool({ name: 'delete-invoice' }), (error) => (
        error instanceof InsufficientScopeError && error.requiredScope === 'mcp:tools mcp:admin'
        && error.resourceMetadataUrl.href.endsWith('/.well-known/oauth-protected-resource/mcp')), mode);
    }
  });

  test(`${kind}: a client steps up`, async (t) => {
    const { resource, issuer } = await start(t, kind, 'admin');
    const { client, requests } = await connect(t, resource, providerOf(issuer));
    await client.callTool({ name: 'delete-invoice' });
    assert.equal(requests.filter(({ status }) => status === 403).length, 1);
  });

  test(`${kind}: a revoked token is refused, and the guard ends its streams`, async (t) => {
    const { resource, issuer } = await start(t, kind);
    const { token, jti } = await tokenOf(issuer, 'user');
    const { client } = await connect(t, resource, fixed(token));
    const stream = await client.listen({ toolsListChanged: true });
    assert.ok(await issuer.revoke(jti));
    const from = Date.now();
    const call = () => client.listTools().then(() => undefined, (error) => error);
    let refused;
    while (!(refused = await call())) {
      assert.ok(Date.now() - from < 10_000, 'accepted after the deadline');
      await setTimeout(50);
    }
    t.diagnostic(`refused after ${Date.now() - from} ms`);
    assert.ok(refused instanceof UnauthorizedError, refused);
    // The package judges requests. What is being served goes on, unless the program ends it.
    if (kind === 'alone') return;
    const end = await Promise.race([stream.closed, setTimeout(from + 10_000 - Date.now(), 'open')]);
    t.diagnostic(`stream: ${end} after ${Date.now() - from} ms`);
    assert.equal(end, 'remote');
  });
}

test('a client with credentials replaces a revoked token by itself', async (t) => {
  const { resource, issuer } = await start(t, 'guard');
  const provider = providerOf(issuer);
  const { client } = await connect(t, resource, provider);
  const { access_token: first } = provider.tokens();
  assert.ok(await issuer.revoke(claims(first).jti));
  for (const from = Date.now(); provider.tokens().access_token === first; await setTimeout(50)) {
    assert.ok(Date.now() - from < 10_000);
    await client.listTools();
  }
});

test('a session passes the guard', async (t) => {
  const { resource, issuer } = await start(t, 'sessions');
  const { token } = await tokenOf(issuer, 'user');
  const { client, transport, requests } = await connect(t, resource, fixed(token), 'legacy');
  const id = transport.sessionId;
  assert.match(id, /^[0-9a-f]{64}$/);
  assert.equal((await client.listTools()).tools.length, 3);
  const listening = () => requests.find(({ method }) => method === 'GET');
  while (!listening()) await setTimeout(20);
  assert.deepEqual([listening().status, listening().type], [200, 'text/event-stream']);
  await transport.terminateSession();
  assert.deepEqual([requests.at(-1).method, requests.at(-1).status], ['DELETE', 200]);
  for (const { headers } of requests.slice(1)) assert.equal(headers.get('mcp-session-id'), id);
  const headers = { authorization: `Bearer ${token}`, 'mcp-session-id': id };
  assert.equal((await fetch(resource, { method: 'POST', headers, body: '{}' })).status, 404);
});
