// The guard with the paths, clients, pages and places of tokens that other APIs have, in workerd.
//
// EDGEPASS_FIELD_GUARD is a build of the guard with the policy guard.toml beside this file.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { issuer } from '../hosts/issuer.mjs';
import { LogLevel, guardModules, startWorkers } from '../stage/workerd.mjs';

const build = process.env.EDGEPASS_FIELD_GUARD;
const run = promisify(execFile);
const EXTERNAL_URL = 'https://api.example';

const ORIGIN = `export default { async fetch(request) {
  if (request.headers.get('upgrade') === 'websocket') {
    const [client, server] = Object.values(new WebSocketPair());
    server.accept();
    server.send(JSON.stringify([...request.headers]));
    const protocol = request.headers.get('sec-websocket-protocol');
    const headers = protocol ? { 'sec-websocket-protocol': protocol.split(',')[0] } : {};
    return new Response(null, { status: 101, webSocket: client, headers });
  }
  const headers = { 'access-control-allow-origin': 'https://of-the-origin.example', 'x-origin': 'yes' };
  const seen = {
    method: request.method, url: request.url, headers: Object.fromEntries(request.headers), body: await request.text(),
  };
  if (request.method === 'OPTIONS') globalThis.preflight = seen;
  return Response.json(new URL(request.url).pathname === '/last-preflight' ? globalThis.preflight : seen, { headers });
} };`;

/** Starts a guard. `ask` sends a request and returns the status, the body and the headers. */
async function start(t, more = {}) {
  const own = await issuer(t, 'p256');
  const trusted = { ...own.trusted, profile: 'jwt', typ: 'at+jwt' };
  const { url, stop } = await startWorkers([
    {
      name: 'guard', ...guardModules(build), serviceBindings: { ORIGIN: 'origin' },
      ratelimits: { LIMITER: { namespace_id: '1', simple: { limit: 3, period: 60 } } },
      bindings: { ISSUERS: [trusted], EXTERNAL_URL }, ...more,
    },
    { name: 'origin', modules: true, script: ORIGIN },
  ]);
  t.after(stop);
  const token = (claims = {}) => own.token({ scope: 'read', ...claims });
  const ask = async (path, { headers = {}, ...init } = {}) => {
    const response = await fetch(new URL(url).origin + path, { redirect: 'manual', headers, ...init });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text && JSON.parse(text) };
  };
  const bearer = (claims) => ({ authorization: `Bearer ${token(claims)}` });
  return { url, own, token, ask, bearer };
}

/** Sends octets as they are, and returns the response's head and body. */
const raw = (url, text) => new Promise((resolve, reject) => {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname, () => socket.write(text));
  let received = '';
  socket.setTimeout(10_000, () => reject(new Error(`no response to ${text}`)));
  socket.on('data', (data) => {
    received += data;
    // The response proper comes after an interim one.
    const last = received.replace(/^HTTP\/1.1 100[\s\S]*?\r\n\r\n/, '');
    if (/^HTTP\/1.1 [\s\S]*\r\n\r\n/.test(last)) { socket.destroy(); resolve(last); }
  });
  socket.on('error', reject);
  socket.on('end', () => resolve(received));
});

test('paths with escapes reach their routes, and the origin gets them as they came', async (t) => {
  const { url, token } = await start(t);
  const get = async (path) => {
    const answer = await raw(url, `GET ${path} HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer ${token()}\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n`);
    return { status: Number(answer.slice(9, 12)), text: answer };
  };
  for (const path of [
    '/reports/a~b', '/reports/a%7Eb', '/reports/a%2Db', '/reports/report%2Epdf', '/reports/100%25', '/reports/x%20y',
    '/reports/caf%C3%A9', '/reports/Products(1)?$filter=a%20eq%201', '/packages/%40scope%2fname', '/packages/group%2Fproject',
    '/packages/https%3A%2F%2Fexample.com%2Fa',
  ]) {
    const { status, text } = await get(path);
    assert.equal(status, 200, `${path}: ${text}`);
  }
  for (const [path, says] of [
    ['/reports/%40scope%2fname', 'an escaped slash (a route allows it by encoded_slash = \\"pass\\"), at byte 17'],
    ['/reports/a;v=1', 'octet 0x3B is not escaped, at byte 10'], ['/reports/[1]', 'octet 0x5B is not escaped, at byte 9'],
    ['/reports/a|b', 'octet 0x7C'], ['/reports/%252e', 'an escape within an escape'], ['/packages/..%2Fx', 'a dot segment'],
    ['/packages/x%5Cy', 'octet 0x5C is escaped'],
  ]) {
    const { status, text } = await get(path);
    assert.equal(status, 400, path);
    assert.ok(text.includes(says) || (await get(path)).text.includes(says), `${path}: ${text}`);
  }
});

test('the origin gets the octets of a path', async (t) => {
  const { ask, bearer } = await start(t);
  for (const path of ['/reports/a%7Eb', '/reports/a%2Db', '/packages/group%2Fproject', '/reports/100%25']) {
    const { status, body } = await ask(path, { headers: bearer() });
    assert.deepEqual([status, new URL(body.url).pathname], [200, path]);
  }
});

test('a body that is announced and empty is no body', async (t) => {
  const { url, token } = await start(t);
  const auth = `Authorization: Bearer ${token()}\r\n`;
  const chunked = 'Transfer-Encoding: chunked\r\n';
  for (const [name, head, body, status] of [
    ['GET, length 0', `GET /reports/x HTTP/1.1\r\n${auth}Content-Length: 0\r\n`, '', 200],
    ['HEAD, length 0', `HEAD /reports/x HTTP/1.1\r\n${auth}Content-Length: 0\r\n`, '', 200],
    ['public GET, length 0', 'GET /health HTTP/1.1\r\nContent-Length: 0\r\n', '', 200],
    ['GET, length 0 and a type', `GET /reports/x HTTP/1.1\r\n${auth}Content-Length: 0\r\nContent-Type: application/json\r\n`, '', 200],
    ['GET, empty chunked body', `GET /reports/x HTTP/1.1\r\n${auth}${chunked}`, '0\r\n\r\n', 200],
    ['HEAD, empty chunked body', `HEAD /reports/x HTTP/1.1\r\n${auth}${chunked}`, '0\r\n\r\n', 200],
    ['GET with a body', `GET /reports/x HTTP/1.1\r\n${auth}Content-Length: 1\r\n`, 'x', 400],
    ['GET with a chunked body', `GET /reports/x HTTP/1.1\r\n${auth}${chunked}`, '1\r\nx\r\n0\r\n\r\n', 400],
    ['POST, length 0', `POST /reports/x HTTP/1.1\r\n${auth}Content-Length: 0\r\n`, '', 200],
    ['POST, empty chunked body', `POST /reports/x HTTP/1.1\r\n${auth}${chunked}`, '0\r\n\r\n', 200],
    ['Expect', `POST /reports/x HTTP/1.1\r\n${auth}Expect: 100-continue\r\nContent-Length: 1\r\n`, 'x', 200],
    // Clients over clear HTTP/1.1 that know HTTP/2, such as Java's and curl's.
    ['an offer of h2c', `GET /reports/x HTTP/1.1\r\n${auth}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n`, '', 200],
  ]) {
    const answer = await raw(url, `${head}Host: api.example\r\nAccept-Encoding: identity\r\n\r\n${body}`);
    assert.equal(Number(answer.slice(9, 12)), status, `${name}: ${answer}`);
  }
});

test('a token in the query is in no log and no refusal', async (t) => {
  const logged = [];
  const own = await issuer(t, 'p256');
  const trusted = { ...own.trusted, profile: 'jwt', typ: 'at+jwt' };
  // An origin that cannot be reached, and keys that cannot be had.
  const bindings = { ISSUERS: [trusted], EXTERNAL_URL, ORIGIN_URL: 'http://127.0.0.1:9' };
  const away = { ...bindings, ISSUERS: [{ ...trusted, jwks_uri: 'http://127.0.0.1:9/keys' }] };
  const said = [];
  const parts = [];
  const ratelimits = { LIMITER: { namespace_id: '1', simple: { limit: 3, period: 60 } } };
  for (const settings of [bindings, away]) {
    const guard = { name: 'guard', ...guardModules(build), ratelimits, bindings: settings };
    const { url, stop } = await startWorkers([guard], { log: (message) => logged.push(message), level: LogLevel.NONE });
    t.after(stop);
    const good = own.token({ scope: 'read' });
    for (const token of [good, own.token({ scope: 'other' }), own.token({ scope: 'read', exp: 1 }), `${good}x`, 'not-a-token-but-a-secret-text']) {
      parts.push(...token.split('.').filter((part) => part.length > 16));
      const response = await fetch(`${new URL(url).origin}/download?a=1&access_token=${token}`);
      said.push(await response.text(), ...[...response.headers].flat());
      assert.notEqual(response.status, 200);
    }
  }
  assert.ok(said.some((text) => text.includes('origin_unavailable')) && said.some((text) => text.includes('keys_unavailable')), said.join());
  assert.ok(logged.length > 0, 'nothing was logged, so nothing is shown');
  for (const part of parts) {
    assert.equal([...logged, ...said].find((text) => text.includes(part)), undefined, part);
  }
});

test('clients as they are installed reach the origin, with and without a body', async (t) => {
  const { url, token } = await start(t);
  const at = `${new URL(url).origin}/reports/x`;
  const auth = `Authorization: Bearer ${token()}`;
  const curl = async (...more) => (await run('curl', ['-s', '-o', '/dev/null', '-w', '%{http_code}', '-H', auth, ...more, at])).stdout;
  const folder = await mkdtemp(join(tmpdir(), 'edgepass-clients-'));
  t.after(() => rm(folder, { recursive: true }));
  const large = join(folder, 'body');
  await writeFile(large, 'x'.repeat(2 << 20));
  for (const more of [
    [], ['--head'], ['--http2'], ['--http1.0'], ['-X', 'GET', '-H', 'Content-Length: 0'], ['-d', ''], ['-d', 'x'],
    ['-H', 'Transfer-Encoding: chunked', '-d', 'x'], ['--compressed'],
    // So long a body waits for `100 Continue`.
    ['--data-binary', `@${large}`, '-H', 'Expect: 100-continue'],
  ]) {
    assert.equal(await curl(...more), '200', `curl ${more.join(' ')}`);
  }
  const python = `
import http.client, sys, urllib.parse, urllib.request
url, token = sys.argv[1:]
headers = {"Authorization": "Bearer " + token}
place = urllib.parse.urlsplit(url)
def ask(method, body=None, more={}, chunked=False):
    connection = http.client.HTTPConnection(place.netloc)
    connection.request(method, place.path, body, {**headers, **more}, encode_chunked=chunked)
    return connection.getresponse().status
print(ask("GET"), ask("HEAD"), ask("GET", b""), ask("POST", b""), ask("POST"), ask("POST", b"x"),
      ask("POST", iter([b"x", b"y"]), {"Transfer-Encoding": "chunked"}, True),
      urllib.request.urlopen(urllib.request.Request(url, headers=headers)).status,
      urllib.request.urlopen(urllib.request.Request(url, b"", headers=headers)).status)
`;
  const { stdout } = await run('python3', ['-c', python, at, token()]);
  assert.deepEqual(stdout.trim().split(' '), Array(9).fill('200'));
  const node = (method, headers, body) => new Promise((resolve, reject) => {
    const asking = request(at, { method, headers: { authorization: `Bearer ${token()}`, ...headers } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    asking.on('error', reject).end(body);
  });
  for (const [method, headers, body] of [
    ['GET', {}], ['GET', { 'content-length': 0 }], ['HEAD', {}], ['POST', {}], ['POST', {}, 'x'], ['POST', { expect: '100-continue' }, 'x'],
  ]) {
    assert.equal(await node(method, headers, body), 200, `node:http ${method} ${JSON.stringify(headers)}`);
  }
});

test('a token is taken from the place that its route names, and from no other', async (t) => {
  const { ask, token, bearer } = await start(t);
  const good = token();
  for (const [path, headers, status, code] of [
    ['/access', { 'cf-access-jwt-assertion': good }, 200],
    ['/access', { 'cf-access-jwt-assertion': good, authorization: 'Basic dTpw' }, 200],
    ['/access', bearer(), 401, 'token_missing'],
    ['/access', { 'cf-access-jwt-assertion': `Bearer ${good}` }, 200],
    ['/access', { 'cf-access-jwt-assertion': `Basic ${good}` }, 400, 'request_invalid'],
    ['/page', { cookie: `a=1; session=${good}; b=2` }, 200],
    ['/page', { cookie: `session=${good}`, ...bearer() }, 400, 'request_invalid'],
    ['/page', { cookie: `session=${good}; session=x` }, 400, 'request_invalid'],
    ['/page', bearer(), 200],
    [`/download?a=1&access_token=${good}`, {}, 200],
    [`/download?access_token=${good}&access_token=x`, {}, 400, 'request_invalid'],
    ['/download', bearer(), 401, 'token_missing'],
    [`/reports/x?access_token=${good}`, {}, 401, 'token_missing'],
    ['/reports/link?access_token=EAAB', bearer(), 200],
    [`/reports/x`, { cookie: `session=${good}` }, 401, 'token_missing'],
  ]) {
    const answer = await ask(path, { headers });
    assert.deepEqual([answer.status, answer.body.code], [status, code], `${path} ${Object.keys(headers)}`);
    if (status !== 200) continue;
    // What held the token does not reach the origin; the rest does.
    assert.ok(!JSON.stringify(answer.body).includes(good), path);
    if (headers.authorization?.startsWith('Basic')) assert.equal(answer.body.headers.authorization, 'Basic dTpw');
    if (headers.cookie) assert.equal(answer.body.headers.cookie, 'a=1; b=2');
    if (path.startsWith('/download')) assert.equal(new URL(answer.body.url).search, '?a=1');
    if (path.endsWith('EAAB')) assert.equal(new URL(answer.body.url).search, '?access_token=EAAB');
  }
  const forwarded = await ask(`/forwarding?access_token=${good}&x`, {});
  assert.equal(new URL(forwarded.body.url).search, `?access_token=${good}&x`);
  const only = await ask('/page', { headers: { cookie: `session=${good}` } });
  assert.equal(only.body.headers.cookie, undefined);
});

test('a cookie counts only where no page of another site can have sent it', async (t) => {
  const { ask, token } = await start(t);
  const cookie = `session=${token()}`;
  for (const [method, headers, status] of [
    ['GET', {}, 200], ['GET', { 'sec-fetch-site': 'cross-site' }, 200], ['POST', {}, 403],
    ['POST', { 'sec-fetch-site': 'same-origin' }, 200], ['POST', { 'sec-fetch-site': 'same-site' }, 403],
    ['POST', { 'sec-fetch-site': 'cross-site', origin: EXTERNAL_URL }, 403], ['POST', { origin: EXTERNAL_URL }, 200],
    ['POST', { origin: 'https://evil.example' }, 403], ['POST', { origin: 'null' }, 403],
  ]) {
    const answer = await ask('/page', { method, headers: { cookie, ...headers } });
    assert.equal(answer.status, status, `${method} ${JSON.stringify(headers)}`);
    if (status === 403) assert.equal(answer.body.code, 'cross_site_request');
  }
});

/** Opens a socket. Resolves to the first message and the chosen protocol, or to `undefined`. */
const opened = (url, path, protocols, headers = {}) => new Promise((resolve) => {
  const socket = new WebSocket(new URL(path, url).href.replace('http', 'ws'), { protocols, headers });
  socket.onmessage = ({ data }) => { resolve({ told: JSON.parse(data), protocol: socket.protocol }); socket.close(); };
  socket.onerror = () => resolve(undefined);
});

test('a subprotocol carries the token of a socket, and the rest is negotiated', async (t) => {
  const { url, token } = await start(t);
  const good = token();
  const { told, protocol } = await opened(url, '/socket', ['chat', `bearer.${good}`, 'v2']);
  assert.equal(protocol, 'chat');
  assert.equal(new Map(told).get('sec-websocket-protocol'), 'chat, v2');
  assert.ok(!JSON.stringify(told).includes(good));
  for (const protocols of [['chat'], ['chat', 'bearer.x'], [`bearer.${good}`, `bearer.${good}x`]]) {
    assert.equal(await opened(url, '/socket', protocols), undefined, String(protocols).slice(0, 20));
  }
  // A page of another site cannot open a socket with the cookie of its visitor.
  const cookie = `session=${good}`;
  assert.ok(await opened(url, '/page', [], { cookie, origin: EXTERNAL_URL }));
  for (const headers of [{ cookie }, { cookie, origin: 'https://evil.example' }]) {
    assert.equal(await opened(url, '/page', [], headers), undefined);
  }
});

test('apps and previews are pages, and an origin may answer preflights itself', async (t) => {
  const { ask, bearer } = await start(t);
  const preflight = (path, origin, method) => ask(path, {
    method: 'OPTIONS', headers: { origin, 'access-control-request-method': method, 'access-control-request-headers': 'authorization' },
  });
  for (const [origin, allowed] of [
    ['tauri://localhost', true], ['https://pr-7.app.example', true], ['https://pr-.app.example', false],
    ['https://pr-7.x.app.example', false], ['https://app.example', false], ['null', false],
  ]) {
    const { status, headers } = await preflight('/apps', origin, 'POST');
    assert.deepEqual([status, headers.get('access-control-allow-origin')], [204, allowed ? origin : null], origin);
    const answer = await ask('/apps', { headers: { ...bearer(), origin } });
    assert.deepEqual([answer.status, answer.headers.get('access-control-allow-origin')], [200, allowed ? origin : null]);
  }
  const asked = await preflight('/own-cors', 'https://app.example', 'PUT');
  // The origin answers, but with its status and its headers of CORS alone.
  assert.deepEqual([asked.status, asked.headers.get('x-origin'), asked.body], [200, null, '']);
  assert.equal(asked.headers.get('access-control-allow-origin'), 'https://of-the-origin.example');
  // It gets no credentials, no body and no field of another meaning.
  const laden = await ask('/own-cors/seen?access_token=t&a=1', {
    method: 'OPTIONS', body: 'x',
    headers: { origin: 'https://app.example', 'access-control-request-method': 'PUT', authorization: 'Bearer x', cookie: 'a=b', 'x-http-method': 'PUT' },
  });
  assert.deepEqual([laden.status, laden.body], [200, '']);
  const { method, url: seen, headers: got, body } = (await ask('/last-preflight')).body;
  assert.deepEqual([method, new URL(seen).search, body], ['OPTIONS', '?a=1', '']);
  const fields = Object.keys(got).filter((name) => !['cache-control', 'pragma', 'content-length', 'host', 'x-forwarded-for'].includes(name));
  assert.deepEqual(fields.sort(), ['access-control-request-method', 'origin']);
  const answer = await ask('/own-cors', { headers: { ...bearer(), origin: 'https://app.example' } });
  assert.equal(answer.headers.get('access-control-allow-origin'), 'https://of-the-origin.example');
  const refused = await ask('/own-cors', { headers: { origin: 'https://app.example' } });
  assert.deepEqual([refused.status, refused.headers.get('access-control-allow-origin')], [401, 'https://app.example']);
  // Only a preflight of a page passes without a token, and not for a method without a route.
  for (const headers of [
    {}, { origin: 'https://app.example' }, { 'access-control-request-method': 'PUT' },
    { origin: 'https://app.example', 'access-control-request-method': 'DELETE' },
  ]) {
    const plain = await ask('/own-cors', { method: 'OPTIONS', headers });
    assert.deepEqual([plain.status, plain.headers.get('access-control-allow-origin')], [204, null]);
  }
  const escaped = await ask('/own-cors/a%2Fb', { method: 'OPTIONS', headers: { origin: 'https://app.example', 'access-control-request-method': 'PUT' } });
  assert.deepEqual([escaped.status, escaped.body.code], [400, 'request_invalid']);
});

test('the metadata of a resource say where to get which token', async (t) => {
  const { ask, own, bearer } = await start(t);
  const metadata = `${EXTERNAL_URL}/.well-known/oauth-protected-resource/mcp`;
  const found = await ask('/.well-known/oauth-protected-resource/mcp');
  assert.deepEqual([found.status, found.headers.get('content-type'), found.headers.get('access-control-allow-origin')], [200, 'application/json', '*']);
  assert.deepEqual(found.body, {
    resource: `${EXTERNAL_URL}/mcp`, authorization_servers: [own.url], scopes_supported: ['mcp:read', 'mcp:use', 'mcp:write'],
    bearer_methods_supported: ['header'],
  });
  assert.equal((await ask('/.well-known/oauth-protected-resource')).body.resource, EXTERNAL_URL);
  for (const [path, status] of [
    ['/.well-known/oauth-protected-resource/', 404], ['/.well-known/oauth-protected-resource/reports', 401], ['/.well-known/x', 401],
  ]) {
    assert.equal((await ask(path)).status, status, path);
  }
  const named = '/.well-known/oauth-protected-resource/mcp';
  assert.equal((await ask(named, { method: 'POST' })).status, 401);
  const asked = await ask(named, { method: 'OPTIONS', headers: { origin: 'https://inspector.example', 'access-control-request-method': 'GET' } });
  assert.deepEqual([asked.status, asked.headers.get('access-control-allow-headers')], [204, '*']);
  // A route for the very path comes first.
  assert.equal((await ask('/.well-known/oauth-protected-resource/own')).body.method, 'GET');
  for (const [headers, status] of [[{}, 401], [{ authorization: 'Bearer x' }, 401], [bearer({ scope: 'mcp:use' }), 403]]) {
    const answer = await ask('/mcp', { method: 'POST', headers });
    assert.equal(answer.status, status);
    const challenge = answer.headers.get('www-authenticate');
    assert.ok(challenge.includes(`resource_metadata="${metadata}"`), challenge);
    assert.ok(challenge.includes('scope="mcp:read mcp:use mcp:write"'), challenge);
  }
  assert.equal((await ask('/mcp', { method: 'POST', headers: bearer({ scope: 'mcp:use mcp:write' }) })).status, 200);
  // Without the URL of the API there are no metadata, so the routes that name a resource need it.
  const { ask: unnamed } = await start(t, { bindings: { ISSUERS: [own.trusted] } });
  assert.equal((await unnamed('/.well-known/oauth-protected-resource/mcp')).status, 503);
});

test('a subject that asks too often waits, and others do not', async (t) => {
  const { ask, bearer } = await start(t);
  const statuses = [];
  for (let calls = 0; calls < 5; calls += 1) {
    const answer = await ask('/limited', { headers: bearer({ sub: 'busy' }) });
    statuses.push(answer.status);
    if (answer.status === 429) {
      assert.equal(answer.headers.get('retry-after'), '60');
      assert.equal(answer.body.code, 'rate_limited');
    }
  }
  assert.deepEqual(statuses, [200, 200, 200, 429, 429]);
  assert.equal((await ask('/limited', { headers: bearer({ sub: 'calm' }) })).status, 200);
  // Service tokens of Cloudflare Access have no subject but a name.
  const named = async (common_name) => (await ask('/limited', { headers: bearer({ sub: '', client_id: undefined, common_name }) })).status;
  const all = [];
  for (const name of ['a', 'a', 'a', 'a', 'b']) all.push(await named(name));
  assert.deepEqual(all, [200, 200, 200, 429, 200]);
  // Some issuers write a number as the subject.
  const numbered = async (sub) => (await ask('/limited', { headers: bearer({ sub, client_id: undefined }) })).status;
  const numbers = [];
  for (const sub of [7, 7, 7, 7, 8]) numbers.push(await numbered(sub));
  assert.deepEqual(numbers, [200, 200, 200, 429, 200]);
  // Refused tokens are not counted.
  for (let calls = 0; calls < 5; calls += 1) await ask('/limited', { headers: bearer({ sub: 'third', scope: 'other' }) });
  assert.equal((await ask('/limited', { headers: bearer({ sub: 'third' }) })).status, 200);
});

test('a limit without its binding stops the guard', async (t) => {
  const { ask } = await start(t, { ratelimits: {} });
  const answer = await ask('/health');
  assert.deepEqual([answer.status, answer.body.code], [503, 'guard_misconfigured']);
});
