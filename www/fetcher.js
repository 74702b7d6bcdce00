// Runs in a sandboxed frame without an origin: it can fetch, and knows nothing but addresses.

const MAX_BYTES = 2 << 20;
const MAX_MILLIS = 5000;

/** Only the inspector's own page is served, and only while this frame has no origin to read anything by. */
const isSandboxed = self.origin === 'null';

addEventListener('message', async ({ data, origin, source }) => {
  if (source !== parent || origin !== location.origin || !isSandboxed) return;
  const { id, url, headers } = data;
  const answer = { id };
  try {
    const response = await fetch(url, {
      headers, cache: 'no-store', credentials: 'omit', redirect: 'error',
      referrerPolicy: 'no-referrer', signal: AbortSignal.timeout(MAX_MILLIS),
    });
    answer.status = response.status;
    answer.headers = [...response.headers];
    answer.body = await text(response);
  } catch {
    answer.failed = true;
  }
  parent.postMessage(answer, origin);
});
if (isSandboxed) parent.postMessage({ ready: true }, location.origin);

/** The body, unless it is longer than any document that a verifier reads. */
async function text(response) {
  const decoder = new TextDecoder();
  let received = 0;
  let body = '';
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return body + decoder.decode();
    received += value.length;
    if (received > MAX_BYTES) throw new RangeError('too long');
    body += decoder.decode(value, { stream: true });
  }
}
