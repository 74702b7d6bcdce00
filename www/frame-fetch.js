// `fetch` for the verifier, carried out by the sandboxed frame. The frame is told an address and
// two harmless headers; the token stays on this side.

const frame = document.getElementById('fetcher');
const waiting = new Map();
let count = 0;
let ready;
const loaded = new Promise((resolve) => { ready = resolve; });

addEventListener('message', ({ data, source }) => {
  if (source !== frame.contentWindow) return;
  if (data.ready) return ready();
  const settle = waiting.get(data.id);
  waiting.delete(data.id);
  settle?.(data);
});

// Loaded only now, so that its first message finds the listener above.
frame.src = 'fetcher.html';

/** Fetch a public document. */
export async function frameFetch(url, { headers, signal }) {
  await loaded;
  const id = ++count;
  const answer = await new Promise((resolve, reject) => {
    waiting.set(id, resolve);
    signal?.addEventListener('abort', () => {
      waiting.delete(id);
      reject(new DOMException('too slow', 'TimeoutError'));
    });
    // A frame without an origin can only be addressed by '*'; its window is the one we made.
    frame.contentWindow.postMessage({ id, url, headers }, '*');
  });
  if (answer.failed) throw new TypeError('the document cannot be fetched');
  const body = answer.status === 304 ? null : answer.body;
  return new Response(body, { status: answer.status, headers: answer.headers });
}
