// The sources of the guard's documents, a bound service or bucket, and the guard's counters.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';
import test from 'node:test';
import { guardModules } from '../stage/workerd.mjs';
import { start } from './guard.mjs';

const { EDGEPASS_ISSUER: issuer, EDGEPASS_PROGRAM: program, EDGEPASS_FOLDER: folder } = process.env;
const edgepass = (...argv) => execFileSync(program, argv, { cwd: folder, encoding: 'utf8' });
const issue = () => JSON.parse(edgepass('issue', '--role', 'invoice-reader', '--json'));
const DEADLINE = 10_000;

const settings = { ISSUER: issuer, AUDIENCE: 'https://api.example', CACHE: 'none' };
/** Settings of a guard that cannot reach the network by itself. */
const cutOff = (more) => ({
  bindings: settings, outboundService: () => new Response('nothing', { status: 500 }), ...more,
  serviceBindings: { ORIGIN: 'origin', ...more?.serviceBindings },
});
const call = (url, token) => fetch(new URL('/invoices', url), {
  headers: { authorization: `Bearer ${token}`, 'accept-encoding': 'identity' },
});

/** Calls until the token is refused. Returns the code, or `'still accepted'` after the deadline. */
async function untilRefused(url, token) {
  for (const from = Date.now(); Date.now() - from < DEADLINE; await setTimeout(50)) {
    const response = await call(url, token);
    const body = await response.json();
    if (response.status !== 200) return body.code;
  }
  return 'still accepted';
}

test('without a way to its issuer the guard refuses', async (t) => {
  const { url } = await start(t, cutOff());
  assert.equal((await call(url, issue().access_token)).status, 503);
});

test('documents come through a bound service', async (t) => {
  const service = {
    name: 'issuer', modules: true,
    script: 'export default { fetch: (request) => fetch(request) }',
  };
  const { url } = await start(t, cutOff({ serviceBindings: { ISSUER_SERVICE: 'issuer' } }), service);
  const { access_token: token, jti } = issue();
  assert.equal((await call(url, token)).status, 200);
  edgepass('revoke', '--jti', jti, '--reason', 'test');
  assert.equal(await untilRefused(url, token), 'token_revoked');
});

test('documents come from a bound bucket', async (t) => {
  const { guard, url } = await start(t, cutOff({ r2Buckets: ['DOCUMENTS'] }));
  const bucket = await guard.getR2Bucket('DOCUMENTS', 'guard');
  const publish = async () => {
    const { status_lists: lists } = await (await fetch(`${issuer}/status-list-aggregation`)).json();
    const paths = ['.well-known/jwks.json', '.well-known/oauth-authorization-server',
      'status-list-aggregation', ...lists.map((uri) => uri.slice(issuer.length + 1))];
    for (const path of paths) {
      const response = await fetch(`${issuer}/${path}`);
      const contentType = response.headers.get('content-type');
      await bucket.put(path, await response.text(), { httpMetadata: { contentType } });
    }
  };
  const { access_token: token, jti } = issue();
  await publish();
  assert.equal((await call(url, token)).status, 200);
  // Past the refresh interval the guard revalidates, and the bucket's objects have not changed.
  await setTimeout(5_500);
  assert.equal((await call(url, token)).status, 200);
  edgepass('revoke', '--jti', jti, '--reason', 'test');
  await publish();
  assert.equal(await untilRefused(url, token), 'token_revoked');
});

test('a bucket that does not answer is given up', async (t) => {
  // The guard with an object that never answers in place of the bucket. A service would be refused.
  const contents = `
    import guard from './index.js';
    const DOCUMENTS = { get: () => new Promise(() => {}) };
    export default { fetch: (request, env, context) => guard.fetch(request, { ...env, DOCUMENTS }, context) };`;
  const hanging = { type: 'ESModule', path: `${process.env.EDGEPASS_GUARD}/hanging.js`, contents };
  const { url } = await start(t, cutOff(guardModules(process.env.EDGEPASS_GUARD, [hanging])));
  const from = Date.now();
  const response = await call(url, issue().access_token);
  assert.deepEqual([response.status, (await response.json()).code], [503, 'keys_unavailable']);
  const took = Date.now() - from;
  assert.ok(took > 2_000 && took < 8_000, `it took ${took} ms`);
});

test('a service binding that does not answer is given up', async (t) => {
  const silent = { name: 'silent', modules: true, script: 'export default { fetch: () => scheduler.wait(60_000) };' };
  const { url } = await start(t, {
    bindings: settings, serviceBindings: { ORIGIN: 'origin', ISSUER_SERVICE: 'silent' },
  }, silent);
  const from = Date.now();
  const response = await call(url, issue().access_token);
  assert.deepEqual([response.status, (await response.json()).code], [503, 'keys_unavailable']);
  const took = Date.now() - from;
  assert.ok(took > 2_000 && took < 8_000, `it took ${took} ms`);
});

test('counters are read by who knows the secret, and hold no part of a token', async (t) => {
  const secret = 'a-secret-that-opens-the-counters';
  const bindings = { ...settings, LIST_BYTES: '1000000' };
  const { url } = await start(t, {
    bindings: { ...bindings, METRICS_TOKEN: secret }, serviceBindings: { ORIGIN: 'origin' },
  });
  const { access_token: token } = issue();
  for (const [given, status] of [[token, 200], [token, 200], ['a.b.c', 401]]) {
    assert.equal((await call(url, given)).status, status);
  }
  const metrics = new URL('/.edgepass/metrics', url);
  const read = (field) => fetch(metrics, { headers: field ? { authorization: field } : {} });
  for (const field of [undefined, 'Bearer x', secret, `Bearer ${secret}x`]) {
    assert.equal((await read(field)).status, 401, field);
  }
  // The guard prefetches further lists after the first response.
  let text = '';
  for (let tries = 0; tries < 100 && !/status_lists [2-6]\n/.test(text); tries += 1) {
    await setTimeout(20);
    text = await (await read(`Bearer ${secret}`)).text();
  }
  for (const line of [
    'edgepass_guard_verdicts_total{code="accepted"} 2',
    'edgepass_guard_verdicts_total{code="token_malformed"} 1',
    'edgepass_guard_refused_documents_total{reason="older"} 0',
    'edgepass_guard_remembered_tokens_total 1',
    'edgepass_guard_stale_verdicts_total 0',
    'edgepass_guard_status_list_bytes_limit 1000000',
  ]) assert.ok(text.includes(`${line}\n`), `${line} is missing in:\n${text}`);
  assert.match(text, /status_lists [2-6]\n/);
  assert.match(text, /status_list_age_milliseconds \d+\n/);
  assert.match(text, /jwk_set_age_milliseconds \d+\n/);
  assert.ok(text.endsWith('# EOF\n') && !text.includes('eyJ'), text);

  const { url: closed } = await start(t, { bindings, serviceBindings: { ORIGIN: 'origin' } });
  const response = await fetch(new URL('/.edgepass/metrics', closed));
  assert.equal((await response.json()).code, 'route_not_found');
});

test('verdicts are written to Analytics Engine where it is bound', async (t) => {
  const dataset = {
    name: 'dataset', modules: true,
    script: `
      import { WorkerEntrypoint } from 'cloudflare:workers';
      const points = [];
      export default class extends WorkerEntrypoint {
        writeDataPoint(point) { points.push(point); }
        fetch() { return Response.json(points); }
      }`,
  };
  const { guard, url } = await start(t, {
    bindings: settings, serviceBindings: { ORIGIN: 'origin', METRICS: 'dataset' },
  }, dataset);
  assert.equal((await call(url, issue().access_token)).status, 200);
  assert.equal((await call(url, 'a.b.c')).status, 401);
  const points = await (await (await guard.getWorker('dataset')).fetch('http://dataset/')).json();
  assert.deepEqual(points.map(({ blobs, indexes }) => [blobs, indexes]), [
    [['accepted'], ['accepted']], [['token_malformed'], ['token_malformed']],
  ]);
  const [stale, listAge, keyAge, refused] = points[0].doubles;
  assert.deepEqual([stale, refused], [0, 0]);
  assert.ok(listAge >= 0 && listAge < 10 && keyAge >= 0 && keyAge < 10, `${listAge} ${keyAge}`);

  // The runtime's own binding accepts the same data points.
  const { url: real } = await start(t, {
    bindings: settings, serviceBindings: { ORIGIN: 'origin' },
    analyticsEngineDatasets: { METRICS: { dataset: 'verdicts' } },
  });
  assert.equal((await call(real, issue().access_token)).status, 200);
});
