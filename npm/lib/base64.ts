/** The octets that a text in base64 holds. */
export function octetsOf(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64);
  const octets = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) octets[at] = text.charCodeAt(at);
  return octets;
}
