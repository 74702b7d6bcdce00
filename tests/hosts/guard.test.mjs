// The guard in workerd: service binding, WebSocket, streams, failures.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import { guardWorker, start } from './guard.mjs';

const { EDGEPASS_GUARD: build, EDGEPASS_ISSUER: issuer, EDGEPASS_PROGRAM: program, EDGEPASS_FOLDER: folder } = process.env;
const authorization = `Bearer ${execFileSync(
  program, ['issue', '--role', 'invoice-clerk'], { cwd: folder, encoding: 'utf8' },
).trim()}`;

const bound = {
  bindings: { ISSUER: issuer, AUDIENCE: 'https://api.example' }, serviceBindings: { ORIGIN: 'origin' },
};
const headers = { authorization, 'accept-encoding': 'identity' };

test('a service binding is the origin', async (t) => {
  const { url } = await start(t, bound);
  const response = await fetch(new URL('/invoices?a=1', url), { headers });
  assert.equal(response.status, 200);
  const { url: seen, told } = await response.json();
  assert.deepEqual([seen, told], ['https://origin/invoices?a=1', 'edgepass-cli']);
});

test('a response streams through', async (t) => {
  const { url } = await start(t, bound);
  const response = await fetch(new URL('/reports/slow', url), { headers });
  const start_ = Date.now();
  const chunks = [];
  for await (const chunk of response.body) chunks.push([Buffer.from(chunk).toString(), Date.now() - start_]);
  assert.deepEqual(chunks.map(([text]) => text), ['first', 'second']);
  assert.ok(chunks[1][1] - chunks[0][1] > 100, 'both parts came at once');
});

test('a WebSocket passes where the route says so, with a token', async (t) => {
  const { url } = await start(t, bound);
  const socketUrl = new URL('/live', url).href.replace('http', 'ws');
  const refused = await new Promise((resolve) => {
    const socket = new WebSocket(socketUrl);
    socket.onopen = () => resolve(false);
    socket.onerror = () => resolve(true);
  });
  assert.ok(refused, 'without a token it opened');
  const echo = await new Promise((resolve, reject) => {
    const socket = new WebSocket(socketUrl, { headers: { authorization } });
    socket.onopen = () => socket.send('hello');
    socket.onmessage = ({ data }) => { socket.close(); resolve(data); };
    socket.onerror = () => reject(new Error('it did not open'));
  });
  assert.equal(echo, 'echo hello');
});

test('a dead origin is 502, and nothing of it reaches the caller', async (t) => {
  const { url } = await start(t, { bindings: { ...bound.bindings, ORIGIN_URL: 'http://127.0.0.1:1' } });
  const response = await fetch(new URL('/invoices', url), { headers });
  assert.equal(response.status, 502);
  assert.equal(response.headers.get('content-type'), 'application/problem+json');
  assert.equal((await response.json()).code, 'origin_unavailable');
});

test('an unreachable issuer is 503 with Retry-After', async (t) => {
  const { url } = await start(t, {
    ...bound, bindings: { ...bound.bindings, JWKS_URI: 'http://127.0.0.1:1/jwks.json' },
  });
  const response = await fetch(new URL('/invoices', url), { headers });
  assert.equal(response.status, 503);
  assert.equal(response.headers.get('retry-after'), '1');
  assert.equal((await response.json()).code, 'keys_unavailable');
});

test('a guard without its settings refuses everything and says what to set', async (t) => {
  const { url, logged, logs } = await start(t, { bindings: {}, serviceBindings: { ORIGIN: 'origin' } });
  const response = await fetch(new URL('/health', url), { headers });
  assert.equal(response.status, 503);
  assert.equal((await response.json()).code, 'guard_misconfigured');
  assert.ok(await logs('set the variable ISSUER'), logged.join());
});

test('a module that has stopped in the middle of something is started anew', async (t) => {
  // Plants a trap: the module calls `Date.now` while it judges, and cannot catch an error of it.
  const contents = `
    import guard from './index.js';
    const now = Date.now;
    const trap = () => {
      Date.now = now;
      throw new WebAssembly.RuntimeError('planted');
    };
    export default { async fetch(request, env, context) {
      const when = request.headers.get('x-trap');
      if (when === 'judging') Date.now = trap;
      try {
        const response = guard.fetch(request, env, context);
        if (when === 'answered') Date.now = trap;
        return await response;
      } finally {
        Date.now = now;
      }
    } };`;
  const token = 'm'.repeat(32);
  const { url, logs } = await start(t, {
    ...bound, bindings: { ...bound.bindings, METRICS_TOKEN: token },
    modules: [{ type: 'ESModule', path: `${build}/planted.js`, contents }, ...guardWorker.modules],
  });
  const ask = async (more) => {
    const response = await fetch(new URL('/invoices', url), { headers: { ...headers, ...more } });
    await response.arrayBuffer();
    return response.status;
  };
  const accepted = async () => {
    const metrics = new URL('/.edgepass/metrics', url);
    const text = await (await fetch(metrics, { headers: { authorization: `Bearer ${token}` } })).text();
    return Number(/verdicts_total\{code="accepted"\} (\d+)/.exec(text)?.[1] ?? 0);
  };
  assert.deepEqual([await ask(), await ask(), await accepted()], [200, 200, 2]);
  for (const [when, status] of [['judging', 500], ['answered', 502]]) {
    assert.equal(await ask({ 'x-trap': when }), status);
    // The counters start at zero: it is a new instance, which fetches keys and lists first.
    assert.deepEqual([await ask(), await ask(), await accepted()], [200, 200, 2], when);
  }
  assert.ok(await logs('the guard crashed; its caches and counters are lost'));
});
