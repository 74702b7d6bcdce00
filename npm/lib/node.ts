/**
 * Requests and responses of Node.js: `node:http`, `node:https`, `node:http2`, and what builds on them.
 *
 * @packageDocumentation
 */

import type { Refused } from './verdict.js';

export { fromNode, type NodeRequest, type RequestFacts } from './request.js';

/** What {@link send} needs of a `ServerResponse` of Node.js, or of its HTTP/2 counterpart. */
export interface NodeResponse {
  /** The status code. */
  statusCode: number;
  /** Sets a header field. */
  setHeader(name: string, value: string): unknown;
  /** Sends the body, and ends the response. */
  end(body: string): unknown;
}

/**
 * Refuses a request: sends what {@link Refused.toResponse} returns.
 *
 * Header fields that were set before, such as those of CORS, stay.
 *
 * @param response - The `ServerResponse`. Nothing of it may have been sent.
 * @param verdict - A refusal.
 */
export async function send(response: NodeResponse, verdict: Refused): Promise<void> {
  const refusal = verdict.toResponse();
  response.statusCode = refusal.status;
  refusal.headers.forEach((value, name) => response.setHeader(name, value));
  response.end(await refusal.text());
}
