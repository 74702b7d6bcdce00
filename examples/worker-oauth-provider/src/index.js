// A resource server of `@cloudflare/workers-oauth-provider` whose tokens another issuer signs and an
// Edgepass issuer makes revocable (see ../better-auth). Edgepass's verifier is its `validateToken`.

import { OAuthError, OAuthResourceServer } from '@cloudflare/workers-oauth-provider';
import { Verifier } from 'edgepass';

// One verifier per isolate: it holds keys and status lists.
let verifier;

/** `null`: the token is refused. An error: it cannot be judged now, which is no refusal. */
async function validate(env, token, waitUntil) {
  verifier ??= Verifier.create({
    profile: 'jwt',
    issuer: env.ISSUER,
    jwks: `${env.ISSUER}/api/auth/jwks`,
    audience: env.AUDIENCE,
    typ: null,
    maxLifetime: '5m',
    status: { mode: 'required', issuer: env.EDGEPASS },
  });
  const verdict = await verifier.verify(token, undefined, { waitUntil });
  if (verdict.accepted) {
    const { sub, exp, scope } = verdict.claims;
    return { props: { user: sub }, audience: env.RESOURCE, expiresAt: exp, scope: scope?.split(' '), userId: sub };
  }
  if (['keys_unavailable', 'status_unavailable'].includes(verdict.code)) {
    throw new OAuthError('temporarily_unavailable', {
      description: verdict.message, statusCode: 503, headers: { 'retry-after': '1' },
    });
  }
  return null;
}

export default {
  fetch(request, env, ctx) {
    const server = new OAuthResourceServer({
      resourceMetadata: { resource: env.RESOURCE, authorization_servers: [env.ISSUER] },
      requiredScopes: ['invoices:read'],
      validateToken: () => (resource, token) => validate(env, token, (work) => ctx.waitUntil(work)),
      handler: {
        fetch: (_request, _env, { props }) => Response.json({ client: props.user, invoices: [{ id: 1 }] }),
      },
    });
    return server.fetch(request, env, ctx);
  },
};
