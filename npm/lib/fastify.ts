/**
 * A hook for Fastify.
 *
 * @packageDocumentation
 */

import type { FastifyRequest } from 'fastify';
import { fromNode, type NodeRequest } from './request.js';
import type { Requirements, VerifyOptions } from './options.js';
import type { Accepted } from './verdict.js';
import type { Verifier } from './verifier.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** The verdict, after {@link protect} has accepted the token. */
    edgepass?: Accepted;
  }
}

/** What {@link protect} reads of a request of Fastify. */
export interface FastifyLikeRequest {
  /** The request of Node.js. */
  readonly raw: NodeRequest;
  /** The request target as it came, before `rewriteUrl`. */
  readonly originalUrl?: string;
  /** The verdict. */
  edgepass?: Accepted;
}

/** What {@link protect} needs of a reply of Fastify. */
export interface FastifyLikeReply {
  /** Sets the status code. */
  code(status: number): unknown;
  /** Sets a header field. */
  header(name: string, value: string): unknown;
  /** Sends the body. */
  send(body: Uint8Array): unknown;
}

/**
 * Returns a hook that lets a request pass only if the verifier accepts its token: for `onRequest` of a
 * route, of a plugin, or of the whole server.
 *
 * The verdict is then in `request.edgepass`. A refused request is answered; the handler does not run.
 *
 * @param verifier - The verifier, made once.
 * @param requirements - Requirements of the route, beyond the policy. Default: none.
 * @param options - Options of each call, from its request: the client's certificate, for example.
 *
 * @example
 * ```ts
 * import fastify from 'fastify';
 * import { Verifier } from 'edgepass';
 * import { protect } from 'edgepass/fastify';
 *
 * const verifier = Verifier.create({ issuer: 'https://issuer.example', audience: 'https://api.example' });
 * const app = fastify();
 * app.get('/invoices', { onRequest: protect(verifier, { allOf: ['invoices:read'] }) }, async (request) => (
 *   { client: request.edgepass?.claims.client_id }
 * ));
 * ```
 */
export function protect(
  verifier: Verifier, requirements?: Requirements, options?: (request: FastifyRequest) => VerifyOptions,
): (request: FastifyLikeRequest, reply: FastifyLikeReply) => Promise<unknown> {
  return async (request, reply) => {
    const { method, rawHeaders } = request.raw;
    const incoming = fromNode({ method, rawHeaders, url: request.originalUrl ?? request.raw.url });
    const verdict = await verifier.verify(incoming, requirements, options?.(request as FastifyRequest));
    if (verdict.accepted) {
      request.edgepass = verdict;
      return undefined;
    }
    const refusal = verdict.toResponse();
    reply.code(refusal.status);
    refusal.headers.forEach((value, name) => reply.header(name, value));
    // Bytes: to a text Fastify would add a `charset`. It ends the request when a hook returns the reply.
    await reply.send(Buffer.from(await refusal.arrayBuffer()));
    return reply;
  };
}
