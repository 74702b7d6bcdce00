#!/usr/bin/env bash
# Miniflare 5 drops the option `wrappedBindings` without saying so. A Worker that got an object by it
# under Miniflare 4 starts as before, but the name is missing in its environment. A test whose Worker
# then fails for want of the binding passes if it only expects a failure.
#
# Observed with miniflare 4.20260730.0 and 5.20261023.3-beta, with the same options (the latter through
# its own `convertV4MiniflareOptions`):
#
#   miniflare 4: object
#   miniflare 5: undefined
#   lines that mention the option or the name: 0
#
# Needs Node.js with npm, and the npm registry. Fails if one of these lines changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{ "private": true, "type": "module" }' > package.json
npm install --silent --no-audit --no-fund four@npm:miniflare@4.20260730.0 five@npm:miniflare@5.20261023.3-beta

cat > run.mjs <<'JS'
import * as four from 'four';
import * as five from 'five';

const options = {
  workers: [
    {
      name: 'main', modules: true, compatibilityDate: '2026-01-01',
      script: 'export default { fetch: (request, env) => new Response(typeof env.THING) };',
      wrappedBindings: { THING: 'thing' },
    },
    { name: 'thing', modules: true, script: 'export default () => ({ answer: () => 42 });' },
  ],
};
async function seen(miniflare) {
  const response = await miniflare.dispatchFetch('http://main/');
  const text = await response.text();
  await miniflare.dispose();
  return text;
}

console.log(`miniflare 4: ${await seen(new four.Miniflare(options))}`);
const converted = five.convertV4MiniflareOptions(options);
console.log(`miniflare 5: ${await seen(new five.Miniflare(converted))}`);
JS
node run.mjs > seen 2> log
echo "lines that mention the option or the name: $(grep -ciE 'wrapped|THING' log || true)" >> seen
cat seen
diff seen - <<'SEEN'
miniflare 4: object
miniflare 5: undefined
lines that mention the option or the name: 0
SEEN
