// The verification vectors in Node, in workerd and in Chromium, through the packed package.
//
// EDGEPASS_INSTALLED is a folder into which the package was installed; EDGEPASS_CHROMIUM a browser.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { Log, LogLevel, Miniflare, convertV4MiniflareOptions } from 'miniflare';
import { launch } from './browser.mjs';
import { replay } from './replay.mjs';
import { serveFolder } from '../../xtask/stage/static.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const installed = process.env.EDGEPASS_INSTALLED;
const packageFolder = join(installed, 'node_modules/edgepass');
const file = JSON.parse(readFileSync(join(here, '../vectors/verify.json')));

function assertAll({ judged, wrong }) {
  assert.ok(judged > 250, `only ${judged} vectors`);
  assert.deepEqual(wrong, []);
}

test('node: every vector gives its verdict and code', async () => {
  const resolve = createRequire(join(installed, 'anything.js')).resolve;
  const edgepass = await import(pathToFileURL(resolve('edgepass')));
  assertAll(await replay(edgepass, file));
});

test('node: require works as well as import', () => {
  const require = createRequire(join(installed, 'anything.js'));
  const { Verifier } = require('edgepass');
  assert.equal(typeof Verifier.create, 'function');
});

test('node: a wrong vector is noticed', async () => {
  const resolve = createRequire(join(installed, 'anything.js')).resolve;
  const edgepass = await import(pathToFileURL(resolve('edgepass')));
  const vector = { ...file.vectors[0], expect: { ...file.vectors[0].expect, code: 'token_expired' } };
  const { wrong } = await replay(edgepass, { ...file, vectors: [vector] });
  assert.equal(wrong.length, 1);
});

test('node: options are checked, responses are RFC 6750 and RFC 9457', async () => {
  const resolve = createRequire(join(installed, 'anything.js')).resolve;
  const { Verifier, decodeUnverified } = await import(pathToFileURL(resolve('edgepass')));
  const options = { issuer: 'https://issuer.example', audience: 'a', jwks: { keys: [] } };
  for (const change of [
    { isuer: 'x' }, { audience: [] }, { issuer: 'http://issuer.example', jwks: undefined }, { leeway: 10 },
    { externalUrl: 'https://api.example/' }, { dpopNonceSecrets: ['short'] }, { profile: 'jwt' },
    { leeway: '6m' }, { algorithms: ['HS256'] }, { freshness: { deadline: '3s' } }, { cache: 'redis' },
  ]) {
    assert.throws(() => Verifier.create({ ...options, ...change }), undefined, JSON.stringify(change));
  }
  const verifier = Verifier.create(options);
  const verdict = await verifier.verify('abc');
  const response = verdict.toResponse();
  assert.equal(response.status, 401);
  assert.match(response.headers.get('www-authenticate'), /^Bearer realm="edgepass", error="invalid_token"/);
  assert.equal(response.headers.get('content-type'), 'application/problem+json');
  assert.equal((await response.json()).code, 'token_malformed');
  assert.equal(verdict.claims, null);
  await assert.rejects(verifier.verify('abc', { allOf: ['a b'] }));
  assert.equal(decodeUnverified('abc'), null);
});

test('node: a due refresh is detached in a server, awaited in a function, handed to waitUntil', async (t) => {
  const resolve = createRequire(join(installed, 'anything.js')).resolve;
  const { Verifier } = await import(pathToFileURL(resolve('edgepass')));
  const { token, now, policy } = file.vectors.find(({ id }) => id === 'accepted/eddsa');
  t.after(() => delete process.env.AWS_LAMBDA_FUNCTION_NAME);
  for (const [name, environment, waits] of [['server', {}, false], ['function', { AWS_LAMBDA_FUNCTION_NAME: 'f' }, true], ['waitUntil', {}, false]]) {
    Object.assign(process.env, environment);
    let fetched = 0;
    let ended = 0;
    const verifier = Verifier.create({
      ...policy, jwks: file.defaults.jwks, fetch: async (url) => {
        fetched++;
        await new Promise((done) => { setTimeout(done, 100); });
        ended++;
        const { status, headers, body } = file.defaults.responses[url];
        return new Response(body, { status, headers });
      },
    });
    await verifier.verify(token, { now });
    const work = [];
    const waitUntil = name === 'waitUntil' ? (promise) => work.push(promise) : undefined;
    const verdict = await verifier.verify(token, { now: now + 6, waitUntil });
    assert.equal(verdict.accepted, true);
    assert.deepEqual([fetched, ended], [2, waits ? 2 : 1], name);
    await Promise.all(work);
    assert.equal(ended === 2, waits || name === 'waitUntil', name);
    delete process.env.AWS_LAMBDA_FUNCTION_NAME;
  }
});

/** Run a Worker that uses the package, bundled as wrangler does it: the package's `workerd`
 * condition, the Wasm module left an import. */
async function startWorkerd(t, contents) {
  const bundle = await build({
    stdin: { contents, resolveDir: here },
    bundle: true, write: false, format: 'esm', conditions: ['workerd'],
    alias: { edgepass: join(packageFolder, 'dist/face/workerd.js') },
    plugins: [{
      name: 'wasm', setup: ({ onResolve }) => onResolve({ filter: /\.wasm$/ }, () => ({
        path: './edgepass_npm_bg.wasm', external: true,
      })),
    }],
  });
  const workerd = new Miniflare(convertV4MiniflareOptions({
    host: '127.0.0.1', port: 0, cf: false, log: new Log(LogLevel.ERROR), name: 'vectors',
    compatibilityDate: '2026-10-01', modulesRoot: '/',
    modules: [
      { type: 'ESModule', path: '/worker.mjs', contents: bundle.outputFiles[0].text },
      {
        type: 'CompiledWasm', path: '/edgepass_npm_bg.wasm',
        contents: readFileSync(join(packageFolder, 'dist/wasm/edgepass_npm_bg.wasm')),
      },
    ],
  }));
  t.after(() => workerd.dispose());
  return workerd.ready;
}

test('workerd: every vector gives its verdict and code', async (t) => {
  const url = await startWorkerd(t, `
    import * as edgepass from 'edgepass';
    import { replay } from './replay.mjs';
    // Global scope: no I/O, no randomness, or workerd refuses to start.
    edgepass.Verifier.create({ issuer: 'https://issuer.example', audience: 'a' });
    export default { async fetch(request) {
      return Response.json(await replay(edgepass, await request.json()));
    } };`);
  const response = await fetch(url, { method: 'POST', body: JSON.stringify(file) });
  assert.equal(response.status, 200, await response.clone().text());
  assertAll(await response.json());
});

test('workerd: the Cache API tier spares fetches and confirms nothing', async (t) => {
  const url = await startWorkerd(t, `
    import { Verifier } from 'edgepass';
    export default { async fetch(request) {
      const { vector, responses, jwks_uri, steps } = await request.json();
      const seen = [];
      for (const { cache, now, online } of steps) {
        const fetched = [];
        // A verifier of its own stands for a fresh isolate.
        const verifier = Verifier.create({
          ...vector.policy, jwks: jwks_uri, cache, fetch: async (url) => {
            fetched.push(new URL(url).pathname);
            if (!online) throw new TypeError('unreachable');
            const { status, headers, body } = responses[url];
            return new Response(body, { status, headers });
          },
        });
        const { code, stale } = await verifier.verify(vector.token, { now });
        seen.push({ code, stale, fetched: fetched.length });
      }
      return Response.json(seen);
    } };`);
  const vector = file.vectors.find(({ id }) => id === 'accepted/eddsa');
  const uri = 'https://issuer.example/.well-known/jwks.json';
  const { now } = vector;
  const keys = { status: 200, headers: { etag: '"j"' }, body: JSON.stringify(file.defaults.jwks) };
  const response = await fetch(url, {
    method: 'POST',
    body: JSON.stringify({
      vector, jwks_uri: uri, responses: { ...file.defaults.responses, [uri]: keys },
      steps: [
        { cache: 'cache-api', now, online: true },
        { cache: 'cache-api', now: now + 4, online: false },
        { cache: 'none', now: now + 4, online: true },
        // What the cache holds was confirmed at `now`, however often it was read since.
        { cache: 'cache-api', now: now + 9, online: true },
        { cache: 'cache-api', now: now + 30, online: false },
        { cache: 'cache-api', now: now + 200, online: false },
      ],
    }),
  });
  assert.equal(response.status, 200, await response.clone().text());
  assert.deepEqual(await response.json(), [
    { code: null, stale: false, fetched: 2 },
    { code: null, stale: false, fetched: 0 },
    { code: null, stale: false, fetched: 2 },
    { code: null, stale: false, fetched: 2 },
    { code: null, stale: true, fetched: 2 },
    { code: 'keys_unavailable', stale: false, fetched: 1 },
  ]);
});

test('workerd: concurrent requests without a copy fetch once', async (t) => {
  const url = await startWorkerd(t, `
    import { Verifier } from 'edgepass';
    const verifiers = new Map();
    const fetched = [];
    export default { async fetch(request, env, { waitUntil }) {
      if (request.method === 'GET') return Response.json(fetched);
      const { vector, jwks, responses } = await request.json();
      if (!verifiers.size) verifiers.set('one', Verifier.create({
        ...vector.policy, jwks, cache: 'none', fetch: async (url) => {
          fetched.push(url);
          await new Promise((resolve) => setTimeout(resolve, 100));
          const { status, headers, body } = responses[url];
          return new Response(body, { status, headers });
        },
      }));
      const { code } = await verifiers.get('one').verify(vector.token, { now: vector.now });
      return Response.json(code);
    } };`);
  const vector = file.vectors.find(({ id }) => id === 'accepted/eddsa');
  const body = JSON.stringify({ vector, ...file.defaults });
  const codes = await Promise.all(Array.from({ length: 10 }, async () => (
    (await fetch(url, { method: 'POST', body })).json()
  )));
  assert.deepEqual(codes, Array(10).fill(null));
  assert.equal((await (await fetch(url)).json()).length, 1);
});

test('chromium: every vector gives its verdict and code', async (t) => {
  const serve = { package: serveFolder(packageFolder), vectors: serveFolder(join(here, '../vectors')), hosts: serveFolder(here) };
  const page = `<!doctype html><link rel=icon href="data:,"><script type="importmap">
    {"imports": {"edgepass": "/package/dist/face/browser.js"}}</script>
    <script type="module">
      import * as edgepass from 'edgepass';
      import { replay } from '/hosts/replay.mjs';
      const file = await (await fetch('/vectors/verify.json')).json();
      globalThis.outcome = await replay(edgepass, file);
    </script>`;
  const server = createServer((request, response) => {
    const [, name, rest] = /^\/([a-z]+)(\/.*)$/.exec(request.url) ?? [];
    if (!name) return response.writeHead(200, { 'content-type': 'text/html' }).end(page);
    request.url = rest;
    return serve[name](request, response);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  t.after(() => server.close());
  const browser = await launch();
  t.after(() => browser.close());
  const tab = await browser.newPage();
  const problems = [];
  tab.on('pageerror', (error) => problems.push(error.message));
  await tab.goto(`http://127.0.0.1:${server.address().port}/`);
  await tab.waitForFunction(() => globalThis.outcome, undefined, { timeout: 60_000 })
    .catch((error) => { throw new Error(`${error.message} ${problems}`); });
  assertAll(await tab.evaluate(() => globalThis.outcome));
});
