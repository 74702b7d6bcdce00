// No cache serves the origin's response for one caller to another caller.

import assert from 'node:assert/strict';
import test from 'node:test';
import { start } from '../hosts/guard.mjs';
import { issuer } from '../hosts/issuer.mjs';
import { COMPATIBILITY_DATE } from '../stage/workerd.mjs';

/**
 * Text of a Worker that plays Cloudflare's network between the guard and the origin. It caches by
 * URL as that network does, includes the request's headers and `cf` in the response, and forwards
 * requests for the issuer's documents.
 */
const network = (documents) => `
  const kept = new Map();
  const origin = (request) => {
    const { pathname } = new URL(request.url);
    const told = request.headers.get('x-edgepass-subject');
    const headers = { 'content-type': 'application/json', 'x-was-asked': 'origin' };
    const say = { '/reports/public.css': 'public, max-age=600', '/reports/strict': 'no-store',
      '/reports/own': 'private, max-age=5', '/reports/fields': 'private="x", s-maxage=9, max-age=60' }[pathname];
    if (say) headers['cache-control'] = say;
    if (pathname === '/reports/cdn') {
      Object.assign(headers, { 'cdn-cache-control': 'max-age=600', 'surrogate-control': 'max-age=600',
        'cloudflare-cdn-cache-control': 'max-age=600', 'x-accel-expires': '600' });
    }
    if (pathname === '/reports/vary') headers.vary = 'Accept, *';
    if (pathname === '/invoices') headers['access-control-allow-origin'] = 'https://evil.example';
    return Response.json({
      told, cf: request.cf ?? null, headers: Object.fromEntries(request.headers),
    }, { headers });
  };
  export default { async fetch(request) {
    if (request.url.startsWith('${documents}')) return fetch(request);
    const bypasses = request.cf?.cacheLevel === 'bypass';
    if (!bypasses && kept.has(request.url)) return new Response(...kept.get(request.url));
    const response = origin(request);
    const text = await response.text();
    const init = { status: response.status, headers: [...response.headers] };
    const keeps = !/private|no-store/.test(response.headers.get('cache-control') ?? '')
      && (/\\.(pdf|css)$/.test(new URL(request.url).pathname) || /max-age/.test(response.headers.get('cache-control')));
    if (!bypasses && keeps) kept.set(request.url, [text, init]);
    return new Response(text, init);
  } };`;

async function guarded(t, { how = 'network', date = COMPATIBILITY_DATE } = {}) {
  const { url: documents, token, trusted } = await issuer(t, 'p256_client');
  const bindings = { ISSUERS: [trusted], CACHE: 'none', ORIGIN_URL: 'https://origin.example' };
  const place = { name: 'network', modules: true, script: network(documents) };
  const worker = { compatibilityDate: date, bindings, outboundService: 'network' };
  if (how === 'service') {
    delete bindings.ORIGIN_URL;
    worker.serviceBindings = { ORIGIN: 'network' };
  }
  const { url } = await start(t, worker, place);
  const ask = async (path, subject, headers = {}) => {
    const authorization = `Bearer ${token({ sub: subject })}`;
    const response = await fetch(new URL(path, url), {
      headers: { ...(subject && { authorization }), ...headers },
    });
    return { status: response.status, headers: response.headers, body: await response.json() };
  };
  return ask;
}

for (const how of ['network', 'service']) {
  // Requests have a cache mode from 2024-11-11 on; later dates changed its effects.
  for (const date of ['2024-11-11', '2025-04-02', '2025-08-07', COMPATIBILITY_DATE]) {
    test(`one caller's document is not another's: ${how}, compatibility date ${date}`, async (t) => {
      const ask = await guarded(t, { how, date });
      for (const path of ['/reports/mine.pdf', '/reports/public.css', '/reports/fields']) {
        for (const subject of ['alice', 'bob', 'alice']) {
          const { body } = await ask(path, subject, { 'cache-control': 'max-age=600', pragma: 'cache' });
          assert.equal(body.told, subject, `${path} of ${subject}`);
          assert.equal(body.cf.cacheLevel, 'bypass');
          assert.equal(body.cf.cacheTtl, -1);
          assert.equal(body.headers['cache-control'], 'no-cache, no-store');
          assert.notEqual(body.headers.pragma, 'cache');
        }
      }
    });
  }
}

test('before requests had a cache mode the guard answers nobody', async (t) => {
  const ask = await guarded(t, { date: '2024-11-10' });
  assert.equal((await ask('/reports/x', 'alice')).status, 503);
  assert.equal((await ask('/health')).status, 503);
});

test('what leaves says that it is for one caller', async (t) => {
  const ask = await guarded(t);
  for (const [path, expected] of [
    ['/reports/x', 'private'],
    ['/reports/public.css', 'private, max-age=600'],
    ['/reports/strict', 'no-store'],
    ['/reports/own', 'private, max-age=5'],
    ['/reports/fields', 'private, max-age=60'],
    ['/reports/cdn', 'private'],
  ]) {
    const { headers } = await ask(path, 'alice');
    assert.equal(headers.get('cache-control'), expected, path);
    assert.equal(headers.get('vary'), 'Authorization', path);
    for (const name of ['cdn-cache-control', 'surrogate-control', 'cloudflare-cdn-cache-control', 'x-accel-expires']) {
      assert.equal(headers.get(name), null, `${path} ${name}`);
    }
  }
  assert.equal((await ask('/reports/vary', 'alice')).headers.get('vary'), 'Accept, *');
  const cors = await ask('/invoices', 'alice', { origin: 'https://app.example' });
  assert.equal(cors.headers.get('access-control-allow-origin'), 'https://app.example');
  assert.equal(cors.headers.get('vary'), 'Authorization, Origin');
  const other = await ask('/invoices', 'alice', { origin: 'https://evil.example' });
  assert.equal(other.headers.get('access-control-allow-origin'), null, 'the origin lets other pages read');
});

test('a refusal is kept by nobody', async (t) => {
  const ask = await guarded(t);
  const { status, headers } = await ask('/invoices');
  assert.deepEqual([status, headers.get('cache-control')], [401, 'no-store']);
});

test('a public route asks past caches, too, unless it says that its answers may be kept', async (t) => {
  const ask = await guarded(t);
  const poison = { 'x-forwarded-host': 'evil.example', cookie: 'a=b', 'accept-language': 'xx', 'user-agent': 'me' };
  const plain = await ask('/health', undefined, poison);
  assert.equal(plain.body.cf.cacheLevel, 'bypass');
  assert.equal(plain.body.headers['x-forwarded-host'], undefined);
  const kept = await ask('/assets/style.css', undefined, { ...poison, 'if-none-match': '"1"' });
  assert.equal(kept.body.cf?.cacheLevel, undefined);
  const known = new Set(['if-none-match', 'cf-worker', 'accept-encoding']);
  assert.deepEqual(Object.keys(kept.body.headers).filter((name) => !known.has(name)), []);
});
