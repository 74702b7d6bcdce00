// Issuer, sample origin, guard in workerd and inspector: the system of the demo and of many tests.
//
// Called with one JSON argument: `edgepass` (program), `folder`, `cache`, `guard` and `www` (folders),
// `log` (a level), `log_file`, and `ends_with_issuer`: whether this process ends when the issuer does.
// Prints one JSON line when all are ready, and ends when stdin closes.

import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { serveFolder } from './files.mjs';
import { Issuer } from './issuer.mjs';
import { listen } from './ports.mjs';
import { LogLevel, guardModules, ownSocket, startWorkers } from './workerd.mjs';

const setting = JSON.parse(process.argv[2]);
const originSecret = randomBytes(32).toString('base64url');
const metricsToken = randomBytes(32).toString('base64url');

const issuer = await Issuer.start({
  program: setting.edgepass, folder: setting.folder, init: ['--algorithm', setting.algorithm],
  log: setting.log, logFile: setting.log_file, reports: true, change: withRule,
});
const origin = await listen(createServer(answer));
const inspector = await listen(createServer(serveFolder(setting.www)));
const { at, url, stop } = await startWorkers([{
  name: 'guard', ...guardModules(setting.guard), ...ownSocket,
  bindings: {
    ISSUER: issuer.url, AUDIENCE: setting.audience, CACHE: setting.cache,
    ORIGIN_URL: origin, ORIGIN_SECRET: originSecret, METRICS_TOKEN: metricsToken,
    USAGE_CLIENT_ID: 'guard', USAGE_CLIENT_SECRET: issuer.guardSecret, USAGE_INTERVAL: '1s',
  },
}], { level: LogLevel.WARN });

process.stdin.resume();
process.stdin.on('end', async () => {
  await stop();
  await issuer.kill();
  process.exit(0);
});
if (setting.ends_with_issuer) issuer.ended.then(() => process.exit(1));
console.log(JSON.stringify({
  issuer: issuer.url, issuer_process: issuer.process.pid, client_secret: issuer.secret,
  origin, inspector: `${inspector}/`, guard: url.origin, guard_socket: await at('guard'), metrics_token: metricsToken,
}));

/** The configuration with a rule about misuse, which only alerts. */
function withRule(text) {
  return `${text}
# A token that is refused twice for lack of a scope: docs/misuse.md
[[misuse.rule]]
name = "beyond-its-scopes"
when = { refusals = { more_than = 1, within = "10m", codes = ["scope_insufficient"] } }
action = "alert"
`;
}

/** The sample API. It serves only requests with the guard's secret, and returns what it received. */
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
