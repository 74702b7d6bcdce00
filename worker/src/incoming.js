// Reads client requests in one call, since each call from the module costs time.

/**
 * Returns facts of a request, as lines: the number of header fields, the method, the URL, `body` or
 * nothing, the SHA-256 fingerprint of the client's certificate or nothing, address, autonomous system
 * and country of the client or nothing, the data centre, a fingerprint of the client's TLS handshake and the
 * client's position in whole degrees or nothing, then in turn the name and the value of each field.
 *
 * The certificate is that of the TLS handshake, as Cloudflare reports it; no client can set this
 * value. Header fields that name a certificate are not read for it. `CF-Connecting-IP` counts only on
 * Cloudflare, which always sets it.
 */
export function factsOf({ method, url, body, cf, headers }) {
  const { certPresented, certFingerprintSHA256: fingerprint } = cf?.tlsClientAuth ?? {};
  const certificate = certPresented === '1' && typeof fingerprint === 'string' ? fingerprint : '';
  const { asn, country, colo, tlsClientCiphersSha1: ciphers, latitude, longitude } = cf ?? {};
  const position = [latitude, longitude].map((degrees) => Math.round(Number(degrees ?? NaN)));
  const address = asn === undefined ? '' : headers.get('cf-connecting-ip') ?? '';
  const fields = [...headers];
  return [
    fields.length, method, url, body === null ? '' : 'body', certificate, address, asn ?? '', country ?? '',
    colo ?? '', typeof ciphers === 'string' ? ciphers.slice(0, 16) : '',
    position.every(Number.isInteger) ? position.join() : '', ...fields.flat(),
  ].join('\n');
}

/** The time that a client may take to show that a body is empty, in milliseconds. */
const EMPTY_WITHIN = 2000;

/**
 * Resolves to whether the body of a request is empty. A body that does not end in time is not.
 * Reads the body, so it is for requests whose body is not forwarded.
 */
export async function isEmpty({ body }) {
  const reader = body.getReader();
  let timer;
  const late = new Promise((resolve) => { timer = setTimeout(resolve, EMPTY_WITHIN, { value: [0] }); });
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), late]);
      if (done) return true;
      if (value.length > 0) return false;
    }
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => {});
  }
}
