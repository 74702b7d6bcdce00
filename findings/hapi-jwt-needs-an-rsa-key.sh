#!/usr/bin/env bash
# A hapi server whose strategy of @hapi/jwt takes its keys from a JWK Set does not start if the set has
# no RSA key, although the set is valid: keys of other types are left out, and an empty rest is an error
# of the server, not of a request.
#
# Observed with @hapi/jwt 3.2.4 and @hapi/hapi 21.4.10 on Node.js 22:
#
#   a set with an RSA key: the server starts
#   a set with an EC key: JWKS endpoint response contained no valid keys
#
# Needs Node.js 20 or later with npm, and the npm registry. Fails if one of these lines changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{ "private": true, "type": "module" }' > package.json
npm install --silent --no-audit --no-fund @hapi/jwt@3.2.4 @hapi/hapi@21.4.10

cat > run.mjs <<'JS'
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import Hapi from '@hapi/hapi';
import Jwt from '@hapi/jwt';

async function outcome(type, options, alg) {
  const jwk = { ...generateKeyPairSync(type, options).publicKey.export({ format: 'jwk' }), kid: 'k', use: 'sig', alg };
  const keys = createServer((request, response) => {
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys: [jwk] }));
  });
  await new Promise((resolve) => keys.listen(0, '127.0.0.1', resolve));
  const server = Hapi.server();
  await server.register(Jwt);
  server.auth.strategy('bearer', 'jwt', {
    keys: { uri: `http://127.0.0.1:${keys.address().port}/jwks` },
    verify: { aud: 'a', iss: 'i', sub: false },
    validate: () => ({ isValid: true }),
  });
  try {
    await server.initialize();
    return 'the server starts';
  } catch (error) {
    return error.message;
  } finally {
    keys.close();
    keys.closeAllConnections();
  }
}
console.log(`a set with an RSA key: ${await outcome('rsa', { modulusLength: 2048 }, 'RS256')}`);
console.log(`a set with an EC key: ${await outcome('ec', { namedCurve: 'P-256' }, 'ES256')}`);
process.exit();
JS
node run.mjs | tee seen
diff seen - <<'SEEN'
a set with an RSA key: the server starts
a set with an EC key: JWKS endpoint response contained no valid keys
SEEN
