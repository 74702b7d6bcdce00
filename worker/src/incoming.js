// Client requests, read in one call, since each call of the module's costs.

/**
 * What the guard reads of a request, by lines: how many header fields there are, method, URL, whether there
 * is a body, the fingerprint of the client's certificate, then the name and the value of each field by turns.
 *
 * The certificate is the one of the TLS handshake, as Cloudflare reports it, which no client can write.
 * Header fields that name a certificate are never read.
 */
export function factsOf({ method, url, body, cf, headers }) {
  const { certPresented, certFingerprintSHA256: fingerprint } = cf?.tlsClientAuth ?? {};
  const certificate = certPresented === '1' && typeof fingerprint === 'string' ? fingerprint : '';
  const fields = [...headers];
  return [fields.length, method, url, body === null ? '' : 'body', certificate, ...fields.flat()].join('\n');
}
