// `oidc-provider` with one client: EdDSA tokens by client_credentials. It stores nothing of a JWT.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { generateKeyPair, exportJWK } from 'jose';

const [port, client, secret, audience] = process.argv.slice(2);
const installed = createRequire(new URL('../../tests/interop/package.json', import.meta.url));
const { default: Provider } = await import(installed.resolve('oidc-provider'));
const { privateKey } = await generateKeyPair('EdDSA', { extractable: true });
const resource = { scope: 'invoices:read', audience, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'EdDSA' } } };
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: client, client_secret: secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [], id_token_signed_response_alg: 'EdDSA' }],
  features: {
    clientCredentials: { enabled: true }, devInteractions: { enabled: false },
    resourceIndicators: { enabled: true, defaultResource: () => audience, getResourceServerInfo: () => resource },
  },
  jwks: { keys: [{ ...await exportJWK(privateKey), alg: 'EdDSA', use: 'sig', kid: 'bench' }] },
  scopes: ['invoices:read'],
});
createServer(provider.callback()).listen(Number(port), '127.0.0.1');
