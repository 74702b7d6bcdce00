// Requests to the origin: made in one call, since each call of the module's costs.

/** The names of a header's fields, by lines. */
export const namesOf = (headers) => [...headers.keys()].join('\n');

/**
 * A request for the origin, of a client's: to `url`, without the fields `dropped`, with the fields `set`, a
 * name and a value by turns. Both are lines. Redirects are the client's to follow.
 */
export function outgoing(request, url, isCached, hasBody, dropped, set) {
  const headers = new Headers(request.headers);
  for (const name of lines(dropped)) headers.delete(name);
  // Cloudflare appends to what the client wrote under the other name; it writes this one alone.
  const address = isCached ? null : headers.get('cf-connecting-ip');
  if (address !== null) headers.set('x-forwarded-for', address);
  const fields = lines(set);
  for (let at = 0; at < fields.length; at += 2) headers.set(fields[at], fields[at + 1]);
  return new Request(url, {
    method: request.method,
    headers,
    body: hasBody ? request.body : undefined,
    redirect: 'manual',
    cache: isCached ? undefined : 'no-store',
    // Encoded bodies are passed on as they are, also where the guard passes them through.
    encodeResponseBody: 'manual',
  });
}

const lines = (text) => (text === '' ? [] : text.split('\n'));
