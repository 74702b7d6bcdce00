/**
 * A middleware for Koa.
 *
 * @packageDocumentation
 */

import { fromNode, type NodeRequest } from './request.js';
import type { Requirements, VerifyOptions } from './options.js';
import type { Verifier } from './verifier.js';

/** What {@link protect} needs of a context of Koa. */
export interface KoaLikeContext {
  /** The request of Node.js. */
  readonly req: NodeRequest;
  /** The request target as it came. */
  readonly originalUrl: string;
  /** Values that middlewares pass on. */
  state: Record<string, any>;
  /** The status code of the response. */
  status: number;
  /** The body of the response. */
  body: unknown;
  /** Sets a header field of the response. */
  set(name: string, value: string): unknown;
}

/**
 * Returns a middleware that lets a request pass only if the verifier accepts its token.
 *
 * The verdict is then in `context.state.edgepass`. A refused request is answered; later middlewares
 * do not run.
 *
 * @param verifier - The verifier, made once.
 * @param requirements - Requirements of the route, beyond the policy. Default: none.
 * @param options - Options of each call, from its context: the client's certificate, for example.
 *
 * @example
 * ```ts
 * import Koa from 'koa';
 * import { Verifier } from 'edgepass';
 * import { protect } from 'edgepass/koa';
 *
 * const verifier = Verifier.create({ issuer: 'https://issuer.example', audience: 'https://api.example' });
 * const app = new Koa();
 * app.use(protect(verifier, { allOf: ['invoices:read'] }));
 * app.use((context) => {
 *   context.body = { client: context.state.edgepass.claims.client_id };
 * });
 * ```
 */
export function protect<Context extends KoaLikeContext = KoaLikeContext>(
  verifier: Verifier, requirements?: Requirements, options?: (context: Context) => VerifyOptions,
): (context: Context, next: () => Promise<unknown>) => Promise<unknown> {
  return async (context, next) => {
    const { method, rawHeaders } = context.req;
    const incoming = fromNode({ method, rawHeaders, url: context.originalUrl });
    const verdict = await verifier.verify(incoming, requirements, options?.(context));
    if (verdict.accepted) {
      context.state.edgepass = verdict;
      return next();
    }
    const refusal = verdict.toResponse();
    context.status = refusal.status;
    // Before the fields: Koa sets `Content-Type` with a body, unless it is set already.
    context.body = await refusal.text();
    refusal.headers.forEach((value, name) => context.set(name, value));
    return undefined;
  };
}
