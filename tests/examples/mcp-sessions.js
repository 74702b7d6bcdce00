// The MCP server with sessions, as protocol versions before 2026-07-28 have them. A Durable Object holds
// each session, since requests of a session may reach different isolates.

import { DurableObject } from 'cloudflare:workers';
import { WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/server';
import { createServer } from '../../examples/mcp/src/tools.js';

const notFound = () => new Response(null, { status: 404 });

export class Session extends DurableObject {
  #owner;
  #transport;

  async fetch(request) {
    const client = request.headers.get('x-edgepass-client-id');
    const isKnown = request.headers.has('mcp-session-id');
    // A session is no credential: only the client that began it may use it. A restarted object has lost it.
    if (isKnown && (!this.#transport || client !== this.#owner)) return notFound();
    if (!isKnown) {
      this.#owner = client;
      this.#transport = new WebStandardStreamableHTTPServerTransport({
        sessionIdGenerator: () => this.ctx.id.toString(),
        onsessionclosed: () => { this.#transport = undefined; },
      });
      await createServer().connect(this.#transport);
    }
    return this.#transport.handleRequest(request, {
      authInfo: { token: '', clientId: client, scopes: request.headers.get('x-edgepass-scope').split(' ') },
    });
  }
}

export default {
  fetch(request, { SESSIONS }) {
    const id = request.headers.get('mcp-session-id');
    if (id !== null && !/^[0-9a-f]{64}$/.test(id)) return notFound();
    return SESSIONS.get(id === null ? SESSIONS.newUniqueId() : SESSIONS.idFromString(id)).fetch(request);
  },
};
