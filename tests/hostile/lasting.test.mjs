// WebSockets and long responses end when their token does.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, get } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { start } from '../hosts/guard.mjs';
import { AUDIENCE, issuer, now } from '../hosts/issuer.mjs';
import { listen } from '../stage/ports.mjs';
import { LogLevel, startWorkers } from '../stage/workerd.mjs';
import { KEYS, jws, publicJwk, sha256, thumbprint } from '../vectors/sign.mjs';

const { EDGEPASS_ISSUER, EDGEPASS_PROGRAM: program, EDGEPASS_FOLDER: folder } = process.env;
const edgepass = (...argv) => execFileSync(program, argv, { cwd: folder, encoding: 'utf8' });
const issue = () => JSON.parse(edgepass('issue', '--role', 'invoice-reader', '--json'));
const DEADLINE = 10_000;
/** Bearer token for the guard's counters. */
const secret = 'counters-for-the-tests-of-what-lasts';

const real = {
  bindings: { ISSUER: EDGEPASS_ISSUER, AUDIENCE, CACHE: 'none' }, serviceBindings: { ORIGIN: 'origin' },
};
const trusting = (...issuers) => ({
  bindings: { ISSUERS: issuers, CACHE: 'none' }, serviceBindings: { ORIGIN: 'origin' },
});

/** Opens a socket. `closed` resolves to its close code, reason and time. */
function open(url, headers, { path = '/live', protocols } = {}) {
  const socket = new WebSocket(new URL(path, url).href.replace('http', 'ws'), { headers, protocols });
  socket.binaryType = 'arraybuffer';
  socket.closed = new Promise((resolve) => {
    socket.onclose = ({ code, reason }) => resolve({ code, reason, at: Date.now() });
  });
  socket.next = () => new Promise((resolve) => { socket.onmessage = ({ data }) => resolve(data); });
  return new Promise((resolve, reject) => {
    socket.onopen = () => resolve(socket);
    socket.onerror = () => reject(new Error('the socket did not open'));
  });
}
const bearer = (token) => ({ authorization: `Bearer ${token}`, 'accept-encoding': 'identity' });

async function echoes(socket, text = 'hello') {
  const answer = socket.next();
  socket.send(text);
  assert.equal(await answer, `echo ${text}`);
}

/** Reads a body until it ends. Returns its bytes, and whether it is whole. */
async function drain(response) {
  let bytes = 0;
  try {
    for await (const chunk of response.body) bytes += chunk.length;
    return { bytes, whole: true };
  } catch {
    return { bytes, whole: false, at: Date.now() };
  }
}

test('a socket carries texts, octets, a protocol and both sides\' close', async (t) => {
  const { url } = await start(t, real);
  const headers = bearer(issue().access_token);
  const socket = await open(url, headers, { protocols: ['a', 'b'] });
  assert.equal(socket.protocol, 'a');
  await echoes(socket);
  const octets = socket.next();
  socket.send(Uint8Array.of(0, 255, 7));
  assert.deepEqual([...new Uint8Array(await octets)], [0, 255, 7]);
  socket.send('close');
  const { code, reason } = await socket.closed;
  assert.deepEqual([code, reason], [4001, 'the origin closes']);
  const other = await open(url, headers);
  other.close(4002, 'the client closes');
  await other.closed;
  for (let waited = 0; waited < 2000; waited += 20) {
    const seen = await (await fetch(new URL('/reports/closed', url), { headers })).json();
    if (JSON.stringify(seen).includes('the client closes')) return;
    await setTimeout(20);
  }
  assert.fail('the origin never learned that the client had closed');
});

test('a close that may not be passed on closes both sides all the same', async (t) => {
  const { url } = await start(t, real);
  const headers = bearer(issue().access_token);
  for (const code of [999, 5000]) {
    const upgrade = get(new URL('/live', url), {
      headers: {
        ...headers, connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-version': '13',
        'sec-websocket-key': Buffer.alloc(16).toString('base64'),
      },
    });
    const socket = await new Promise((resolve) => { upgrade.on('upgrade', (_, opened) => resolve(opened)); });
    t.after(() => socket.destroy());
    // A Close frame, masked with zeros.
    socket.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, code >> 8, code & 255]));
  }
  for (let waited = 0; waited < 2000; waited += 20) {
    const seen = await (await fetch(new URL('/reports/closed', url), { headers })).json();
    if (seen.length === 2) return;
    await setTimeout(20);
  }
  assert.fail('the origin never learned that the client had closed');
});

test('a revoked token ends its sockets and its long answers within the deadline', async (t) => {
  const { url } = await start(t, real);
  const [revoked, other] = [issue(), issue()];
  const headers = bearer(revoked.access_token);
  const sockets = await Promise.all([open(url, headers), open(url, headers)]);
  const survivor = await open(url, bearer(other.access_token));
  const outliving = await open(url, headers, { path: '/ticker' });
  const stream = drain(await fetch(new URL('/reports/stream', url), { headers }));
  await setTimeout(1500);
  await Promise.all([...sockets, outliving].map((socket) => echoes(socket)));
  edgepass('revoke', '--jti', revoked.jti, '--reason', 'test');
  const at = Date.now();
  for (const socket of sockets) {
    const closed = await socket.closed;
    assert.deepEqual([closed.code, closed.reason], [4401, 'token_revoked']);
    assert.ok(closed.at - at < DEADLINE, `after ${closed.at - at} ms`);
  }
  const ended = await stream;
  assert.equal(ended.whole, false, 'the answer ended as if it were whole');
  assert.ok(ended.bytes > 0 && ended.at - at < DEADLINE, `after ${ended.at - at} ms`);
  await echoes(survivor);
  await echoes(outliving);
  t.diagnostic(`the stream ended after ${ended.at - at} ms`);
});

test('a token that expires ends them at exp', async (t) => {
  const { token, trusted } = await issuer(t, 'p256_client');
  const trusts = trusting(trusted);
  const bindings = { ...trusts.bindings, METRICS_TOKEN: secret };
  const { url } = await start(t, { ...trusts, bindings });
  const exp = now() + 3;
  const headers = bearer(token({ exp }));
  const socket = await open(url, headers);
  const stream = drain(await fetch(new URL('/reports/stream', url), { headers }));
  const [closed, ended] = await Promise.all([socket.closed, stream]);
  assert.deepEqual([closed.code, closed.reason], [4401, 'token_expired']);
  for (const { at } of [closed, ended]) {
    assert.ok(at >= exp * 1000 - 100 && at < exp * 1000 + 2000, `${at - exp * 1000} ms after exp`);
  }
  const counters = await fetch(new URL('/.edgepass/metrics', url), { headers: bearer(secret) });
  assert.match(await counters.text(), /ended_total\{code="token_expired"\} 2/);
  // For new requests the token is accepted within the leeway after `exp`, since clocks differ.
  assert.equal((await fetch(new URL('/invoices', url), { headers })).status, 200);
});

/** Serves a JWK Set that a test can change (`keys`) or make unreachable (`away`). */
async function keys(t, first) {
  const served = { keys: first, away: false };
  const server = createServer((request, response) => {
    if (served.away) return request.socket.destroy();
    response.writeHead(200, { 'content-type': 'application/jwk-set+json' });
    response.end(JSON.stringify({ keys: served.keys }));
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  t.after(() => server.close());
  const url = `http://127.0.0.1:${server.address().port}`;
  const token = jws({ alg: 'ES256', kid: 'k', typ: 'at+jwt' }, {
    iss: url, aud: AUDIENCE, sub: 's', client_id: 'c', jti: 'j', scope: 'invoices:read',
    iat: now(), exp: now() + 300,
  }, 'p256_client');
  const trusted = {
    issuer: url, audience: AUDIENCE, jwks_uri: `${url}/jwks.json`, status: { mode: 'ignore' },
    freshness: { stale_if_error: '0s' },
  };
  return { served, token, trusted };
}

test('a withdrawn key and an unreachable issuer end them, too', async (t) => {
  const own = publicJwk(KEYS.p256_client, { kid: 'k', alg: 'ES256' });
  const [withdrawn, gone] = await Promise.all([keys(t, [own]), keys(t, [own])]);
  const { url } = await start(t, trusting(withdrawn.trusted, gone.trusted));
  const sockets = await Promise.all(
    [withdrawn, gone].map(({ token }) => open(url, bearer(token))),
  );
  const at = Date.now();
  withdrawn.served.keys = [];
  gone.served.away = true;
  const [first, second] = await Promise.all(sockets.map((socket) => socket.closed));
  assert.deepEqual([first.code, first.reason], [4401, 'key_not_found']);
  assert.deepEqual([second.code, second.reason], [1013, 'keys_unavailable']);
  for (const closed of [first, second]) {
    assert.ok(closed.at - at < DEADLINE + 2500, `after ${closed.at - at} ms`);
  }
});

test('a token bound to a key is judged again without a new proof', async (t) => {
  const { token: sign, trusted } = await issuer(t, 'p256_client');
  const guard = trusting(trusted);
  guard.bindings.EXTERNAL_URL = 'https://api.example';
  const { url } = await start(t, guard);
  const exp = now() + 7;
  const token = sign({ exp, cnf: { jkt: thumbprint('p256_client') } });
  const proof = jws({ typ: 'dpop+jwt', alg: 'ES256', jwk: publicJwk(KEYS.p256_client) }, {
    jti: 'only-once', htm: 'GET', htu: 'https://api.example/live', iat: now(), ath: sha256(token),
  }, 'p256_client');
  const socket = await open(url, { authorization: `DPoP ${token}`, dpop: proof });
  const closed = await socket.closed;
  assert.equal(closed.reason, 'token_expired');
  assert.ok(closed.at >= exp * 1000 - 100, 'it ended before its token');
});

test('a long answer arrives whole, with its length', async (t) => {
  const { url } = await start(t, real);
  const headers = bearer(issue().access_token);
  const response = await fetch(new URL('/reports/large', url), { headers });
  assert.equal(response.headers.get('content-length'), String(3 << 20));
  assert.deepEqual(await drain(response), { bytes: 3 << 20, whole: true });
  const zipped = await fetch(new URL('/reports/large', url), { headers: { authorization: headers.authorization } });
  assert.deepEqual(await drain(zipped), { bytes: 3 << 20, whole: true });
});

/** Returns processor time in milliseconds and resident bytes, both of all workerd processes. */
function used() {
  const pids = execFileSync('pgrep', ['--parent', String(process.pid), 'workerd'], { encoding: 'utf8' });
  const of = (pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    const resident = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);
    return [(Number(stat[11]) + Number(stat[12])) * 10, resident * 4096];
  };
  return pids.trim().split('\n').map(of).reduce((sum, one) => [sum[0] + one[0], sum[1] + one[1]], [0, 0]);
}

test('a thousand open sockets are looked at, and close together', async (t) => {
  const { url } = await start(t, real);
  const { access_token: token, jti } = issue();
  const headers = bearer(token);
  await (await open(url, headers)).close();
  const before = used();
  const sockets = [];
  while (sockets.length < 1000) {
    sockets.push(...await Promise.all(Array.from({ length: 50 }, () => open(url, headers))));
  }
  const opened = used();
  const from = Date.now();
  await setTimeout(15_000);
  const idle = used();
  const seconds = (Date.now() - from) / 1000;
  t.diagnostic(`1,000 sockets: ${Math.round((idle[0] - opened[0]) / seconds)} ms of processor time a second, `
    + `${Math.round((idle[1] - before[1]) / 1024 / 1000)} KB of memory each, with the origin's side`);
  edgepass('revoke', '--jti', jti, '--reason', 'test');
  const at = Date.now();
  const closed = await Promise.all(sockets.map((socket) => socket.closed));
  const slowest = Math.max(...closed.map((one) => one.at)) - at;
  t.diagnostic(`the last of them closed after ${slowest} ms`);
  assert.ok(closed.every(({ code }) => code === 4401));
  assert.ok(slowest < DEADLINE, `after ${slowest} ms`);
});

test('a look that hangs ends what it is for, long before the token does', { timeout: 60_000 }, async (t) => {
  // Tests `lasting.js` alone, since a test cannot make the check of the guard's module hang.
  const folder = fileURLToPath(new URL('../../worker/src/', import.meta.url));
  const contents = `
    import { relayed } from './lasting.js';
    export default { async fetch(_, env) {
      const response = await fetch(env.ORIGIN);
      return new Response(relayed(response, undefined, 500, 600_000, () => new Promise(() => {})).body);
    } };`;
  const origin = createServer(async (_, response) => {
    for (; !response.destroyed; await setTimeout(250)) response.write('.');
  });
  const address = await listen(origin);
  t.after(() => { origin.close(); origin.closeAllConnections(); });
  const { url, stop } = await startWorkers([{
    name: 'relay', modulesRoot: folder, bindings: { ORIGIN: address },
    modules: [
      { type: 'ESModule', path: `${folder}relay.js`, contents },
      { type: 'ESModule', path: `${folder}lasting.js` },
    ],
  }], { level: LogLevel.NONE, log: () => {} });
  t.after(stop);
  const started = Date.now();
  const response = await fetch(url);
  await assert.rejects(async () => { for await (const _ of response.body) ; });
  const after = Date.now() - started;
  assert.ok(after > 20_000 && after < 25_000, `it ended after ${after} ms`);
});
