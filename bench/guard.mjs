// Measures the whole guard in workerd: requests per second, and the time of one request. It is
// compared with its public route, a Worker that only forwards and a Worker that verifies with
// `jose`.
//
// Keys, lists and tokens are those of the real issuer that `EDGEPASS_BENCH` names. The load comes
// from another process. The origin is a Worker beside the guard, so that the guard dominates the
// result.

import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { guardModules, ownSocket, startWorkers } from '../tests/stage/workerd.mjs';
import { inChild, median, note, quick } from './measure.mjs';

const ROUNDS = quick ? 3 : 7;
const SECONDS = quick ? 1 : 3;
/** Number of different tokens. Each is used many times, as clients do. */
const TOKENS = 200;
const here = fileURLToPath(new URL('.', import.meta.url));

/**
 * Returns the text of an origin in the same process. A bound Worker sends `Content-Length` only if
 * it sets the header itself, unlike a server on a network.
 */
const origin = (headers) =>
  `export default { fetch: () => new Response('[{"id":1}]', { headers: ${JSON.stringify(headers)} }) };`;
const JSON_TYPE = { 'content-type': 'application/json' };

const SUBJECTS = {
  'guard, public route': { worker: 'guard', path: '/health' },
  guard: { worker: 'guard', path: '/invoices/1' },
  'guard, an answer of unknown length': { worker: 'relaying', path: '/invoices/1' },
  'guard that counts use': { worker: 'counting', path: '/invoices/1' },
  'guard that remembers nothing': { worker: 'forgetful', path: '/invoices/1' },
  'a Worker that only forwards': { worker: 'forward', path: '/invoices/1' },
  'a Worker with jose': { worker: 'jose', path: '/invoices/1' },
};

/**
 * Returns `{ subject: { rps, alone } }`: requests per second with 16 connections, and microseconds
 * of a request with one connection.
 */
export default async function guard() {
  const { issuer, audience, client_secret: secret, guard: folder } = JSON.parse(process.env.EDGEPASS_BENCH);
  const { workers, stop } = await start({ issuer, audience, folder });
  const tokens = await Promise.all(Array.from({ length: TOKENS }, () => obtain(issuer, secret)));
  const seen = Object.fromEntries(Object.keys(SUBJECTS).map((name) => [name, { rps: [], alone: [] }]));
  for (let round = -1; round < ROUNDS; round++) {
    note(`workerd, the whole guard: round ${round + 1} of ${ROUNDS}`);
    for (const [name, { worker, path }] of Object.entries(SUBJECTS)) {
      const asked = { url: workers[worker] + path, tokens, seconds: SECONDS };
      const many = await inChild('load.mjs', { ...asked, connections: 16 });
      const one = await inChild('load.mjs', { ...asked, connections: 1 });
      // The first round warms up.
      if (round < 0) continue;
      seen[name].rps.push(many.rps);
      seen[name].alone.push(1e6 / one.rps);
    }
  }
  await stop();
  return Object.fromEntries(Object.entries(seen).map(([name, { rps, alone }]) =>
    [name, { rps: median(rps), alone: median(alone) }]));
}

async function obtain(issuer, secret) {
  const form = { grant_type: 'client_credentials', client_id: 'example-service', client_secret: secret };
  const response = await fetch(`${issuer}/oauth/token`, { method: 'POST', body: new URLSearchParams(form) });
  return (await response.json()).access_token;
}

async function start({ issuer, audience, folder }) {
  const script = async (contents) => (await build({
    stdin: { contents, resolveDir: here }, bundle: true, write: false, format: 'esm', conditions: ['workerd'],
  })).outputFiles[0].text;
  const named = (name, more) => ({ name, serviceBindings: { ORIGIN: 'origin' }, ...ownSocket, ...more });
  const module = guardModules(folder);
  const bindings = { ISSUER: issuer, AUDIENCE: audience, CACHE: 'cache-api' };
  const forward = 'env.ORIGIN.fetch(request)';
  const { at, stop } = await startWorkers([
    named('guard', { ...module, bindings }),
    named('relaying', { ...module, bindings, serviceBindings: { ORIGIN: 'origin-without-length' } }),
    named('forgetful', { ...module, bindings: { ...bindings, VERIFIED_BYTES: '0' } }),
    named('counting', { ...module, bindings, serviceBindings: { ORIGIN: 'origin', USAGE: 'uses' } }),
    named('forward', { modules: true, script: `export default { fetch: (request, env) => ${forward} };` }),
    named('jose', {
      modules: true,
      script: await script(`
        import { createRemoteJWKSet, jwtVerify } from 'jose';
        const keys = createRemoteJWKSet(new URL('${issuer}/.well-known/jwks.json'));
        const options = { issuer: '${issuer}', audience: '${audience}', typ: 'at+jwt' };
        const told = { iss: 'issuer', sub: 'subject', client_id: 'client-id', jti: 'token-id', scope: 'scope' };
        export default { async fetch(request, env) {
          let claims;
          try {
            const [, token] = /^Bearer (\\S+)$/.exec(request.headers.get('authorization'));
            claims = (await jwtVerify(token, keys, options)).payload;
            if (!claims.scope.split(' ').includes('invoices:read')) return new Response('', { status: 403 });
          } catch {
            return new Response('', { status: 401 });
          }
          // Like the guard: removes the token and tells the origin the client and subject.
          const headers = new Headers(request.headers);
          for (const name of [...headers.keys()]) if (/^x.edgepass.|client.cert/.test(name)) headers.delete(name);
          headers.delete('authorization');
          headers.delete('dpop');
          for (const [claim, name] of Object.entries(told)) headers.set('x-edgepass-' + name, claims[claim]);
          const { pathname, search } = new URL(request.url);
          const { method, body } = request;
          return env.ORIGIN.fetch(new Request('https://origin' + pathname + search, { method, body, headers, redirect: 'manual' }));
        } };`),
    }),
    { name: 'origin', modules: true, script: origin({ ...JSON_TYPE, 'content-length': '10' }) },
    { name: 'uses', modules: true, script: `export default { fetch: () => new Response('{}', { status: 202 }) };` },
    { name: 'origin-without-length', modules: true, script: origin(JSON_TYPE) },
  ]);
  const names = ['guard', 'relaying', 'counting', 'forgetful', 'forward', 'jose'];
  const urls = await Promise.all(names.map(at));
  return { workers: Object.fromEntries(names.map((name, index) => [name, urls[index]])), stop };
}
