// The parts of the demo that JavaScript runs: a sample origin, the guard in workerd, the inspector.
//
// Called with one JSON argument; prints one JSON line with the URLs; ends when stdin closes.

import { createServer } from 'node:http';
import { randomBytes } from 'node:crypto';
import { Log, LogLevel, Miniflare, convertV4MiniflareOptions } from 'miniflare';
import { serveFolder } from './static.mjs';

const setting = JSON.parse(process.argv[2]);
const originSecret = randomBytes(32).toString('base64url');

const origin = await listen(createServer(answer));
const inspector = await listen(createServer(serveFolder(setting.www)));

const guard = new Miniflare(convertV4MiniflareOptions({
  host: '127.0.0.1', port: 0, cf: false, log: new Log(LogLevel.WARN),
  workers: [{
    name: 'guard', compatibilityDate: '2026-10-01', modulesRoot: setting.guard,
    modules: [
      { type: 'ESModule', path: `${setting.guard}/index.js` },
      { type: 'CompiledWasm', path: `${setting.guard}/index_bg.wasm` },
    ],
    bindings: {
      ISSUER: setting.issuer, AUDIENCE: setting.audience, CACHE: setting.cache,
      ORIGIN_URL: origin, ORIGIN_SECRET: originSecret,
    },
    unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
  }],
}));
const guardUrl = (await guard.ready).origin;
const guardSocket = (await guard.unsafeGetDirectURL('guard')).origin;

process.stdin.resume();
process.stdin.on('end', async () => {
  await guard.dispose();
  process.exit(0);
});
console.log(JSON.stringify({
  origin, inspector: `${inspector}/`, guard: guardUrl, guard_socket: guardSocket,
}));

/** The sample API. It serves only whoever knows the guard's secret, and says what it was told. */
function answer(request, response) {
  if (request.headers['x-edgepass-origin-secret'] !== originSecret) {
    response.writeHead(403, { 'content-type': 'text/plain' }).end('only the guard may call\n');
    return;
  }
  const { pathname } = new URL(request.url, 'http://origin');
  if (pathname === '/invoices/moved') {
    response.writeHead(302, { location: '/invoices/1' }).end();
    return;
  }
  const seen = Object.fromEntries(Object.entries(request.headers)
    .filter(([name]) => name !== 'x-edgepass-origin-secret'));
  let received = 0;
  request.on('data', (chunk) => { received += chunk.length; });
  request.on('end', () => {
    const body = JSON.stringify({
      method: request.method, target: request.url, received, headers: seen,
      invoices: [{ id: 1, total: '12.00 EUR' }],
    });
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(request.method === 'HEAD' ? undefined : `${body}\n`);
  });
}

function listen(server) {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`));
  });
}
