// Runs in a sandboxed frame without an origin: it can fetch, and knows nothing but addresses.

addEventListener('message', async ({ data, origin, source }) => {
  if (source !== parent) return;
  const { id, url, headers } = data;
  const answer = { id };
  try {
    const response = await fetch(url, {
      headers, cache: 'no-store', credentials: 'omit', redirect: 'error',
      referrerPolicy: 'no-referrer',
    });
    answer.status = response.status;
    answer.headers = [...response.headers];
    answer.body = await response.text();
  } catch {
    answer.failed = true;
  }
  parent.postMessage(answer, origin);
});
