#!/usr/bin/env bash
# `crypto.verify` of `node:crypto` in workerd refuses valid input that Node.js accepts. A `KeyObject` as the
# member `key` of an object, the documented way to name `dsaEncoding` or `padding`, throws a TypeError. With
# the key as PEM or JWK, a valid RSA-PSS signature is "false", although `padding` and `saltLength` say how it was made.
# WebCrypto in the same Worker made both signatures, and accepts both.
#
# Observed with miniflare 5.20261023.3-beta and workerd 1.20261023.1 (the same without and with the flag
# nodejs_compat), and with Node.js:
#
#   workerd: ECDSA { key: KeyObject, dsaEncoding }: TypeError
#   workerd: ECDSA { key: PEM, dsaEncoding }: true
#   workerd: RSA-PSS { key: PEM, padding, saltLength }: false
#   Node.js: ECDSA { key: KeyObject, dsaEncoding }: true
#   Node.js: ECDSA { key: PEM, dsaEncoding }: true
#   Node.js: RSA-PSS { key: PEM, padding, saltLength }: true
#
# Needs Node.js with npm, and the npm registry. Fails if one of these lines changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{ "private": true, "type": "module" }' > package.json
npm install --silent --no-audit --no-fund miniflare@5.20261023.3-beta

cat > check.mjs <<'JS'
import { constants, createPublicKey, verify } from 'node:crypto';

export async function check() {
  const data = new TextEncoder().encode('data');
  const seen = [];
  const say = (what, way) => {
    try {
      seen.push(`${what}: ${way()}`);
    } catch (error) {
      seen.push(`${what}: ${error.name}`);
    }
  };
  const signed = async (algorithm) => {
    const { privateKey, publicKey } = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const signature = new Uint8Array(await crypto.subtle.sign(algorithm, privateKey, data));
    if (!await crypto.subtle.verify(algorithm, publicKey, signature, data)) throw new Error('WebCrypto refuses its own signature');
    const key = createPublicKey({ key: await crypto.subtle.exportKey('jwk', publicKey), format: 'jwk' });
    return { key, pem: key.export({ type: 'spki', format: 'pem' }), signature };
  };
  const ecdsa = await signed({ name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' });
  const dsaEncoding = 'ieee-p1363';
  say('ECDSA { key: KeyObject, dsaEncoding }', () => verify('sha256', data, { key: ecdsa.key, dsaEncoding }, ecdsa.signature));
  say('ECDSA { key: PEM, dsaEncoding }', () => verify('sha256', data, { key: ecdsa.pem, dsaEncoding }, ecdsa.signature));
  const rsa = await signed({
    name: 'RSA-PSS', hash: 'SHA-256', saltLength: 32, modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]),
  });
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  say('RSA-PSS { key: PEM, padding, saltLength }', () => verify('sha256', data, { key: rsa.pem, padding, saltLength: 32 }, rsa.signature));
  return seen;
}
JS
cat > run.mjs <<'JS'
import { readFileSync } from 'node:fs';
import { Miniflare, convertV4MiniflareOptions } from 'miniflare';
import { check } from './check.mjs';

const script = `${readFileSync('check.mjs', 'utf8')}
export default { fetch: async () => Response.json(await check()) };`;
const miniflare = new Miniflare(convertV4MiniflareOptions({
  workers: [{
    name: 'checks', script, modules: true, compatibilityDate: '2026-10-01', compatibilityFlags: ['nodejs_compat'],
    unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
  }],
}));
await miniflare.ready;
const url = await miniflare.unsafeGetDirectURL('checks');
for (const line of await (await fetch(url)).json()) console.log(`workerd: ${line}`);
for (const line of await check()) console.log(`Node.js: ${line}`);
await miniflare.dispose();
JS
node run.mjs | tee seen
diff seen - <<'SEEN'
workerd: ECDSA { key: KeyObject, dsaEncoding }: TypeError
workerd: ECDSA { key: PEM, dsaEncoding }: true
workerd: RSA-PSS { key: PEM, padding, saltLength }: false
Node.js: ECDSA { key: KeyObject, dsaEncoding }: true
Node.js: ECDSA { key: PEM, dsaEncoding }: true
Node.js: RSA-PSS { key: PEM, padding, saltLength }: true
SEEN
echo "as described"
