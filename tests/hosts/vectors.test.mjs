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
    { isuer: 'x' }, { audience: [] }, { issuer: 'http://issuer.example' }, { leeway: 10 },
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

test('workerd: every vector gives its verdict and code', async (t) => {
  // Bundled as wrangler does it: the package's `workerd` condition, the Wasm module left an import.
  const bundle = await build({
    stdin: {
      contents: `
        import * as edgepass from 'edgepass';
        import { replay } from './replay.mjs';
        // Global scope: no I/O, no randomness, or workerd refuses to start.
        edgepass.Verifier.create({ issuer: 'https://issuer.example', audience: 'a' });
        export default { async fetch(request) {
          return Response.json(await replay(edgepass, await request.json()));
        } };`,
      resolveDir: here,
    },
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
  const url = await workerd.ready;
  const response = await fetch(url, { method: 'POST', body: JSON.stringify(file) });
  assert.equal(response.status, 200, await response.clone().text());
  assertAll(await response.json());
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
