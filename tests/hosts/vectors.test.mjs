// The verification vectors in Node.js, in workerd and in Chromium, through the packed package.
//
// EDGEPASS_INSTALLED is a folder with the installed package, EDGEPASS_CHROMIUM the browser's
// program.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import { HOSTS, startWorkerd } from './hosts.mjs';
import replay from './replay.mjs';

const installed = process.env.EDGEPASS_INSTALLED;
const packageFolder = join(installed, 'node_modules/edgepass/dist');
const file = JSON.parse(readFileSync(new URL('../vectors/verify.json', import.meta.url)));

function assertAll({ judged, wrong, repeated }) {
  assert.ok(judged > 250, `only ${judged} vectors`);
  assert.deepEqual(wrong, []);
  assert.deepEqual(repeated, [], 'these refusals repeat a part of their token');
}

for (const [host, run] of Object.entries(HOSTS)) {
  test(`${host}: every vector gives its verdict and code`, async (t) => {
    assertAll(await run(t, packageFolder, 'replay.mjs', file));
  });
}

const lines = readFileSync(new URL('../vectors/batch.jsonl', import.meta.url), 'utf8').trim()
  .split('\n').map((line) => JSON.parse(line));

for (const [host, run] of Object.entries(HOSTS)) {
  test(`${host}: every line of a batch gives its answer`, async (t) => {
    const answers = await run(t, packageFolder, 'batch.mjs', lines);
    assert.equal(answers.length, lines.length);
    answers.forEach(({ id, message, ...answer }, position) => {
      assert.equal(id, lines[position].id);
      assert.deepEqual(answer, lines[position].expect, `${id} ${message ?? ''}`);
    });
    console.log(`${host}: ${lines.length} lines`);
  });
}

const ed25519 = JSON.parse(readFileSync(new URL('../vectors/ed25519.json', import.meta.url)));

const inFunction = async (t, library, task, data) => {
  const own = await import(pathToFileURL(join(library, 'lib/inline.js')));
  return (await import(`./${task}`)).default(own, data, 'await');
};

for (const [host, run] of Object.entries({ ...HOSTS, 'node, in a function': inFunction })) {
  test(`${host}: one equation of Ed25519, whoever checks the signature`, async (t) => {
    const { tableBytes, ...codes } = await run(t, packageFolder, 'ed25519.mjs', ed25519);
    const invalid = ['signature_invalid'];
    assert.deepEqual(codes, {
      accepted: [null], refused: invalid, malleable: invalid, smallOrder: invalid, notCanonical: invalid,
    });
    assert.equal(tableBytes, 0);
  });
}

test('node: a batch takes objects, their texts, or one text, and answers with lines', async () => {
  const resolve = createRequire(join(installed, 'anything.js')).resolve;
  const { verifyBatch } = await import(pathToFileURL(resolve('edgepass')));
  const some = [...lines.slice(0, 5), { id: 'no line' }];
  const texts = some.map((line) => JSON.stringify(line));
  const answers = await verifyBatch(some);
  assert.deepEqual(answers.map(({ verdict }) => verdict), [...some.slice(0, 5).map(({ expect }) => expect.verdict), 'error']);
  assert.deepEqual((await verifyBatch(texts)).map(String), answers.map(String));
  assert.deepEqual((await verifyBatch(`${texts.join('\n')}\n`)).map(String), answers.map(String));
  assert.deepEqual(JSON.parse(answers[5]), { ...answers[5] });
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

test('node: a refusal that comes again is told again as it is', async () => {
  const resolve = createRequire(join(installed, 'anything.js')).resolve;
  const { Verifier } = await import(pathToFileURL(resolve('edgepass')));
  const verifier = Verifier.create({ issuer: 'https://issuer.example', audience: 'a', jwks: { keys: [] } });
  // More than the module numbers.
  for (let turn = 0; turn < 3; turn += 1) {
    for (let number = 0; number < 80; number += 1) {
      const verdict = await verifier.verify('abc', { allOf: [`scope:${number}`] });
      assert.deepEqual(verdict.toJSON(), {
        accepted: false, code: 'token_malformed', step: 'parse', message: verdict.message, status: null, stale: false,
        cause: null, claims: null,
      });
      assert.match(verdict.message, /./);
      const response = verdict.toResponse();
      assert.equal(response.status, 401);
      assert.ok(response.headers.get('www-authenticate').includes(`scope="scope:${number}"`));
      assert.equal((await response.json()).code, 'token_malformed');
    }
  }
  const other = await verifier.verify(`${Buffer.from('{"alg":"none"}').toString('base64url')}.e30.`);
  assert.notEqual(other.code, 'token_malformed');
});

test('node: a token in the query counts only where it may be there, under an escaped name as well', async () => {
  const resolve = createRequire(join(installed, 'anything.js')).resolve;
  const { Verifier } = await import(pathToFileURL(resolve('edgepass')));
  const verifier = Verifier.create({
    issuer: 'https://issuer.example', audience: 'https://api.example', jwks: { keys: [] },
  });
  const both = Verifier.create({
    issuer: 'https://issuer.example', audience: 'https://api.example', jwks: { keys: [] },
    tokenFrom: ['authorization', 'query'],
  });
  const headers = { authorization: 'Bearer nonsense' };
  for (const [query, code] of [
    ['', 'token_malformed'], ['?a=access', 'token_malformed'], ['?access_token=x', 'request_invalid'],
    ['?%61ccess_token=x', 'request_invalid'], ['?a=1&access%5Ftoken=x', 'request_invalid'],
  ]) {
    const request = new Request(`https://api.example/${query}`, { headers });
    assert.equal((await verifier.verify(request)).code, 'token_malformed', query);
    assert.equal((await both.verify(request)).code, code, query);
  }
  // A text is the token itself.
  assert.equal((await both.verify('nonsense')).code, 'token_malformed');
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
    await verifier.verify(token, {}, { now });
    const work = [];
    const waitUntil = name === 'waitUntil' ? (promise) => work.push(promise) : undefined;
    const verdict = await verifier.verify(token, {}, { now: now + 6, waitUntil });
    assert.equal(verdict.accepted, true);
    assert.deepEqual([fetched, ended], [2, waits ? 2 : 1], name);
    await Promise.all(work);
    assert.equal(ended === 2, waits || name === 'waitUntil', name);
    delete process.env.AWS_LAMBDA_FUNCTION_NAME;
  }
});

test('workerd: a verifier can be made in global scope', async (t) => {
  // workerd refuses to start a Worker that does I/O or draws randomness in global scope.
  const url = await startWorkerd(t, packageFolder, `
    import { Verifier } from 'library';
    const verifier = Verifier.create({ issuer: 'https://issuer.example', audience: 'a' });
    export default { async fetch() { return Response.json((await verifier.verify('x')).code); } };`);
  assert.equal(await (await fetch(url)).json(), 'token_malformed');
});

test('workerd: the Cache API tier spares fetches and confirms nothing', async (t) => {
  const url = await startWorkerd(t, packageFolder, `
    import { Verifier } from 'library';
    export default { async fetch(request) {
      const { vector, responses, jwks_uri, steps } = await request.json();
      const seen = [];
      for (const { cache, now, online } of steps) {
        const fetched = [];
        // A new verifier simulates a fresh isolate.
        const verifier = Verifier.create({
          ...vector.policy, jwks: jwks_uri, cache, fetch: async (url) => {
            fetched.push(new URL(url).pathname);
            if (!online) throw new TypeError('unreachable');
            const { status, headers, body } = responses[url];
            return new Response(body, { status, headers });
          },
        });
        const { code, stale } = await verifier.verify(vector.token, {}, { now });
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
        // The cached copies were confirmed at `now`; reading them later does not confirm them.
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
  const url = await startWorkerd(t, packageFolder, `
    import { Verifier } from 'library';
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
      const { code } = await verifiers.get('one').verify(vector.token, {}, { now: vector.now });
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

test('node: what is no token gets the same verdict with a certificate as without', async () => {
  const resolve = createRequire(join(installed, 'anything.js')).resolve;
  const { Verifier } = await import(pathToFileURL(resolve('edgepass')));
  const verifier = Verifier.create({
    issuer: 'https://issuer.example', audience: 'https://api.example', jwks: { keys: [] },
  });
  const certificateSha256 = '00'.repeat(32);
  for (const text of ['', ' ', ' a.b.c', 'a.b.c ', '\ud800', 'é', 'x'.repeat(1 << 20), '\ud800'.repeat(1 << 20)]) {
    assert.equal((await verifier.verify(text)).code, 'token_malformed');
    assert.equal((await verifier.verify(text, {}, { certificateSha256 })).code, 'token_malformed');
  }
});
