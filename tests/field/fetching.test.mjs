// What functions of a program, sources and compatibility dates do to the verifier's own fetches.
//
// EDGEPASS_INSTALLED is a folder with the installed package, EDGEPASS_GUARD the guard's build.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as after } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { startWorkerd } from '../hosts/hosts.mjs';
import { startWorkers, guardModules } from '../stage/workerd.mjs';
import { KEYS, jws, publicJwk, sha256, thumbprint } from '../vectors/sign.mjs';

const installed = process.env.EDGEPASS_INSTALLED;
const packageFolder = join(installed, 'node_modules/edgepass/dist');
const resolve = createRequire(join(installed, 'anything.js')).resolve;
const { Verifier } = await import(pathToFileURL(resolve('edgepass')));
const { version } = JSON.parse(readFileSync(join(installed, 'node_modules/edgepass/package.json')));

const KEY = publicJwk(KEYS.ed25519, { kid: 'k', alg: 'EdDSA' });
const claims = () => {
  const now = Math.floor(Date.now() / 1000);
  return { iss: 'https://issuer.example', aud: 'api', iat: now - 5, exp: now + 600 };
};
const token = (more = {}) => jws({ alg: 'EdDSA', kid: 'k' }, { ...claims(), ...more });
const OPTIONS = {
  profile: 'jwt', issuer: 'https://issuer.example', audience: 'api', typ: null, status: { mode: 'ignore' },
  jwks: 'https://issuer.example/jwks', freshness: { fetchTimeout: '300ms' },
};
const body = JSON.stringify({ keys: [KEY] });
const never = () => new Promise(() => {});
const throwing = new Proxy({}, { get() { throw new Error('no member'); } });
const stream = (read, more = {}) => ({ status: 200, headers: new Headers(), body: { getReader: () => ({ read, cancel: never }) }, ...more });

/** What a `fetch` option may do. Each of these is a failed fetch. */
const BAD = {
  'throws': () => { throw new Error('x'); },
  'rejects': () => Promise.reject(new Error('x')),
  'rejects with nothing': () => Promise.reject(),
  'rejects late': async () => { await after(600); throw new Error('late'); },
  'never settles': never,
  'answers late': async () => { await after(600); return new Response(body); },
  'answers undefined': () => undefined,
  'answers null': async () => null,
  'answers a number': async () => 200,
  'answers a text': async () => body,
  'answers a symbol': async () => Symbol('x'),
  'answers a function': async () => () => {},
  'answers an empty object': async () => ({}),
  'answers the keys': async () => JSON.parse(body),
  'answers what throws': async () => throwing,
  'answers a class': async () => Response,
  'answers Response.error()': async () => Response.error(),
  'answers 204': async () => new Response(null, { status: 204 }),
  'answers 500': async () => new Response(body, { status: 500 }),
  'answers an empty body': async () => new Response(''),
  'answers a body of null': async () => new Response(null),
  'answers a used body': async () => { const used = new Response(body); await used.text(); return used; },
  'answers a locked body': async () => { const locked = new Response(body); locked.body.getReader(); return locked; },
  'a status that is no number': async () => ({ status: {}, headers: new Headers(), body: null }),
  'a status that throws': async () => ({ get status() { throw new Error('x'); }, headers: new Headers(), body: null }),
  'a status that is a symbol': async () => ({ status: Symbol('x'), headers: new Headers(), body: null }),
  'a status that is a bigint': async () => ({ status: 200n, headers: new Headers(), body: null }),
  'no headers': async () => ({ status: 200, body: new Response(body).body }),
  'headers of an object': async () => ({ status: 200, headers: { etag: 'x' }, body: new Response(body).body }),
  'headers that throw': async () => ({ status: 200, headers: throwing, body: new Response(body).body }),
  'a body that is a text': async () => ({ status: 200, headers: new Headers(), body }),
  'a body that never ends': async () => new Response(new ReadableStream({ pull: never })),
  'a body that stops': async () => new Response(new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode('{"keys":')); } })),
  'a body that breaks': async () => new Response(new ReadableStream({ pull(c) { c.error(new Error('x')); } })),
  'a body of texts': async () => new Response(new ReadableStream({ start(c) { c.enqueue(body); c.close(); } })),
  'a body without end': async () => new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(65_536)); } })),
  'a reader of nothing': async () => stream(async () => undefined),
  'a reader of numbers': async () => stream(async () => ({ done: false, value: 7 })),
  'a reader that throws': async () => stream(() => { throw new Error('x'); }),
  'a reader that hangs': async () => stream(never),
};

const rejections = [];
process.on('unhandledRejection', (error) => rejections.push(error));
process.on('uncaughtException', (error) => rejections.push(error));

test('a fetch option that gives no usable response makes keys unavailable in time', async () => {
  await Promise.all(Object.entries(BAD).map(async ([name, fetch]) => {
    const verifier = Verifier.create({ ...OPTIONS, fetch });
    const from = performance.now();
    const verdict = await verifier.verify(token());
    assert.equal(verdict.code, 'keys_unavailable', name);
    const took = performance.now() - from;
    assert.ok(took < 2_000, `${name}: ${took} ms`);
    // The verifier still works: with a good answer the same token is accepted.
    assert.equal(Object.values(verifier.counters().refused).reduce((a, b) => a + b), 1, name);
  }));
  await after(1_000);
  assert.deepEqual(rejections, [], 'nothing is left unhandled');
});

test('a fetch option that works again is asked again', async () => {
  await Promise.all(Object.entries(BAD).map(async ([name, bad]) => {
    let works = false;
    const fetch = (...args) => (works ? Promise.resolve(new Response(body)) : bad(...args));
    const verifier = Verifier.create({ ...OPTIONS, freshness: { fetchTimeout: '50ms' }, fetch });
    await verifier.verify(token());
    works = true;
    let verdict;
    for (let tries = 0; tries < 60 && !verdict?.accepted; tries += 1) {
      await after(30);
      verdict = await verifier.verify(token());
    }
    assert.ok(verdict.accepted, name);
  }));
});

test('a status list that never comes makes the status unavailable in time', async () => {
  const uri = 'https://issuer.example/lists/1';
  for (const [name, bad] of Object.entries(BAD)) {
    const fetch = async (url) => (url === uri ? bad() : new Response(body));
    const verifier = Verifier.create({ ...OPTIONS, status: { mode: 'required' }, freshness: { deadline: 'none', fetchTimeout: '100ms' }, fetch });
    const verdict = await verifier.verify(token({ status: { status_list: { idx: 1, uri } } }));
    assert.equal(verdict.code, 'status_unavailable', name);
  }
  await after(700);
  assert.deepEqual(rejections, []);
});

test('a firstUse that gives no boolean in time refuses the proof', async () => {
  const externalUrl = 'https://api.example';
  const bound = token({ cnf: { jkt: thumbprint('p256_client') } });
  const proof = () => jws(
    { typ: 'dpop+jwt', alg: 'ES256', jwk: publicJwk(KEYS.p256_client) },
    { jti: crypto.randomUUID(), htm: 'GET', htu: `${externalUrl}/`, iat: Math.floor(Date.now() / 1000), ath: sha256(bound) }, 'p256_client',
  );
  const judge = (firstUse) => Verifier.create({ ...OPTIONS, externalUrl, firstUse, fetch: async () => new Response(body) })
    .verify(new Request(`${externalUrl}/`, { headers: { authorization: `DPoP ${bound}`, dpop: proof() } }));
  assert.ok((await judge(async () => true)).accepted);
  assert.equal((await judge(async () => false)).code, 'dpop_proof_invalid');
  const bad = {
    'never settles': never, 'rejects late': async () => { await after(2_700); throw new Error('late'); }, 'throws': () => { throw new Error('x'); },
    'undefined': async () => undefined, 'one': async () => 1, 'a text': async () => 'true', 'what throws': () => throwing,
    'a rejection': () => Promise.reject(), 'a thenable that never settles': () => ({ then() {} }),
    'a thenable that throws': () => ({ then() { throw new Error('x'); } }),
  };
  await Promise.all(Object.entries(bad).map(async ([name, firstUse]) => {
    assert.equal((await judge(firstUse)).code, 'replay_unavailable', name);
  }));
  await after(400);
  assert.deepEqual(rejections, []);
});

test('a waitUntil that fails changes no verdict', async () => {
  const bad = [() => { throw new Error('x'); }, () => Promise.reject(new Error('x')), async (work) => { await work; throw new Error('x'); }, never];
  for (const waitUntil of bad) {
    let fetches = 0;
    const verifier = Verifier.create({
      ...OPTIONS, freshness: { deadline: '3s', publishDelay: '0s', sharedMaxAge: '0s', refreshInterval: '20ms' },
      fetch: async () => { fetches += 1; return new Response(body); },
    });
    for (let calls = 0; calls < 40; calls += 1) {
      const verdict = await verifier.verify(token(), {}, { waitUntil });
      assert.ok(verdict.accepted);
      await after(5);
    }
    assert.ok(fetches > 1, `${fetches} fetches`);
  }
  assert.deepEqual(rejections, []);
});

test('every request says who asks', async (t) => {
  const seen = [];
  const server = createServer((request, response) => {
    seen.push(request.headers);
    response.setHeader('content-type', 'application/json').end(body);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => server.close());
  const jwks = `http://127.0.0.1:${server.address().port}/jwks`;
  const asks = async (options) => {
    const verdict = await Verifier.create({ ...OPTIONS, jwks, ...options }).verify(token());
    assert.ok(verdict.accepted, verdict.message);
    return seen.pop();
  };
  assert.equal((await asks({}))['user-agent'], `edgepass/${version}`);
  assert.equal((await asks({ userAgent: 'My API 1.0' }))['user-agent'], 'My API 1.0');
  for (const userAgent of ['', ' x', 'a\nb', 'ä', 7]) {
    assert.throws(() => Verifier.create({ ...OPTIONS, userAgent }), /userAgent/);
  }
  const url = await startWorkerd(t, packageFolder, `
    import { Verifier } from 'library';
    const verifier = Verifier.create(${JSON.stringify({ ...OPTIONS, jwks })});
    export default { fetch: async (request) => Response.json((await verifier.verify(request)).code) };`);
  assert.equal(await (await fetch(url, { headers: { authorization: `Bearer ${token()}` } })).json(), null);
  assert.equal(seen.pop()['user-agent'], `edgepass/${version}`);
});

const DATES = ['2023-08-01', '2024-09-23', '2024-11-10', '2024-11-11', '2026-10-01'];

test('the package gets its keys at every compatibility date', async (t) => {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json').end(body);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => server.close());
  const jwks = `http://127.0.0.1:${server.address().port}/jwks`;
  for (const compatibilityDate of DATES) {
    for (const compatibilityFlags of [[], ['nodejs_compat']]) {
      const url = await startWorkerd(t, packageFolder, `
        import { Verifier } from 'library';
        const verifier = Verifier.create(${JSON.stringify({ ...OPTIONS, jwks })});
        export default { fetch: async (request) => Response.json((await verifier.verify(request)).code) };`,
      { compatibilityDate, compatibilityFlags });
      const answer = await fetch(url, { headers: { authorization: `Bearer ${token()}` } });
      assert.equal(await answer.json(), null, `${compatibilityDate} ${compatibilityFlags}`);
    }
  }
});

test('the guard works, or says which compatibility date it needs', async (t) => {
  for (const compatibilityDate of DATES) {
    for (const compatibilityFlags of [[], ['nodejs_compat']]) {
      const lines = [];
      const { url, stop } = await startWorkers([
        {
          name: 'guard', ...guardModules(process.env.EDGEPASS_GUARD), compatibilityDate, compatibilityFlags,
          bindings: { ISSUER: 'https://issuer.example', AUDIENCE: 'api' }, serviceBindings: { ORIGIN: 'origin' },
        },
        { name: 'origin', modules: true, script: 'export default { fetch: () => new Response("origin") }', compatibilityDate: '2024-11-11' },
      ], { log: (line) => lines.push(line) });
      t.after(stop);
      const answer = await fetch(new URL('/health', url));
      const works = compatibilityDate >= '2024-11-11';
      assert.equal(answer.status, works ? 200 : 503, `${compatibilityDate} ${compatibilityFlags}`);
      if (!works) {
        assert.equal((await answer.json()).code, 'guard_misconfigured');
        assert.match(lines.join('\n'), /compatibility_date.*2024-11-11/);
      }
      await stop();
    }
  }
});
