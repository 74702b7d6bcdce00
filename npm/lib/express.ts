/**
 * A middleware for Express, Connect, and others that pass `(request, response, next)`.
 *
 * @packageDocumentation
 */

import { send, type NodeRequest, type NodeResponse } from './node.js';
import { fromNode } from './request.js';
import type { Requirements, VerifyOptions } from './options.js';
import type { Accepted } from './verdict.js';
import type { Verifier } from './verifier.js';

declare global {
  // The namespace in which the types of Express let others add members to its request.
  namespace Express {
    /** The request of Express. */
    interface Request {
      /** The verdict, after {@link protect} has accepted the token. */
      edgepass?: Accepted;
    }
  }
}

/**
 * Returns a middleware that lets a request pass only if the verifier accepts its token.
 *
 * The verdict is then in `request.edgepass`. A refused request is answered; later handlers do not
 * run. An error of the verifier goes to `next`.
 *
 * @param verifier - The verifier, made once.
 * @param requirements - Requirements of the route, beyond the policy. Default: none.
 * @param options - Options of each call, from its request: the client's certificate, for example.
 *
 * @example
 * ```ts
 * import express from 'express';
 * import { Verifier } from 'edgepass';
 * import { protect } from 'edgepass/express';
 *
 * const verifier = Verifier.create({ issuer: 'https://issuer.example', audience: 'https://api.example' });
 * const app = express();
 * app.get('/invoices', protect(verifier, { allOf: ['invoices:read'] }), (request, response) => {
 *   response.json({ client: request.edgepass?.claims.client_id });
 * });
 * ```
 */
export function protect<Incoming extends NodeRequest = NodeRequest>(
  verifier: Verifier, requirements?: Requirements, options?: (request: Incoming) => VerifyOptions,
): (request: Incoming & { edgepass?: Accepted }, response: NodeResponse, next: (error?: unknown) => void) => Promise<void> {
  return async (request, response, next) => {
    try {
      const verdict = await verifier.verify(fromNode(request), requirements, options?.(request));
      if (!verdict.accepted) return await send(response, verdict);
      request.edgepass = verdict;
    } catch (error) {
      return next(error);
    }
    next();
  };
}
