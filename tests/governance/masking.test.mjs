// The guard masks values in responses, in workerd, in front of an origin on the network.
//
// EDGEPASS_GOVERNANCE_GUARD is a build of the guard with the policy guard.toml beside this file, EDGEPASS_INSTALLED a
// folder with the installed package.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { issuer } from '../hosts/issuer.mjs';
import { guardModules, startWorkers } from '../stage/workerd.mjs';

const build = process.env.EDGEPASS_GOVERNANCE_GUARD;
const MASK_KEY = 'gO3mQ0yTq2hX8sVn5bKd7rLw1cZf4jPe';
const METRICS_TOKEN = 'counters-for-the-tests-of-masking';
const READ = 'customers:read';

/** Starts a guard in front of an origin that answers with `answer(request, response)`. */
async function start(t, answer, secrets = { MASK_KEY }) {
  const own = await issuer(t, 'p256');
  issuerUrl = own.url;
  const asked = [];
  const origin = createServer((request, response) => {
    asked.push(request.headers);
    return answer(request, response);
  });
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  const { url, stop } = await startWorkers([{
    name: 'guard', ...guardModules(build),
    bindings: {
      ISSUERS: [{ ...own.trusted, profile: 'jwt', typ: 'at+jwt' }], CACHE: 'none', ...secrets, METRICS_TOKEN,
      ORIGIN_URL: `http://127.0.0.1:${origin.address().port}`,
    },
  }]);
  t.after(async () => {
    await stop();
    origin.closeAllConnections();
    origin.close();
  });
  const bearer = (claims = {}) => ({ authorization: `Bearer ${own.token({ scope: READ, ...claims })}` });
  const get = (path, claims, { headers, ...init } = {}) =>
    fetch(new URL(path, url), { headers: { ...bearer(claims), ...headers }, redirect: 'manual', ...init });
  const counted = async (code = 'masking_impossible') => (await (await fetch(new URL('/.edgepass/metrics', url), {
    headers: { authorization: `Bearer ${METRICS_TOKEN}` },
  })).text()).match(new RegExp(`${code}"\\} (\\d+)`))?.[1];
  return { url, get, asked, counted };
}

const json = (body, more = {}) => (request, response) => {
  response.writeHead(200, { 'content-type': 'application/json', ...more });
  response.end(body);
};
/** Reads a body to its end, or to the error in which it ends. */
async function read(response) {
  const pieces = [];
  try {
    for await (const piece of response.body) pieces.push(piece);
    return { text: Buffer.concat(pieces).toString(), isWhole: true };
  } catch {
    return { text: Buffer.concat(pieces).toString(), isWhole: false };
  }
}

const DOCUMENT = `{ "customers": [\r
  {"name":"Ad\\u0061", "iban" : "DE02120300000000202051","email":"ada@example.com", "balance": 1.50e+02},
  {"notes": {"card": "4111111111111111"}, "phone":"+49 30 123456","born":"1815-12-10","id":12345678901234567890}
 ],"total":-0 }`;
const long = (text) => [Buffer.from(BigUint64Array.of(BigInt(Buffer.byteLength(text))).buffer).reverse(), Buffer.from(text)];
let issuerUrl;
const hash = (value, agreement) =>
  createHmac('sha256', MASK_KEY).update(Buffer.concat([...long(issuerUrl), ...long(agreement), Buffer.from(value)])).digest().subarray(0, 16).toString('base64url');
const MASKED = (agreement) => `{ "customers": [\r
  {"name":"Ad\\u0061", "iban" : "****2051","email":"a***@example.com", "balance": 1.50e+02},
  { "phone":"${hash('+49 30 123456', agreement)}","born":null,"id":12345678901234567890}
 ],"total":-0 }`;
const agreement = (id) => ({ authorization_details: [{ type: 'edgepass_agreement', agreement: id }] });

test('values leave masked unless the scope says otherwise', async (t) => {
  const { get, asked } = await start(t, json(DOCUMENT, {
    etag: '"origin"', 'content-length': Buffer.byteLength(DOCUMENT), 'accept-ranges': 'bytes', 'content-digest': 'sha-256=:AA==:',
    'cache-control': 'public, max-age=60',
  }));
  const masked = await get('/customers', agreement('acme-2026'), {
    headers: { 'if-none-match': '"origin"', range: 'bytes=0-9', 'accept-encoding': 'gzip, br' },
  });
  assert.equal(masked.status, 200);
  assert.equal(await masked.text(), MASKED('acme-2026'));
  for (const name of ['etag', 'accept-ranges', 'content-digest']) assert.equal(masked.headers.get(name), null, name);
  assert.match(masked.headers.get('cache-control'), /private/);
  assert.match(masked.headers.get('vary'), /authorization/i);
  // What the origin is asked for is whole and plain.
  for (const name of ['if-none-match', 'range']) assert.equal(asked[0][name], undefined, name);
  assert.equal(asked[0]['accept-encoding'], 'identity');

  const whole = await get('/customers', { scope: `${READ} customers:pii` }, { headers: { 'accept-encoding': 'identity' } });
  assert.equal(await whole.text(), DOCUMENT);
  assert.equal(whole.headers.get('etag'), '"origin"');
  assert.equal(whole.headers.get('content-length'), String(Buffer.byteLength(DOCUMENT)));
});

test('hashes join the rows of one agreement, and of no other', async (t) => {
  const { get } = await start(t, json('[{"phone":"1"},{"phone":"2"},{"phone":"1"}]'));
  const phones = async (claims) => (await (await get('/customers', claims)).json()).map(({ phone }) => phone);
  const [first, second, again] = await phones(agreement('one'));
  assert.equal(first, again);
  assert.notEqual(first, second);
  assert.deepEqual(await phones(agreement('one')), [first, second, first]);
  const other = await phones(agreement('two'));
  const without = await phones();
  assert.equal(new Set([first, other[0], without[0]]).size, 3);
});

test('what cannot be masked does not leave', async (t) => {
  const bodies = {
    html: ['<p>ada@example.com</p>', { 'content-type': 'text/html' }],
    'no type': ['{"email":"ada@example.com"}', {}],
    latin1: ['{"email":"ada@example.com"}', { 'content-type': 'application/json; charset=iso-8859-1' }],
    'no JSON': ['ada@example.com'],
    'single quotes': ["{'email':'ada@example.com'}"],
    gzip: [gzipSync('{"email":"ada@example.com"}'), { 'content-encoding': 'gzip', 'content-type': 'application/json' }],
    'an unknown encoding': ['{"email":"ada@example.com"}', { 'content-encoding': 'x', 'content-type': 'application/json' }],
    'UTF-16': [Buffer.from('{"email":"ada@example.com"}', 'utf16le')],
    'a part': ['{"email":"ada@example.com"}', { 'content-type': 'application/json' }, 206],
    'a name twice': ['{"email":"x@example.com","email":"ada@example.com"}'],
  };
  const { get, counted } = await start(t, ({ url }, response) => {
    const [body, headers = { 'content-type': 'application/json' }, status = 200] =
      bodies[decodeURIComponent(new URL(url, 'http://o').searchParams.get('body'))];
    response.writeHead(status, headers);
    response.end(body);
  });
  for (const name of Object.keys(bodies)) {
    const response = await get(`/customers?body=${encodeURIComponent(name)}`);
    const text = await response.text();
    assert.equal(response.status, 502, name);
    assert.equal(JSON.parse(text).code, 'masking_impossible', name);
    assert.doesNotMatch(text, /ada/, name);
  }
  assert.equal(await counted(), String(Object.keys(bodies).length));
  // The route is as it was, and a token that sees all gets what the origin sends.
  const whole = await get('/customers?body=html', { scope: `${READ} customers:pii` });
  assert.equal(await whole.text(), '<p>ada@example.com</p>');
});

test('a body that breaks later is cut off', async (t) => {
  const { get } = await start(t, async (request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.write('{"customers":[{"email":"ada@example.com"},');
    await setTimeout(100);
    response.end('{"email":"grace@example.com}]');
  });
  const response = await get('/customers');
  assert.equal(response.status, 200);
  const { text, isWhole } = await read(response);
  assert.equal(isWhole, false);
  assert.doesNotMatch(text, /ada@|grace/);
  // An origin that goes away ends the body as an error, too.
  const cut = await start(t, async (request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' });
    response.write('{"customers":[{"email":"ada@example.com"},');
    await setTimeout(100);
    response.destroy();
  });
  assert.equal((await read(await cut.get('/customers'))).isWhole, false);
});

test('errors are masked, and what has no body passes', async (t) => {
  const { get } = await start(t, ({ method, url }, response) => {
    const status = Number(new URL(url, 'http://o').searchParams.get('status'));
    const isEmpty = method === 'HEAD' || [202, 204, 205, 304].includes(status);
    // What is empty may say that it is anything, or nothing.
    const type = isEmpty ? 'text/plain' : status >= 400 ? 'application/problem+json' : 'application/json';
    response.writeHead(status, { 'content-type': type, etag: '"x"', ...(!isEmpty && { 'content-length': 40 }) });
    response.end(isEmpty ? undefined : '{"email":"ada@example.com","detail":1.0}');
  });
  for (const status of [200, 201, 302, 400, 404, 422, 500, 503]) {
    const response = await get(`/customers?status=${status}`);
    assert.equal(response.status, status);
    assert.equal(await response.text(), '{"email":"a***@example.com","detail":1.0}', String(status));
  }
  for (const [method, status] of [['HEAD', 200], ['GET', 204], ['GET', 304], ['POST', 202], ['POST', 205]]) {
    const response = await get(`/customers?status=${status}`, {}, { method });
    assert.equal(response.status, status, `${method} ${status}`);
    assert.equal(response.headers.get('etag'), null);
    assert.equal(response.headers.get('content-length') ?? '0', '0', `${method} ${status}`);
    assert.equal(await response.text(), '');
  }
});

test('lines and events are masked one by one, as they come', async (t) => {
  const kinds = {
    lines: ['application/x-ndjson', ['{"email":"ada@example.com"}\n', '{"email":"bob@example.com"}\n']],
    events: ['text/event-stream; charset=utf-8', [
      ': hello\n\n', 'event: row\ndata: {"email":"ada@example.com"}\n\n', 'id: 2\ndata: {"email":"bob@example.com"}\n\n',
    ]],
  };
  let go;
  const { get } = await start(t, async ({ url }, response) => {
    const [type, pieces] = kinds[new URL(url, 'http://o').searchParams.get('kind')];
    response.writeHead(200, { 'content-type': type });
    for (const piece of pieces) {
      response.write(piece);
      // The next is sent once the client has this one.
      await new Promise((resolve) => { go = resolve; });
    }
    response.end();
  });
  for (const [kind, [, pieces]] of Object.entries(kinds)) {
    const reader = (await get(`/customers?kind=${kind}`)).body.getReader();
    const wanted = pieces.join('').replace('ada@', 'a***@').replace('bob@', 'b***@');
    let text = '';
    let sent = 0;
    let whole = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      text += Buffer.from(value).toString();
      const known = pieces.slice(0, sent + 1).join('').replace('ada@', 'a***@').replace('bob@', 'b***@');
      // The break after a document may come with the next one.
      if (text.trim() === known.trim() && sent === whole) {
        whole += 1;
        sent += 1;
        go();
      }
    }
    assert.equal(text, wanted, kind);
    assert.equal(sent, pieces.length, kind);
  }
});

/** The highest memory use of the newest workerd of this process, in MiB. */
function peak() {
  const children = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).toSorted((a, b) => b - a);
  for (const pid of children) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      const parent = Number(/^PPid:\s+(\d+)/m.exec(status)[1]);
      if (parent === process.pid && /^Name:\s+workerd/m.test(status)) return Number(/^VmHWM:\s+(\d+)/m.exec(status)[1]) / 1024;
    } catch { /* It has ended. */ }
  }
  throw new Error('no workerd of this process was found');
}

test('1 GiB passes in flat memory', { skip: process.platform !== 'linux' && 'memory is read from /proc' }, async (t) => {
  const row = `{"id":12345,"email":"ada@example.com","text":"${'x'.repeat(200)}"},\n`;
  const piece = Buffer.from(row.repeat(256));
  const pieces = Math.ceil(2 ** 30 / piece.length);
  const { get } = await start(t, async ({ url }, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.write('[');
    const count = url === '/large?rows' ? pieces : 64;
    for (let at = 0; at < count; at++) if (!response.write(piece)) await once(response, 'drain');
    response.end('0]');
  });
  const size = async (path) => {
    let octets = 0;
    for await (const chunk of (await get(path)).body) octets += chunk.length;
    return octets;
  };
  const expected = (count) => 3 + count * 256 * (row.length - 'ada'.length + 'a***'.length);
  assert.equal(await size('/large'), expected(64));
  const before = peak();
  assert.equal(await size('/large?rows'), expected(pieces));
  const grown = peak() - before;
  t.diagnostic(`1 GiB raised the highest memory use of workerd by ${grown.toFixed(0)} MiB`);
  assert.ok(grown < 160, `1 GiB raised memory by ${grown} MiB`);
});

test('a client that goes away ends the request to the origin', async (t) => {
  const closed = Promise.withResolvers();
  const { get } = await start(t, async (request, response) => {
    response.on('close', closed.resolve);
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    while (!response.destroyed) {
      response.write('{"email":"ada@example.com"}\n');
      await setTimeout(20);
    }
  });
  const response = await get('/customers');
  const reader = response.body.getReader();
  await reader.read();
  await reader.cancel();
  await Promise.race([closed.promise, setTimeout(5_000).then(() => assert.fail('the origin still sends'))]);
});

test('the key is asked for where a route hashes', async (t) => {
  const { get } = await start(t, json('{}'), {});
  const response = await get('/customers');
  assert.equal(response.status, 503);
  assert.equal((await response.json()).code, 'guard_misconfigured');
});

test('headers of the masked body are true, and conditions of a write are kept', async (t) => {
  const { get, asked } = await start(t, json('{"email":"ada@example.com"}', {
    etag: '"x"', signature: 'a=:AA==:', 'x-amz-checksum-sha256': 'AA==', 'x-goog-hash': 'md5=AA==', 'x-other': 'yes', 'set-cookie': ['a=1', 'b=2'],
  }));
  const written = await get('/customers', {}, { method: 'POST', body: '{}', headers: { 'if-match': '"x"', 'if-none-match': '*' } });
  assert.equal(await written.text(), '{"email":"a***@example.com"}');
  assert.deepEqual([asked[0]['if-match'], asked[0]['if-none-match']], ['"x"', '*']);
  for (const name of ['etag', 'signature', 'x-amz-checksum-sha256', 'x-goog-hash']) assert.equal(written.headers.get(name), null, name);
  assert.equal(written.headers.get('x-other'), 'yes');
  assert.deepEqual(written.headers.getSetCookie(), ['a=1', 'b=2']);
});

test('the package says the same of a response as the guard', async (t) => {
  const { Mask } = await import(pathToFileURL(join(process.env.EDGEPASS_INSTALLED, 'node_modules/edgepass/dist/lib/mask.js')));
  const mask = Mask.create({ rules: [{ fields: ['$..email'], unless: 'customers:pii', with: 'email' }] });
  const body = '{"email":"ada@example.com"}';
  const sets = [
    ...[
      'public, s-maxage=60, max-age=5', 'no-store', 'NO-STORE, max-age=1', 'private', 'private="x, y", max-age=5',
      'no-cache="a, no-store, private"', 'must-understand, no-store', 'proxy-revalidate, immutable', '', ',,', 'max-age="1,2', 'x="\\", private"',
    ].map((value) => ({ 'cache-control': value })),
    ...['Accept', '*', 'accept, AUTHORIZATION', 'X-Authorization', ''].map((vary) => ({ vary })),
    {
      etag: 'W/"a"', 'accept-ranges': 'bytes', 'content-digest': 'sha-256=:AA==:', digest: 'md5=AA', 'repr-digest': 'sha-256=:AA==:',
      'content-md5': 'AA==', 'content-range': 'bytes */9', signature: 'a=:AA==:', 'signature-input': 'a=()', 'x-goog-hash': 'crc32c=AA',
      'x-amz-checksum-crc32': 'AA==', 'x-ms-content-crc64': 'AA==', 'last-modified': 'Sat, 01 Jan 2028 00:00:00 GMT', 'x-digest': 'kept',
    },
    { 'cdn-cache-control': 'max-age=9', 'surrogate-control': 'max-age=9', 'edge-control': 'x', 'x-accel-expires': '9', 'cloudflare-cdn-cache-control': 'x' },
  ];
  const { get } = await start(t, (request, response) => json(body, sets[request.headers['x-case']])(request, response));
  // What the servers between add. The response of the package never was on a network.
  const network = ['connection', 'content-length', 'date', 'keep-alive', 'server', 'transfer-encoding'];
  const said = ({ headers }) => Object.fromEntries([...headers].filter(([name]) => !network.includes(name)));
  for (const [at, headers] of sets.entries()) {
    for (const scope of [READ, `${READ} customers:pii`]) {
      const guarded = await get('/customers', { scope }, { headers: { 'x-case': String(at), 'accept-encoding': 'identity' } });
      const response = new Response(body, { headers: { 'content-type': 'application/json', ...headers } });
      const packaged = await mask.response(response, { accepted: true, claims: { scope } });
      assert.deepEqual(said(guarded), said(packaged), `${JSON.stringify(headers)} ${scope}`);
      assert.equal(await guarded.text(), await packaged.text());
    }
  }
});

test('an origin that sends no body after its headers is not available', async (t) => {
  const { get, counted } = await start(t, async (request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    await setTimeout(100);
    response.destroy();
  });
  const response = await get('/customers');
  assert.equal(response.status, 502);
  assert.equal((await response.json()).code, 'origin_unavailable');
  assert.deepEqual([await counted(), await counted('origin_unavailable')], [undefined, '1']);
});

test('a page reads why its response could not be masked', async (t) => {
  const { get } = await start(t, (request, response) => {
    response.writeHead(200, { 'content-type': 'text/html', 'access-control-allow-origin': 'https://of-the-origin.example' });
    response.end('<p>ada@example.com</p>');
  });
  const response = await get('/pages', {}, { headers: { origin: 'https://app.example' } });
  assert.equal((await response.json()).code, 'masking_impossible');
  assert.equal(response.headers.get('access-control-allow-origin'), 'https://app.example');
});

test('who waits for events is told at once that they will come', async (t) => {
  let end;
  const { get } = await start(t, async (request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    await new Promise((resolve) => { end = resolve; });
    response.end('data: {"email":"ada@example.com"}\n\n');
  });
  const response = await get('/customers');
  assert.equal(response.status, 200);
  end();
  assert.equal(await response.text(), 'data: {"email":"a***@example.com"}\n\n');
});
