// Builds responses to clients in one call, since each call from the module costs time.

/** Headers that override `Cache-Control` in shared caches (RFC 9213, and its predecessors). */
const FOR_SHARED_CACHES = /-cache-control$|^(?:edge-control|surrogate-control|x-accel-expires)$/;
/** Headers that say something of the body, which is another one once it is masked. */
const OF_THE_BODY = new RegExp(
  '^(?:accept-ranges|content-(?:digest|length|md5|range)|(?:repr-)?digest|etag|signature(?:-input)?|x-goog-hash'
  + '|x-(?:amz-checksum-|ms-content-crc).*)$',
);
const VARIES_BY_TOKEN = /(?:^|,)\s*(?:\*|authorization)\s*(?:,|$)/i;

/**
 * Returns facts of a response, as lines: content ("socket", "body" or empty), `Content-Length`,
 * `Cache-Control`.
 */
export function factsOf({ body, webSocket, headers }) {
  const held = webSocket ? 'socket' : body && 'body';
  return [held, headers.get('content-length'), headers.get('cache-control')].join('\n');
}

/** Copies a response, with the given content. The body keeps the origin's encoding. */
export function copied({ status, statusText, headers }, { body, webSocket }) {
  return new Response(body, { status, statusText, headers, encodeBody: 'manual', webSocket });
}

/**
 * Copies a response for one client. Its headers forbid a shared cache to reuse it, and a private
 * cache to reuse it for another token. (RFC 9111, section 3.5 already restricts shared caches where
 * a request has `Authorization`, but the origin's response can lift that.) `cacheControl`, if
 * defined, replaces the origin's value. If `isMasked`, the headers that say something of the body are left out.
 */
export function copiedPrivately(response, content, cacheControl, isMasked) {
  const copy = copied(response, content);
  const { headers } = copy;
  for (const name of [...headers.keys()]) {
    if (FOR_SHARED_CACHES.test(name) || isMasked && OF_THE_BODY.test(name)) headers.delete(name);
  }
  if (cacheControl !== undefined) headers.set('cache-control', cacheControl);
  const vary = headers.get('vary');
  if (vary === null || !VARIES_BY_TOKEN.test(vary)) headers.append('vary', 'Authorization');
  return copy;
}
