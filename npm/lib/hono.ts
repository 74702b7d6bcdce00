/**
 * A middleware for Hono, on every runtime that Hono runs on.
 *
 * @packageDocumentation
 */

import type { MiddlewareHandler } from 'hono';
import type { Requirements, VerifyOptions } from './options.js';
import type { Accepted } from './verdict.js';
import type { Verifier } from './verifier.js';

/** What {@link protect} reads of a context of Hono. */
export interface HonoLikeContext {
  /** Bindings of the Worker, or environment of the process. */
  readonly env: any;
  /** The request, with that of the Fetch API. */
  readonly req: {
    /** The request of the Fetch API. */
    readonly raw: Request;
  };
  /** The context of the Worker's event. Reading it throws on runtimes that have none. */
  readonly executionCtx: {
    /** Keeps the Worker alive until the promise settles. */
    waitUntil(work: Promise<unknown>): void;
  };
}

/** The middleware, and the variable that it sets for later handlers. */
export type Protect<Own extends object> = MiddlewareHandler<{
  /** Variables of the context. */
  Variables: {
    /** The verdict. */
    edgepass: Accepted<Own>;
  };
}>;

/**
 * Returns a middleware that lets a request pass only if the verifier accepts its token.
 *
 * The verdict is then in `context.var.edgepass`. A refused request is answered; later handlers do not
 * run. In a Worker, refreshes run in `waitUntil` of the event.
 *
 * @typeParam Own - Claims of your own issuer, beside the standard ones.
 * @param verifier - The verifier, made once; or a function that returns it, where it is made of the
 * Worker's bindings.
 * @param requirements - Requirements of the route, beyond the policy. Default: none.
 * @param options - Options of each call, from its context: the client's certificate, for example.
 *
 * @example
 * ```ts
 * import { Hono } from 'hono';
 * import { Verifier } from 'edgepass';
 * import { protect } from 'edgepass/hono';
 *
 * const verifier = Verifier.create({ issuer: 'https://issuer.example', audience: 'https://api.example' });
 * const app = new Hono();
 * app.get('/invoices', protect(verifier, { allOf: ['invoices:read'] }), (context) => (
 *   context.json({ client: context.var.edgepass.claims.client_id })
 * ));
 * ```
 */
export function protect<Own extends object = object>(
  verifier: Verifier | ((context: HonoLikeContext) => Verifier), requirements?: Requirements,
  options?: (context: HonoLikeContext) => VerifyOptions,
): Protect<Own> {
  return async (context, next) => {
    const judge = typeof verifier === 'function' ? verifier(context) : verifier;
    const verdict = await judge.verify<Own>(
      context.req.raw, requirements, { ...lasting(context), ...options?.(context) },
    );
    if (!verdict.accepted) return verdict.toResponse();
    context.set('edgepass', verdict);
    await next();
    return undefined;
  };
}

/** `waitUntil` of the context, on a runtime that has it. */
function lasting(context: HonoLikeContext): VerifyOptions {
  try {
    const event = context.executionCtx;
    return { waitUntil: (work) => event.waitUntil(work) };
  } catch {
    return {};
  }
}
