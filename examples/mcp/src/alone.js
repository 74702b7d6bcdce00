// An MCP server that verifies tokens itself.

import { Verifier } from 'edgepass';
import { mcp } from './tools.js';

const SCOPES = ['mcp:tools'];

// One verifier per isolate: it holds keys and status lists. Creating it does no I/O.
let verifier;

export default {
  async fetch(request, env, ctx) {
    const { origin, pathname } = new URL(env.RESOURCE);
    const metadata = `/.well-known/oauth-protected-resource${pathname}`;
    const { pathname: path } = new URL(request.url);
    if (path === metadata) {
      return Response.json(
        { resource: env.RESOURCE, authorization_servers: [env.ISSUER], scopes_supported: SCOPES },
        { headers: { 'access-control-allow-origin': '*' } },
      );
    }
    if (path !== pathname) return new Response(null, { status: 404 });

    verifier ??= Verifier.create({
      issuer: env.ISSUER, audience: env.RESOURCE, resourceMetadata: `${origin}${metadata}`,
    });
    const verdict = await verifier.verify(request, { allOf: SCOPES }, {
      waitUntil: (work) => ctx.waitUntil(work),
    });
    if (!verdict.accepted) return verdict.toResponse();
    const { client_id: clientId, scope, exp: expiresAt } = verdict.claims;
    return mcp.fetch(request, {
      authInfo: { token: '', clientId, scopes: scope.split(' '), expiresAt, resource: new URL(env.RESOURCE) },
    });
  },
};
