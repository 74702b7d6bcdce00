#!/usr/bin/env bash
# A response through a service binding has no Content-Length, although its Worker made it from a
# string and the same Worker sends the header over HTTP. A caller that uses Content-Length to
# recognize short responses therefore takes every response of a bound Worker for one of unknown
# length.
#
# Observed with miniflare 5.20261023.3-beta and workerd 1.20261023.1:
#
#   over HTTP: content-length 10
#   through a service binding: content-length null
#   through a service binding, written by the Worker itself: content-length 10
#
# Needs Node.js with npm, and the npm registry. Fails if one of these lines changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{ "private": true, "type": "module" }' > package.json
npm install --silent --no-audit --no-fund miniflare@5.20261023.3-beta

cat > run.mjs <<'JS'
import { Miniflare, convertV4MiniflareOptions } from 'miniflare';

const answers = `export default { fetch(request) {
  const headers = request.url.endsWith('/written') ? { 'content-length': '10' } : {};
  return new Response('0123456789', { headers });
} };`;
const asks = `export default { async fetch(request, env) {
  const length = async (path) => (await env.OTHER.fetch('http://other' + path)).headers.get('content-length');
  return Response.json([await length('/'), await length('/written')]);
} };`;
const worker = (name, script, more) => ({
  name, script, modules: true, compatibilityDate: '2026-01-01',
  unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }], ...more,
});
const miniflare = new Miniflare(convertV4MiniflareOptions({
  workers: [worker('asks', asks, { serviceBindings: { OTHER: 'answers' } }), worker('answers', answers)],
}));
await miniflare.ready;
const [other, asking] = await Promise.all(
  ['answers', 'asks'].map((name) => miniflare.unsafeGetDirectURL(name)),
);
const [bound, written] = await (await fetch(asking)).json();
console.log(`over HTTP: content-length ${(await fetch(other)).headers.get('content-length')}`);
console.log(`through a service binding: content-length ${bound}`);
console.log(`through a service binding, written by the Worker itself: content-length ${written}`);
await miniflare.dispose();
JS
node run.mjs | tee seen
diff seen - <<'SEEN'
over HTTP: content-length 10
through a service binding: content-length null
through a service binding, written by the Worker itself: content-length 10
SEEN
