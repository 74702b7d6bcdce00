// A real issuer for clients of other people: every way to authenticate, and two outside issuers.

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { generateKeyPair, exportJWK, SignJWT } from 'jose';
import { StatusList, createHeaderAndPayload } from '@sd-jwt/jwt-status-list';
import { Issuer } from '../stage/issuer.mjs';
import { listen } from '../stage/ports.mjs';

export const AUDIENCE = 'https://api.example';
export const OTHER_AUDIENCE = 'https://feed.example';
/** Clients that exchange tokens of others, one after the other. */
export const RELAYS = ['relay-1', 'relay-2', 'relay-3', 'relay-4', 'relay-5'];
/** SHA-256 of the three octets that the tests show as a certificate. */
export const CERTIFICATE = { field: ':AQID:', sha256: '039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81' };

/** A key pair of a client: the private key, and the JWK Set for the configuration. */
export async function clientKey(alg = 'ES256', kid = 'key-1') {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = { ...await exportJWK(publicKey), kid, alg };
  return { alg, kid, privateKey, jwks: JSON.stringify({ keys: [jwk] }), privateJwk: { ...await exportJWK(privateKey), kid, alg } };
}

/** An outside OIDC issuer, as GitHub Actions, GitLab and Kubernetes are: metadata, keys, tokens. */
export class OutsideIssuer {
  /** `metadata` is the well-known path that it serves. */
  static async start(metadata = '/.well-known/openid-configuration') {
    const outside = new OutsideIssuer();
    outside.key = await clientKey('RS256', 'outside-1');
    outside.asked = [];
    // By which GitHub signs its reports of leaked tokens.
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    outside.signs = { pem: publicKey.export({ type: 'spki', format: 'pem' }), privateKey };
    outside.server = createServer((request, response) => {
      outside.asked.push(request.url);
      const documents = {
        [metadata]: { issuer: outside.url, jwks_uri: `${outside.url}/keys` },
        '/keys': JSON.parse(outside.key.jwks),
      };
      if (request.url === '/list' && outside.list) {
        response.writeHead(200, { 'content-type': 'application/statuslist+jwt' });
        return response.end(outside.list);
      }
      const found = documents[request.url];
      response.writeHead(found ? 200 : 404, { 'content-type': 'application/json' });
      response.end(JSON.stringify(found ?? { error: 'not found' }));
    });
    outside.url = await listen(outside.server);
    return outside;
  }

  /** Publishes a list with these statuses. */
  async publish(statuses) {
    const now = Math.floor(Date.now() / 1000);
    const { header, payload } = createHeaderAndPayload(
      new StatusList(statuses, 1), { iss: this.url, sub: `${this.url}/list`, iat: now, exp: now + 3600 }, { alg: 'RS256', kid: 'outside-1' },
    );
    this.list = await new SignJWT(payload).setProtectedHeader(header).sign(this.key.privateKey);
  }

  /** A token with these claims, for `aud`. */
  token(aud, claims, { lifetime = 300, jti = crypto.randomUUID(), typ = 'JWT' } = {}) {
    const now = Math.floor(Date.now() / 1000);
    const token = new SignJWT({ ...claims, ...(jti && { jti }) }).setProtectedHeader({ alg: 'RS256', kid: 'outside-1', ...(typ && { typ }) });
    return token.setIssuer(this.url).setAudience(aud).setIssuedAt(now).setNotBefore(now).setExpirationTime(now + lifetime)
      .sign(this.key.privateKey);
  }

  close() {
    this.server.close();
    this.server.closeAllConnections();
  }
}

/** Starts an issuer whose policy has every kind of client. */
export async function start({ github, kubernetes, gitlab, nonce = false }) {
  const [pkjwt, worker] = [await clientKey(), await clientKey('EdDSA', 'worker-1')];
  const more = `
[proxy]
from = ["127.0.0.1/32"]
forwarded_for = "X-Forwarded-For"
client_certificate = { header = "Client-Cert", form = "rfc9440" }

[limits]
failures_per_address = 0
reports_per_address = 0

[leaks]
gitlab_token_hash = "{api_hash}"

[[leaks.github_key]]
key_identifier = "github-1"
key = """
${github.signs.pem}"""

[[role]]
name = "feed"
audience = ["${AUDIENCE}", "${OTHER_AUDIENCE}"]
scopes = ["feed:read", "feed:write"]

[[role]]
name = "bound"
audience = "${AUDIENCE}"
scopes = ["invoices:read"]
sender = "dpop"

[[role]]
name = "with-certificate"
audience = "${AUDIENCE}"
scopes = ["invoices:read"]
sender = "mtls"

[[role]]
name = "office"
audience = "${AUDIENCE}"
scopes = ["invoices:read"]
networks = ["203.0.113.0/24", "AS64500"]

[[role]]
name = "deployer"
audience = "${AUDIENCE}"
scopes = ["deploy:staging", "deploy:prod", "invoices:read"]
lifetime = "10m"

[[client]]
id = "signs-itself"
roles = ["invoice-reader", "feed", "bound", "office"]
jwks = '${pkjwt.jwks}'

[[client]]
id = "worker"
roles = ["feed"]
exchanges = ["${AUDIENCE}"]
jwks = '${worker.jwks}'

[[client]]
id = "with-certificate"
roles = ["with-certificate", "invoice-reader"]
certificates = ["${CERTIFICATE.sha256}"]

[[client]]
id = "api"
allots = true
introspects = ["${AUDIENCE}"]
secret_hash = "{api_hash}"

[[federation]]
name = "github-deploy"
issuer = "${github.url}"
role = "deployer"
claims = { repository_id = "1296269", ref = "refs/heads/main", environment = { like = "prod*" } }

${RELAYS.map((id) => `[[client]]
id = "${id}"
roles = ["feed"]
exchanges = ["${AUDIENCE}"]
secret_hash = "{api_hash}"
`).join('\n')}
${gitlab ? `[[federation]]
name = "gitlab-deploy"
issuer = "${gitlab.url}"
role = "deployer"
claims = { project_id = "4711", ref = "main", ref_protected = "true" }
` : ''}
[[federation]]
name = "kubernetes-job"
issuer = "${kubernetes.url}"
jwks_uri = "${kubernetes.url}/keys"
role = "deployer"
lifetime = "2m"
claims = { "/kubernetes.io/serviceaccount/uid" = "7c1f0ea2", "/kubernetes.io/namespace" = "jobs" }
`;
  let secret;
  const issuer = await Issuer.start({
    change: (text) => {
      // The same hash as the example client's: both have the secret that init printed.
      const hash = /secret_hash = "([^"]+)"/.exec(text)[1];
      const typed = nonce ? text.replace('[tokens]', '[tokens]\ndpop_nonce = true') : text;
      return typed + more.replaceAll('{api_hash}', hash);
    },
  });
  secret = issuer.secret;
  return { issuer, secret, pkjwt, worker };
}
