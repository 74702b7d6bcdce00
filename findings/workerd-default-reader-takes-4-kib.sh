#!/usr/bin/env bash
# A Worker that reads a response body with the default reader of its stream gets at most 4,096 octets with each
# `read()`, also when a MiB is there already. A BYOB reader of the same stream gets as many as its buffer holds. So a
# Worker that handles bodies piece by piece takes 256 pieces for a MiB, or 16 with buffers of 64 KiB. `for await` reads
# as the default reader does.
#
# Observed with miniflare 5.20261023.3-beta and the workerd that it installs, a body of 1 MiB from a bound Worker:
#
#   default reader: largest piece 4096
#   for await: largest piece 4096
#   BYOB reader with 65536: largest piece 65536
#
# Needs Node.js 22 with npm, and the npm registry. Fails if one of these lines changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{ "private": true, "type": "module" }' > package.json
npm install --silent --no-audit --no-fund miniflare@5.20261023.3-beta

cat > run.mjs <<'JS'
import { Miniflare, convertV4MiniflareOptions } from 'miniflare';

const script = `
async function largest(body, take) {
  let most = 0;
  for await (const length of take(body)) most = Math.max(most, length);
  return most;
}
async function* byDefault(body) {
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value.length;
  }
}
async function* inTurn(body) {
  for await (const piece of body) yield piece.length;
}
async function* byBuffer(body) {
  const reader = body.getReader({ mode: 'byob' });
  let buffer = new Uint8Array(65536);
  for (;;) {
    const { done, value } = await reader.read(buffer);
    if (done) return;
    yield value.length;
    buffer = new Uint8Array(value.buffer);
  }
}
export default { async fetch(request, env) {
  const lines = [];
  for (const [name, take] of [['default reader', byDefault], ['for await', inTurn], ['BYOB reader with 65536', byBuffer]]) {
    const { body } = await env.ORIGIN.fetch('http://origin/');
    lines.push(name + ': largest piece ' + await largest(body, take));
  }
  return new Response(lines.join('\\n'));
} };`;
const origin = 'export default { fetch: () => new Response(new Uint8Array(2 ** 20)) };';
const miniflare = new Miniflare(convertV4MiniflareOptions({
  workers: [
    { name: 'main', modules: true, compatibilityDate: '2026-10-01', script, serviceBindings: { ORIGIN: 'origin' } },
    { name: 'origin', modules: true, compatibilityDate: '2026-10-01', script: origin },
  ],
}));
console.log(await (await miniflare.dispatchFetch('http://main/')).text());
await miniflare.dispose();
JS

seen=$(node run.mjs)
echo "$seen"
[ "$seen" = 'default reader: largest piece 4096
for await: largest piece 4096
BYOB reader with 65536: largest piece 65536' ]
