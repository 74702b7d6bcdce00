// Reads client requests in one call, since each call from the module costs time.

/**
 * Facts of a request, as lines: the number of header fields, method, URL, `body` if it has a body,
 * the fingerprint of the client's certificate, then the name and the value of each field in turn.
 *
 * The certificate is that of the TLS handshake, as Cloudflare reports it; no client can write it.
 * Header fields that name a certificate are never read.
 */
export function factsOf({ method, url, body, cf, headers }) {
  const { certPresented, certFingerprintSHA256: fingerprint } = cf?.tlsClientAuth ?? {};
  const certificate = certPresented === '1' && typeof fingerprint === 'string' ? fingerprint : '';
  const fields = [...headers];
  return [fields.length, method, url, body === null ? '' : 'body', certificate, ...fields.flat()].join('\n');
}
