// An MCP server behind the guard. The guard has checked the token and removed it.

import { mcp } from './tools.js';

export default {
  fetch(request, env) {
    const own = (name) => decodeURIComponent(request.headers.get(`x-edgepass-${name}`) ?? '');
    const authInfo = {
      token: '',
      clientId: own('client-id'),
      scopes: request.headers.get('x-edgepass-scope').split(' '),
      resource: new URL(env.RESOURCE),
    };
    return mcp.fetch(request, { authInfo });
  },
};
