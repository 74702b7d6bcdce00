// `fetch` for the verifier, carried out by the sandboxed frame. The frame receives a URL and the
// headers Accept and If-None-Match. The token stays in this page.

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

// The frame is loaded last, so that the listener above receives its first message.
frame.src = 'fetcher.html';

/** Fetches a public document. */
export async function frameFetch(url, { headers, signal }) {
  await loaded;
  const id = ++count;
  const answer = await new Promise((resolve, reject) => {
    waiting.set(id, resolve);
    signal?.addEventListener('abort', () => {
      waiting.delete(id);
      reject(new DOMException('too slow', 'TimeoutError'));
    });
    // A frame without an origin can only be addressed by '*'; this page created the window.
    frame.contentWindow.postMessage({ id, url, headers }, '*');
  });
  if (answer.failed) throw new TypeError('the document cannot be fetched');
  const body = answer.status === 304 ? null : answer.body;
  return new Response(body, { status: answer.status, headers: answer.headers });
}
