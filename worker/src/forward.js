// Requests to the origin: made in one call, since each call of the module's costs.

/**
 * Send the origin a client's request; gives a promise of what `answered(response, request, ...kept)` makes of
 * its answer, or of `undefined` where it has none. `changes` are lines: the URL, the names of the header
 * fields that are dropped, an empty line, a name and a value by turns for each that is set. Redirects are the
 * client's to follow.
 */
export function forwarded(request, service, isCached, hasBody, changes, answered, ...kept) {
  const lines = changes.split('\n');
  const headers = new Headers(request.headers);
  let at = 1;
  for (; lines[at] !== ''; at++) headers.delete(lines[at]);
  // Cloudflare appends to what the client wrote under the other name; it writes this one alone.
  const address = isCached ? null : headers.get('cf-connecting-ip');
  if (address !== null) headers.set('x-forwarded-for', address);
  for (at++; at < lines.length; at += 2) headers.set(lines[at], lines[at + 1]);
  const outgoing = new Request(lines[0], {
    method: request.method,
    headers,
    body: hasBody ? request.body : undefined,
    redirect: 'manual',
    cache: isCached ? undefined : 'no-store',
    // Encoded bodies are passed on as they are, also where the guard passes them through.
    encodeResponseBody: 'manual',
  });
  const fetched = service === undefined ? fetch(outgoing) : service.fetch(outgoing);
  const pass = (response) => {
    try {
      return answered(response, request, ...kept);
    } catch (error) {
      // The module has stopped, now or since the request was sent: the entry has to know.
      reportError(error);
      return new Response(null, { status: 502 });
    }
  };
  return fetched.then(pass, () => pass(undefined));
}
