// Answers to clients: made in one call, since each call of the module's costs.

/** What tells shared caches something else than `Cache-Control` says (RFC 9213, and what was there before). */
const FOR_SHARED_CACHES = /-cache-control$|^(?:edge-control|surrogate-control|x-accel-expires)$/;
const VARIES_BY_TOKEN = /(?:^|,)\s*(?:\*|authorization)\s*(?:,|$)/i;

/**
 * What the guard reads of an answer, by lines: what it holds ("socket", "body" or nothing), `Content-Length`,
 * `Cache-Control`.
 */
export function factsOf({ body, webSocket, headers }) {
  const held = webSocket ? 'socket' : body && 'body';
  return [held, headers.get('content-length'), headers.get('cache-control')].join('\n');
}

/** A copy of an answer, with another's content. A body is encoded as the origin encoded it. */
export function copied({ status, statusText, headers }, { body, webSocket }) {
  return new Response(body, { status, statusText, headers, encodeBody: 'manual', webSocket });
}

/**
 * The same for one caller: no shared cache may hand it on, and no private one to another token (RFC 9111
 * section 3.5 would say so of the request that the guard received). `cacheControl` replaces the origin's.
 */
export function copiedPrivately(response, content, cacheControl) {
  const copy = copied(response, content);
  const { headers } = copy;
  for (const name of [...headers.keys()]) {
    if (FOR_SHARED_CACHES.test(name)) headers.delete(name);
  }
  if (cacheControl !== undefined) headers.set('cache-control', cacheControl);
  const vary = headers.get('vary');
  if (vary === null || !VARIES_BY_TOKEN.test(vary)) headers.append('vary', 'Authorization');
  return copy;
}
