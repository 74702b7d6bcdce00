// Sends requests to the origin in one call, since each call from the module costs time.

/** Whether requests can bypass caches: in workerd from the compatibility date 2024-11-11 on. */
export function canBypassCaches() {
  try {
    return Boolean(new Request('https://origin', { cache: 'no-store' }));
  } catch {
    return false;
  }
}

/**
 * Sends a client's request to the origin. Returns a promise of the result of
 * `onResponse(response, request, ...pending)`; `response` is `undefined` if the origin gives none.
 * If `onResponse` throws, the promise resolves to a response with status 502.
 *
 * `changes` are lines: the URL, the names of the header fields to drop, an empty line, then in turn
 * the name and the value of each field to set. Redirects are left to the client.
 */
export function forwarded(request, service, isCached, hasBody, changes, onResponse, ...pending) {
  const lines = changes.split('\n');
  const headers = new Headers(request.headers);
  let at = 1;
  for (; lines[at] !== ''; at++) headers.delete(lines[at]);
  // Cloudflare writes `CF-Connecting-IP`, but only appends to a client's `X-Forwarded-For`.
  const address = isCached ? null : headers.get('cf-connecting-ip');
  if (address !== null) headers.set('x-forwarded-for', address);
  for (at++; at < lines.length; at += 2) headers.set(lines[at], lines[at + 1]);
  const outgoing = new Request(lines[0], {
    method: request.method,
    headers,
    body: hasBody ? request.body : undefined,
    redirect: 'manual',
    cache: isCached ? undefined : 'no-store',
    // The runtime does not decode response bodies, so the guard passes on their encoding.
    encodeResponseBody: 'manual',
  });
  const fetched = service === undefined ? fetch(outgoing) : service.fetch(outgoing);
  const pass = (response) => {
    try {
      return onResponse(response, request, ...pending);
    } catch (error) {
      // The module may have crashed, now or since the request was sent. This tells `entry.js`.
      reportError(error);
      return new Response(null, { status: 502 });
    }
  };
  return fetched.then(pass, () => pass(undefined));
}
