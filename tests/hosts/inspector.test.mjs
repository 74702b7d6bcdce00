// The inspector in Chromium, used as a person would use it, against a running issuer.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { launch } from './browser.mjs';

const { EDGEPASS_INSPECTOR: url, EDGEPASS_PROGRAM: program, EDGEPASS_FOLDER: folder } = process.env;
const screenshots = process.env.EDGEPASS_SCREENSHOTS;
mkdirSync(screenshots, { recursive: true });

const edgepass = (...args) => execFileSync(program, args, { cwd: folder, encoding: 'utf8' }).trim();
const issue = () => edgepass('issue', '--role', 'invoice-reader');

const browser = await launch();
test.after(() => browser.close());

/** Opens the page. Returns it with its network requests and its errors. */
async function open(t, options = {}) {
  const context = await browser.newContext({ locale: 'en-GB', timezoneId: 'UTC', ...options });
  t.after(() => context.close());
  const requests = [];
  const problems = [];
  context.on('request', (request) => requests.push(
    [request.method(), request.url(), request.postData() ?? '', JSON.stringify(request.headers())],
  ));
  const page = await context.newPage();
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  await page.goto(url);
  await page.waitForFunction(() => !document.querySelector('#token').disabled);
  return { page, requests, problems };
}

const states = (page) => page.$$eval('#steps li', (items) => items.map((item) => item.dataset.state));

test('a pasted token is decoded, fetched for, verified, and never sent', async (t) => {
  const { page, requests, problems } = await open(t);
  const token = issue();
  await page.fill('#token', token);
  assert.equal(await page.isVisible('#unverified'), true);
  assert.deepEqual(await page.$$eval('.chip', (all) => all.map((chip) => chip.textContent)), ['invoices:read']);
  assert.match(await page.textContent('#claims'), /in (9|10) min/);
  assert.equal(await page.inputValue('#audience'), 'https://api.example');

  await page.click('#fetch');
  await page.waitForSelector('#verdict.good');
  assert.deepEqual(await states(page), Array(8).fill('passed'));
  assert.equal(await page.isVisible('#unverified'), false);
  await page.screenshot({ path: join(screenshots, 'accepted.png'), fullPage: true });

  const asked = requests.map(([, address]) => new URL(address).pathname);
  assert.ok(asked.includes('/.well-known/jwks.json'), asked.join());
  assert.ok(asked.some((path) => path.startsWith('/status-lists/')), asked.join());
  const [header, payload, signature] = token.split('.');
  const { jti } = JSON.parse(Buffer.from(payload, 'base64url'));
  for (const request of requests) {
    for (const part of [header, payload, signature, jti]) {
      assert.ok(!request.join(' ').includes(part), `${request} carries a part of the token`);
    }
  }
  assert.deepEqual(problems, []);
});

test('a revoked token fails the last check', async (t) => {
  const { page } = await open(t);
  const token = issue();
  const { jti } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
  edgepass('revoke', '--jti', jti, '--reason', 'test');
  await page.fill('#token', token);
  await page.click('#fetch');
  await page.waitForSelector('#verdict.bad');
  assert.match(await page.textContent('#verdict'), /token_revoked/);
  assert.deepEqual(await states(page), [...Array(7).fill('passed'), 'failed']);
});

test('pasted keys fetch nothing, and revocation is said to be unchecked', async (t) => {
  const { page, requests } = await open(t);
  const jwks = await (await fetch(`${process.env.EDGEPASS_ISSUER}/.well-known/jwks.json`)).text();
  await page.fill('#token', issue());
  await page.click('summary');
  await page.fill('#jwks', jwks);
  const before = requests.length;
  await page.click('#paste');
  await page.waitForSelector('#verdict.good');
  assert.deepEqual(await states(page), [...Array(7).fill('passed'), 'not checked']);
  assert.equal(requests.length, before);

  await page.fill('#jwks', '{}');
  await page.click('#paste');
  await page.waitForSelector('#verdict.bad');
  assert.match(await page.textContent('#verdict'), /not a JWK Set/);
});

test('a changed token fails at its signature, a missing scope at scopes', async (t) => {
  const { page } = await open(t);
  const token = issue();
  await page.fill('#token', token.slice(0, -8) + 'AAAAAAAA');
  await page.click('#fetch');
  await page.waitForSelector('#verdict.bad');
  assert.match(await page.textContent('#verdict'), /signature_invalid/);
  assert.deepEqual((await states(page)).slice(3), ['failed', ...Array(4).fill('not reached')]);
  await page.fill('#token', token);
  await page.fill('#scopes', 'invoices:write');
  await page.click('#fetch');
  await page.waitForSelector('#verdict.bad');
  assert.match(await page.textContent('#verdict'), /scope_insufficient/);
});

test('what is no token is said to be none, and markup stays text', async (t) => {
  const { page, problems } = await open(t);
  await page.fill('#token', 'abc.def');
  assert.equal(await page.isVisible('#token-problem'), true);
  assert.equal(await page.isVisible('#decoded'), false);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const markup = '<img src=x onerror=alert(1)>';
  await page.fill('#token', `${part({ alg: 'EdDSA', [markup]: markup })}.${part({ iss: markup, [markup]: markup })}.AAAA`);
  assert.equal(await page.isVisible('#decoded'), true);
  assert.equal(await page.$('#decoded img'), null);
  assert.deepEqual(problems, []);
});

test('the whole page works by keyboard', async (t) => {
  const { page } = await open(t);
  await page.focus('#token');
  await page.keyboard.insertText(issue());
  for (let presses = 0; presses < 12; presses++) {
    await page.keyboard.press('Tab');
    if (await page.evaluate(() => document.activeElement.id === 'fetch')) break;
  }
  await page.keyboard.press('Enter');
  await page.waitForSelector('#verdict.good');
});

for (const [name, options] of Object.entries({
  light: { colorScheme: 'light', viewport: { width: 1000, height: 900 } },
  dark: { colorScheme: 'dark', viewport: { width: 1000, height: 900 } },
  narrow: { colorScheme: 'light', viewport: { width: 400, height: 800 } },
})) {
  test(`it fits its window: ${name}`, async (t) => {
    const { page } = await open(t, options);
    await page.fill('#token', issue());
    await page.fill('#scopes', 'invoices:write');
    await page.click('#fetch');
    await page.waitForSelector('#verdict.bad');
    await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true, animations: 'disabled' });
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.equal(overflow, 0);
  });
}
