// `edgepass doctor` notices a cache in front of the guard that stores responses.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import test from 'node:test';
import { start } from '../hosts/guard.mjs';
import { freePort } from '../stage/ports.mjs';
import { startCache } from './proxies.mjs';

const { EDGEPASS_ISSUER: issuer, EDGEPASS_PROGRAM: program, EDGEPASS_FOLDER: folder } = process.env;

/** Runs `edgepass doctor`. Returns its findings by the member `what`. */
function doctor(url) {
  const { stdout } = spawnSync(program, ['doctor', '--url', url, '--json'], { cwd: folder, encoding: 'utf8' });
  return Object.fromEntries(JSON.parse(stdout).findings.map(({ what, ...found }) => [what, found]));
}

async function guard(t) {
  const { url } = await start(t, {
    bindings: { ISSUER: issuer, AUDIENCE: 'https://api.example', CACHE: 'none' }, serviceBindings: { ORIGIN: 'origin' },
  });
  return url;
}

test('without a cache nothing is found', async (t) => {
  const found = doctor(new URL('/invoices', await guard(t)).href);
  for (const what of ['cache in front', 'answers kept', 'caches', 'probe', 'lying cache', 'withdrawn key']) {
    assert.equal(found[what]?.state, 'ok', `${what}: ${JSON.stringify(found)}`);
  }
});

test('a cache in front of the guard that does as it is told keeps nothing', async (t) => {
  const port = await freePort();
  await startCache(t, 'nginx', port, (await guard(t)).origin);
  const found = doctor(`http://127.0.0.1:${port}/invoices`);
  assert.equal(found['cache in front'].state, 'ok', JSON.stringify(found));
  assert.equal(found['answers kept'].state, 'ok');
});

test('a cache that keeps answers to a token is noticed', async (t) => {
  const port = await freePort();
  const more = 'proxy_ignore_headers Cache-Control Vary Expires; proxy_cache_valid 200 12s; add_header X-Cache-Status $upstream_cache_status;';
  await startCache(t, 'nginx', port, (await guard(t)).origin, more);
  const found = doctor(`http://127.0.0.1:${port}/invoices`);
  assert.equal(found['cache in front'].state, 'WRONG', JSON.stringify(found));
  assert.match(found['cache in front'].says, /without a token/);
  assert.equal(found['answers kept'].state, 'WRONG');
  assert.match(found['answers kept'].says, /x-cache-status/);
});

test('a cache that answers whoever has some token is noticed by what it says', async (t) => {
  const port = await freePort();
  const more = 'proxy_ignore_headers Cache-Control Vary Expires; proxy_cache_key $uri; proxy_cache_bypass $http_x; '
    + 'proxy_cache_valid 200 12s; if ($http_authorization = "") { return 401; } add_header Age 3 always;';
  await startCache(t, 'nginx', port, (await guard(t)).origin, more);
  const found = doctor(`http://127.0.0.1:${port}/invoices`);
  assert.equal(found['cache in front'].state, 'ok', JSON.stringify(found));
  assert.equal(found['answers kept'].state, 'WRONG', JSON.stringify(found));
});
