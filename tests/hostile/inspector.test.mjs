// The inspector on a host that sends no security headers, framed by another page, and with odd
// claim names.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'node:test';
import { launch } from '../hosts/browser.mjs';

const www = new URL('../../www', import.meta.url).pathname;
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.wasm': 'application/wasm' };

/** Serves pages without any security header. */
async function host(t, answer) {
  const server = createServer((request, response) => {
    const [type, body] = answer(new URL(request.url, 'http://host').pathname);
    response.writeHead(body === null ? 404 : 200, { 'content-type': type }).end(body ?? '');
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  t.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

const files = (path) => {
  if (path === '/intranet.txt') return ['text/plain', 'what only the inspector\'s origin may read'];
  try {
    const name = path === '/' ? '/index.html' : path;
    return [TYPES[extname(name)] ?? 'text/plain', readFileSync(join(www, name))];
  } catch {
    return ['text/plain', null];
  }
};

const browser = await launch();
test.after(() => browser.close());

test('its frame answers no other page, with or without a sandbox', async (t) => {
  const inspector = await host(t, files);
  for (const sandbox of ['', 'sandbox="allow-scripts"', 'sandbox="allow-scripts allow-same-origin"']) {
    const evil = await host(t, () => ['text/html', `<iframe ${sandbox} src="${inspector}/fetcher.html"></iframe>`]);
    const page = await browser.newPage();
    t.after(() => page.close());
    await page.goto(evil);
    const heard = await page.evaluate(async (url) => {
      const answers = [];
      addEventListener('message', ({ data }) => answers.push(data));
      await new Promise((resolve) => { setTimeout(resolve, 300); });
      frames[0].postMessage({ id: 1, url, headers: {} }, '*');
      await new Promise((resolve) => { setTimeout(resolve, 700); });
      return answers;
    }, `${inspector}/intranet.txt`);
    assert.deepEqual(heard, [], sandbox);
  }
});

test('its own page is answered where no header is sent', async (t) => {
  const inspector = await host(t, files);
  const page = await browser.newPage();
  t.after(() => page.close());
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await page.goto(inspector);
  await page.waitForFunction(() => !document.querySelector('#token').disabled);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const token = (claims) => `${part({ alg: 'ES256', typ: 'at+jwt' })}.${part(claims)}.${'A'.repeat(86)}`;
  await page.fill('#token', token({ iss: inspector, sub: 's', aud: 'a' }));
  await page.click('#fetch');
  for (let waited = 0; waited < 5000 && !asked.some((url) => url.includes('.well-known')); waited += 50) await sleep(50);
  assert.ok(asked.some((url) => url.startsWith(`${inspector}/.well-known/`)), asked.join());

  const odd = ['constructor', 'toString', '__proto__', 'hasOwnProperty', 'valueOf'];
  const text = `{${odd.map((name) => JSON.stringify(name)).map((name) => `${name}:"x"`).join()},"\u202egnitseretni":"\u202ex"}`;
  await page.fill('#token', `${part({ alg: 'ES256' })}.${Buffer.from(text).toString('base64url')}.${'A'.repeat(86)}`);
  const terms = await page.$$eval('#claims dt', (all) => all.map((term) => term.textContent.trim()));
  assert.deepEqual(terms.filter((term) => /function|native|object/i.test(term)), []);
  for (const name of odd) assert.ok(terms.includes(name), `${name}: ${terms.join()}`);
  const isolated = await page.$$eval('#claims dt code, #claims dd .value', (all) => all.every((one) => getComputedStyle(one).unicodeBidi.includes('isolate')));
  assert.ok(isolated, 'a name turns the text around it');
});
