// The tools of the MCP server. They know who calls, but not how that was found out.

import { McpServer, createMcpHandler, requireScopes } from '@modelcontextprotocol/server';
import { z } from 'zod';

export function createServer() {
  const server = new McpServer({ name: 'invoices', version: '1.0.0' });

  server.registerTool('list-invoices', { description: 'Lists the invoices of the caller' }, (ctx) => ({
    content: [{ type: 'text', text: JSON.stringify({ client: ctx.http.authInfo.clientId, invoices: [{ id: 1 }] }) }],
  }));

  // Reports progress, so the response is a stream.
  const reminders = { description: 'Sends reminders', inputSchema: z.object({ count: z.int().max(100) }) };
  server.registerTool('send-reminders', reminders, async ({ count }, { mcpReq }) => {
    const { progressToken } = mcpReq._meta ?? {};
    for (let progress = 1; progress <= count; progress += 1) {
      await scheduler.wait(50);
      if (progressToken === undefined) continue;
      await mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: count } });
    }
    return { content: [{ type: 'text', text: `${count} sent` }] };
  });

  // One tool that needs more than the route. The challenge names all scopes, also those of the route.
  const deleting = { description: 'Deletes an invoice', scopeChallenge: requireScopes('mcp:tools', 'mcp:admin') };
  server.registerTool('delete-invoice', deleting, () => ({ content: [{ type: 'text', text: 'deleted' }] }));

  return server;
}

// A server for each request: nothing is kept between requests, which may reach different isolates.
export const mcp = createMcpHandler(createServer);
