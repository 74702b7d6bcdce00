// Masks bodies piece by piece, in the Wasm module.

/** Octets that are read at once, if the origin has sent as many. */
const PIECE = 64 * 1024;

/**
 * Prepares to mask the body of a response. Returns an object with a `body` that has only the method `pipeTo`, and
 * with `first`: a promise of whether the begin of the body can be masked. If it cannot later on, the body ends as
 * an error. The masker is freed when the body ends.
 */
export function maskedBody({ body }, masker) {
  const { promise: first, resolve: tell } = Promise.withResolvers();
  const pipeTo = (writable, { signal } = {}) =>
    mask(body.getReader({ mode: 'byob' }), writable.getWriter(), masker, tell, signal);
  return { body: { pipeTo }, first };
}

/** The content of a response to the client that is not watched. */
export function streamed({ body }) {
  const { readable, writable } = new IdentityTransformStream();
  body.pipeTo(writable);
  return { body: readable };
}

async function mask(reader, writer, masker, tell, signal) {
  const stop = (error) => {
    writer.abort(error).catch(() => {});
    reader.cancel(error).catch(() => {});
  };
  signal?.addEventListener('abort', () => stop(signal.reason));
  let piece = new Uint8Array(PIECE);
  let isEmpty = true;
  try {
    for (;;) {
      const { done, value } = await reader.read(piece);
      signal?.throwIfAborted();
      if (done && isEmpty) break;
      isEmpty = false;
      const octets = done ? masker.finish() : masker.feed(value);
      if (octets.length > 0) {
        tell(true);
        await writer.write(octets);
      }
      if (done) break;
      piece = new Uint8Array(value.buffer);
    }
    tell(true);
    await writer.close();
  } catch (error) {
    tell(false);
    stop(error);
  } finally {
    masker.free();
  }
}

/** A promise of `response` if the begin of the body can be masked, else of `refusal`. */
export async function chosen({ first }, response, refusal) {
  if (await first) return response;
  response.body?.cancel().catch(() => {});
  return refusal;
}
