// `edgepass/mask`: the package masks responses as the guard does, in Node.js and in workerd.
//
// EDGEPASS_INSTALLED is a folder with the installed package.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { startWorkers } from '../stage/workerd.mjs';

const installed = process.env.EDGEPASS_INSTALLED;
const load = (name) => import(pathToFileURL(join(installed, 'node_modules/edgepass/dist/lib', `${name}.js`)));
const { Verifier } = await load('inline');
const { Mask, MaskingImpossible } = await load('mask');
const { TestIssuer } = await load('testing');

const KEY = 'gO3mQ0yTq2hX8sVn5bKd7rLw1cZf4jPe';
const RULES = [
  { fields: ['$.customers[*].iban', '$..card'], unless: 'customers:pii', with: 'last4' },
  { fields: ['$..email'], unless: 'customers:pii', with: 'email' },
  { fields: ['$..phone'], unless: 'customers:pii', with: 'hash' },
  { fields: ['$..notes'], unless: 'customers:pii', with: 'remove' },
  { fields: ['$..born'], unless: 'customers:pii', with: 'null' },
];
const DOCUMENT = `{ "customers": [\r
  {"name":"Ad\\u0061", "iban" : "DE02120300000000202051","email":"ada@example.com", "balance": 1.50e+02},
  {"notes": {"card": "4111111111111111"}, "phone":"+49 30 123456","born":"1815-12-10","id":12345678901234567890}
 ],"total":-0 }`;
const issuer = await TestIssuer.create();
const verifier = Verifier.create(issuer.options());
const long = (text) => [Buffer.from(BigUint64Array.of(BigInt(Buffer.byteLength(text))).buffer).reverse(), Buffer.from(text)];
const hash = (value, agreement) => createHmac('sha256', KEY)
  .update(Buffer.concat([...long(issuer.issuer), ...long(agreement), Buffer.from(value)])).digest().subarray(0, 16).toString('base64url');
const MASKED = (agreement) => `{ "customers": [\r
  {"name":"Ad\\u0061", "iban" : "****2051","email":"a***@example.com", "balance": 1.50e+02},
  { "phone":"${hash('+49 30 123456', agreement)}","born":null,"id":12345678901234567890}
 ],"total":-0 }`;
const AGREEMENT = { authorization_details: [{ type: 'edgepass_agreement', agreement: 'acme-2026' }] };

let mask;
let masked;
let whole;
before(async () => {
  mask = Mask.create({ rules: RULES, key: KEY });
  masked = await verifier.verify(await issuer.token({ scope: 'customers:read', ...AGREEMENT }));
  whole = await verifier.verify(await issuer.token({ scope: 'customers:read customers:pii' }));
  assert.ok(masked.accepted && whole.accepted);
});

const JSON_TYPE = { 'content-type': 'application/json' };
/** A body that arrives in pieces of this many octets. */
const inPieces = (text, size) => {
  const octets = Buffer.from(text);
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= octets.length) return controller.close();
      controller.enqueue(octets.subarray(at, at += size));
    },
  });
};
const read = async (response) => {
  const pieces = [];
  try {
    for await (const piece of response.body ?? []) pieces.push(piece);
    return [Buffer.concat(pieces).toString(), true];
  } catch (error) {
    return [Buffer.concat(pieces).toString(), error];
  }
};

test('values leave masked unless the scope says otherwise, in pieces of any size', async () => {
  for (const size of [1, 2, 3, 7, 64, 1 << 20]) {
    const response = await mask.response(new Response(inPieces(DOCUMENT, size), { headers: JSON_TYPE }), masked);
    assert.equal(await response.text(), MASKED('acme-2026'), `pieces of ${size}`);
    const other = await mask.response(new Response(inPieces(DOCUMENT, size), { headers: JSON_TYPE }), whole);
    assert.equal(await other.text(), DOCUMENT);
  }
  const granted = await mask.response(new Response(DOCUMENT, { headers: JSON_TYPE }), masked, { granted: ['customers:pii'] });
  assert.equal(await granted.text(), DOCUMENT, 'what the caller says is granted');
  const refused = await verifier.verify('no token');
  const closed = await mask.response(new Response(DOCUMENT, { headers: JSON_TYPE }), refused);
  const text = await closed.text();
  assert.equal(text.replace(/"phone":"[^"]{22}"/, ''), MASKED('').replace(/"phone":"[^"]{22}"/, ''), 'for a refused token everything is masked');
});

test('what is said of the body is true, and no cache gives it to another token', async () => {
  const headers = {
    ...JSON_TYPE, etag: '"a"', 'content-length': String(Buffer.byteLength(DOCUMENT)), 'accept-ranges': 'bytes',
    'content-digest': 'sha-256=:AA==:', 'cache-control': 'public, max-age=60, no-cache="set-cookie, x"', 'cdn-cache-control': 'max-age=9', vary: 'Accept',
  };
  const response = await mask.response(new Response(DOCUMENT, { status: 404, headers }), masked);
  for (const name of ['etag', 'content-length', 'accept-ranges', 'content-digest', 'cdn-cache-control']) assert.equal(response.headers.get(name), null, name);
  assert.equal(response.status, 404);
  assert.equal(response.headers.get('cache-control'), 'private, max-age=60, no-cache="set-cookie, x"');
  assert.equal(response.headers.get('vary'), 'Accept, Authorization');
  const plain = await mask.response(new Response(DOCUMENT, { headers }), whole);
  assert.deepEqual([plain.headers.get('etag'), plain.headers.get('content-length')], ['"a"', headers['content-length']]);
  assert.equal(plain.headers.get('cache-control'), 'private, max-age=60, no-cache="set-cookie, x"');
  for (const strict of ['no-store', 'private', 'max-age=0, no-store']) {
    const kept = await mask.response(new Response('{}', { headers: { ...JSON_TYPE, 'cache-control': strict } }), masked);
    assert.equal(kept.headers.get('cache-control'), strict);
  }
  const empty = await mask.response(new Response(null, { status: 204, headers: { etag: '"a"' } }), masked);
  assert.deepEqual([empty.status, empty.headers.get('etag')], [204, null]);
});

test('what cannot be masked does not pass', async () => {
  for (const [what, body, init] of [
    ['html', '<p>ada@example.com</p>', { headers: { 'content-type': 'text/html' } }],
    ['no type', new Uint8Array(Buffer.from('{"email":"ada@example.com"}')), {}],
    ['another charset', '{}', { headers: { 'content-type': 'application/json; charset=utf-16' } }],
    ['gzip', gzipSync(DOCUMENT), { headers: { ...JSON_TYPE, 'content-encoding': 'gzip' } }],
    ['a part', '"email":"ada@example.com"}', { status: 206, headers: JSON_TYPE }],
    ['no JSON', 'ada@example.com', { headers: JSON_TYPE }],
    ['a repeated name', '{"email":"ada@example.com","email":"b@example.com"}', { headers: JSON_TYPE }],
    ['half a document', '{"a":', { headers: JSON_TYPE }],
  ]) {
    const response = await mask.response(new Response(body, init), masked);
    const [text, ended] = await read(response);
    if (what === 'half a document') {
      // It shows at the end.
      assert.equal(response.status, 200, what);
      assert.ok(ended instanceof MaskingImpossible, `${what}: ${text}`);
    } else {
      assert.equal(response.status, 502, what);
      assert.equal(JSON.parse(text).code, 'masking_impossible', what);
      assert.equal(response.headers.get('content-type'), 'application/problem+json');
    }
    assert.ok(!text.includes('ada@example.com'), what);
  }
  const late = await mask.response(new Response(`{"a":"${'x'.repeat(200_000)}","email":"ada@example.com"`, { headers: JSON_TYPE }), masked);
  assert.equal(late.status, 200);
  const [, ended] = await read(late);
  assert.ok(ended instanceof MaskingImpossible, 'the body ends as an error');
  const failing = new ReadableStream({ start: (controller) => controller.error(new Error('the origin is gone')) });
  await assert.rejects(mask.response(new Response(failing, { headers: JSON_TYPE }), masked), /the origin is gone/);
});

test('lines and events pass one by one, and a reader that leaves ends the origin\'s body', async () => {
  const lines = await mask.response(new Response('{"email":"ada@a.example"}\n{"email":"bo@b.example"}\n', { headers: { 'content-type': 'application/x-ndjson' } }), masked);
  assert.equal(await lines.text(), '{"email":"a***@a.example"}\n{"email":"b***@b.example"}\n');
  let cancelled;
  let send;
  const body = new ReadableStream({ start: (controller) => { send = controller; }, cancel: (reason) => { cancelled = reason; } });
  const events = await mask.response(new Response(body, { headers: { 'content-type': 'text/event-stream' } }), masked);
  const reader = events.body.getReader();
  const next = async () => Buffer.from((await reader.read()).value).toString();
  send.enqueue(Buffer.from('data: {"email":"ada@a.example"}\n\n'));
  assert.equal(await next(), 'data: {"email":"a***@a.example"}\n\n');
  send.enqueue(Buffer.from('data: {"email":"bo@b.example"}\n\n'));
  assert.equal(await next(), 'data: {"email":"b***@b.example"}\n\n');
  await reader.cancel('enough');
  assert.equal(cancelled, 'enough');
});

test('a large body passes with little memory', async () => {
  const row = Buffer.from(`{"email":"ada@example.com","text":"${'x'.repeat(1000)}"},`);
  const block = Buffer.concat(Array(60).fill(row));
  const blocks = 4000;
  let sent = 0;
  const body = new ReadableStream({
    pull(controller) {
      if (sent === 0) controller.enqueue(Buffer.from('['));
      if (sent === blocks) {
        controller.enqueue(Buffer.from('0]'));
        return controller.close();
      }
      sent += 1;
      controller.enqueue(block);
    },
  }, { highWaterMark: 0 });
  const response = await mask.response(new Response(body, { headers: JSON_TYPE }), masked);
  let [octets, most] = [0, 0];
  const before = process.memoryUsage().rss;
  for await (const piece of response.body) {
    octets += piece.length;
    most = Math.max(most, process.memoryUsage().rss - before);
  }
  assert.ok(octets > 200e6, `${octets} octets`);
  assert.ok(most < 100e6, `${most} octets of memory`);
});

test('octets that pass through a stream are masked, too', async () => {
  const through = async (contentType, verdict, text, size) => {
    const stream = inPieces(text, size).pipeThrough(mask.stream(contentType, verdict));
    return read(new Response(stream));
  };
  assert.deepEqual(await through('application/json', masked, DOCUMENT, 5), [MASKED('acme-2026'), true]);
  assert.deepEqual(await through('application/json', whole, DOCUMENT, 5), [DOCUMENT, true]);
  for (const [type, text] of [['text/plain', DOCUMENT], ['application/json', '{"a"'], ['application/json', 'x']]) {
    const [told, ended] = await through(type, masked, text, 4);
    assert.ok(ended instanceof MaskingImpossible && !told.includes('x'), `${type} ${text}`);
  }
});

test('the request to the origin asks for a whole and plain answer', async () => {
  const headers = { range: 'bytes=0-9', 'if-none-match': '"a"', 'accept-encoding': 'gzip, br', accept: 'application/json' };
  const asked = mask.request(new Request('https://origin.example/customers', { headers }));
  assert.deepEqual([...asked.headers], [['accept', 'application/json'], ['accept-encoding', 'identity']]);
  const seen = createServer((request, response) => response.end(request.headers['accept-encoding']));
  seen.listen(0, '127.0.0.1');
  await once(seen, 'listening');
  const answer = await fetch(mask.request(new Request(`http://127.0.0.1:${seen.address().port}/`)));
  assert.equal(await answer.text(), 'identity', 'the host sends it');
  seen.close();
  const change = mask.request(new Request('https://origin.example/customers', { method: 'PUT', headers, body: '{}' }));
  assert.equal(change.headers.get('if-none-match'), '"a"', 'a condition of a change stays');
});

test('options that are wrong are refused by their names', async () => {
  for (const [options, hint] of [
    [undefined, /create expects options/],
    [{ rules: [] }, /rules must be/],
    [{ rules: RULES }, /key is required/],
    [{ rules: [RULES[0]], key: KEY }, /key is required if and only if/],
    [{ rules: RULES, key: 'short' }, /32 characters/],
    [{ rules: [{ fields: ['a'], with: 'null' }] }, /rules\[0\]\.fields: write a path/],
    [{ rules: [{ fields: [], with: 'null' }] }, /rules\[0\]\.fields/],
    [{ rules: [{ fields: ['$.a'], with: 'nothing' }] }, /rules\[0\]\.with/],
    [{ rules: [{ fields: ['$.a'], with: 'null', unless: 'a b' }] }, /rules\[0\]\.unless/],
    [{ rules: [{ fields: ['$.a'], with: 'null', els: 1 }] }, /unknown option rules\[0\]\.els/],
    [{ rules: [{ fields: Array(33).fill('$.a'), with: 'null' }] }, /at most 32 paths/],
    [{ rules: RULES, key: KEY, more: 1 }, /unknown option more/],
  ]) {
    assert.throws(() => Mask.create(options), hint);
  }
  for (const [call, hint] of [
    [() => mask.response(new Response('{}'), whole, { grantd: [] }), /unknown option grantd; expected one of granted/],
    [() => mask.response(new Response('{}'), whole, { granted: 5 }), /granted must be/],
    [() => mask.response('{"email":1}', whole), /expects a Response/],
    [() => mask.response(new Response('{}'), { accepted: true }), /claims/],
    [() => mask.response(new Response('{}')), /expects the verdict/],
  ]) {
    await assert.rejects(call, hint);
  }
});

test('by require, and in workerd, the answers are the same', async (t) => {
  const require = createRequire(join(installed, 'anything.js'));
  const common = require('edgepass/mask').Mask.create({ rules: RULES, key: KEY });
  const again = await common.response(new Response(DOCUMENT, { headers: JSON_TYPE }), masked);
  assert.equal(await again.text(), MASKED('acme-2026'));

  const source = `
    import { Verifier } from 'edgepass';
    import { Mask } from 'edgepass/mask';
    import { TestIssuer } from 'edgepass/testing';
    const mask = Mask.create({ rules: ${JSON.stringify(RULES)}, key: '${KEY}' });
    export default {
      async fetch(request) {
        const issuer = await TestIssuer.create({ issuer: '${issuer.issuer}' });
        const verifier = Verifier.create(issuer.options());
        const scope = request.headers.get('x-scope');
        const verdict = await verifier.verify(await issuer.token({ scope, ...${JSON.stringify(AGREEMENT)} }));
        const headers = { 'content-type': request.headers.get('content-type') };
        return mask.response(new Response(request.body, { headers }), verdict);
      },
    };`;
  const bundled = await build({
    stdin: { contents: source, resolveDir: installed }, bundle: true, format: 'esm', conditions: ['workerd', 'worker'],
    write: false, outdir: '/out', external: ['cloudflare:*', 'node:*'], loader: { '.wasm': 'copy' }, assetNames: '[name]', logLevel: 'error',
  });
  const file = (end) => bundled.outputFiles.filter(({ path }) => path.endsWith(end));
  const { url, stop } = await startWorkers([{
    name: 'app', modulesRoot: '/out',
    modules: [
      { type: 'ESModule', path: '/out/stdin.js', contents: file('.js')[0].text },
      ...file('.wasm').map(({ path, contents }) => ({ type: 'CompiledWasm', path, contents })),
    ],
  }]);
  t.after(stop);
  assert.equal(file('.wasm').length, 2, 'the verifier and the masker');
  const ask = (body, scope, type = 'application/json') =>
    fetch(url, { method: 'POST', headers: { 'x-scope': scope, 'content-type': type }, body });
  assert.equal(await (await ask(DOCUMENT, 'customers:read')).text(), MASKED('acme-2026'));
  assert.equal(await (await ask(DOCUMENT, 'customers:pii')).text(), DOCUMENT);
  const refused = await ask('<p>ada@example.com</p>', 'customers:read', 'text/html');
  assert.deepEqual([refused.status, (await refused.json()).code], [502, 'masking_impossible']);
});
