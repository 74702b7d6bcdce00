#!/usr/bin/env bash
# The client of the Model Context Protocol has a provider for client_credentials, but it refuses the
# metadata of an issuer that has only this grant: it requires `authorization_endpoint`, which RFC 8414
# section 2 lets such an issuer leave out. The error is one of a schema, not one of OAuth.
#
# Observed with @modelcontextprotocol/client 2.4.0 on Node.js 22:
#
#   without authorization_endpoint: ZodError at authorization_endpoint
#   with it: AUTHORIZED
#
# Needs Node.js 20 or later with npm, and the npm registry. Fails if one of these lines changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{ "private": true, "type": "module" }' > package.json
npm install --silent --no-audit --no-fund @modelcontextprotocol/client@2.4.0

cat > run.mjs <<'JS'
import { createServer } from 'node:http';
import { ClientCredentialsProvider, auth } from '@modelcontextprotocol/client';

async function outcome(more) {
  const server = createServer((request, response) => {
    const url = `http://127.0.0.1:${server.address().port}`;
    const documents = {
      '/.well-known/oauth-protected-resource/mcp': { resource: `${url}/mcp`, authorization_servers: [url] },
      '/.well-known/oauth-authorization-server': {
        issuer: url, token_endpoint: `${url}/token`, response_types_supported: [],
        grant_types_supported: ['client_credentials'], token_endpoint_auth_methods_supported: ['client_secret_basic'],
        ...more(url),
      },
      '/token': { access_token: 't', token_type: 'Bearer', expires_in: 60 },
    };
    const document = documents[new URL(request.url, url).pathname];
    response.writeHead(document ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(document ?? {}));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  const provider = new ClientCredentialsProvider({ clientId: 'c', clientSecret: 's', expectedIssuer: url });
  try {
    return await auth(provider, { serverUrl: `${url}/mcp` });
  } catch (error) {
    const [path] = [...new Set((error.issues ?? []).map((issue) => issue.path.join('.')))];
    return `${error.constructor.name.replace('$', '')} at ${path}`;
  } finally {
    server.close();
    server.closeAllConnections();
  }
}
console.log(`without authorization_endpoint: ${await outcome(() => ({}))}`);
console.log(`with it: ${await outcome((url) => ({ authorization_endpoint: `${url}/authorize` }))}`);
JS
node run.mjs | tee seen
diff seen - <<'SEEN'
without authorization_endpoint: ZodError at authorization_endpoint
with it: AUTHORIZED
SEEN
