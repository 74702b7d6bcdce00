// Requests, as the verifier reads them: those of the Fetch API, and of Node.js.

/** What the verifier reads of a request. `Request` of the Fetch API has it. */
export interface RequestFacts {
  /** The method, such as `"GET"`. */
  readonly method: string;
  /** The absolute URL. */
  readonly url: string;
  /** The header fields. */
  readonly headers: {
    /** The value of a field, several fields joined by a comma; `null` if there is none. */
    get(name: string): string | null;
    /** Whether the request has a field of this name. */
    has(name: string): boolean;
  };
}

/** What {@link fromNode} reads of an `IncomingMessage` of Node.js, or of its HTTP/2 counterpart. */
export interface NodeRequest {
  /** The method. */
  readonly method?: string;
  /** The request target. */
  readonly url?: string;
  /** The request target as it came, where a framework changes `url`. */
  readonly originalUrl?: string;
  /** Names and values of the header fields, in turn, as they came. */
  readonly rawHeaders: readonly string[];
}

/**
 * Returns what the verifier reads of a request of Node.js.
 *
 * Reads the fields as they came: `headers` of Node.js would hide a second `Authorization`. The host
 * in its URL is a placeholder, since the verifier believes the option `externalUrl` and no `Host`.
 *
 * @param request - The `IncomingMessage`, or the request of a framework that extends it.
 *
 * @example
 * ```ts
 * import { createServer } from 'node:http';
 * import { Verifier } from 'edgepass';
 * import { fromNode, send } from 'edgepass/node';
 *
 * const verifier = Verifier.create({ issuer: 'https://issuer.example', audience: 'https://api.example' });
 * createServer(async (request, response) => {
 *   const verdict = await verifier.verify(fromNode(request), { allOf: ['invoices:read'] });
 *   if (!verdict.accepted) return send(response, verdict);
 *   response.end(verdict.claims.sub);
 * }).listen(8080);
 * ```
 */
export function fromNode(request: NodeRequest): RequestFacts {
  const { rawHeaders } = request;
  const get = (name: string): string | null => {
    const wanted = name.toLowerCase();
    const values = rawHeaders.filter((_, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === wanted);
    return values.length === 0 ? null : values.join(wanted === 'cookie' ? '; ' : ', ');
  };
  return {
    method: request.method ?? 'GET',
    url: absolute(request.originalUrl ?? request.url ?? '/'),
    headers: { get, has: (name) => get(name) !== null },
  };
}

/** The URL of a request target: a path and query, or an absolute URL (RFC 9112 section 3.2). */
function absolute(target: string): string {
  const url = target.startsWith('/') ? `http://host.invalid${target}` : target;
  return URL.canParse(url) ? url : 'http://host.invalid/';
}
