// Runs in a sandboxed frame without an origin. It fetches; it receives URLs and headers, never the
// token.

const MAX_BYTES = 2 << 20;
const MAX_MILLIS = 5000;

/**
 * Whether the frame is sandboxed. The frame answers the inspector's own page only, and only while
 * it is sandboxed, so that it has no origin whose documents it could read.
 */
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

/** Reads a body. Throws above `MAX_BYTES`, more than a verifier accepts of any document. */
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
