// Masks bodies piece by piece, in the Wasm module.

/** Octets that are read at once: of a short body, and of a longer one if the origin has sent as many. */
const [PIECE, LARGE] = [64 * 1024, 192 * 1024];

/** What becomes of the response, by its begin: it goes to the client, cannot be masked, or does not come. */
const [PASSES, UNMASKABLE, MISSING] = [0, 1, 2];

/**
 * Prepares to mask the body of a response. Returns an object with a `body` that has only the method `pipeTo`, and
 * with `first`, a promise of what becomes of the response. With `atOnce` it goes to the client before the origin
 * sends anything. A body that cannot be masked later on ends as an error.
 */
export function maskedBody({ body }, masker, atOnce) {
  const { promise: first, resolve: tell } = Promise.withResolvers();
  if (atOnce) tell(PASSES);
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

/** What the next octets are read into. */
function nextPiece({ length, buffer }) {
  const isFull = length === PIECE && buffer.byteLength === PIECE;
  return new Uint8Array(isFull ? LARGE : buffer);
}

/** Never rejects. */
async function mask(reader, writer, masker, tell, signal) {
  const stop = (error) => {
    writer.abort(error).catch(() => {});
    reader.cancel(error).catch(() => {});
  };
  signal?.addEventListener('abort', () => {
    tell(PASSES);
    stop(signal.reason);
  });
  const pass = async (octets) => {
    if (octets.length === 0) return;
    tell(PASSES);
    await writer.write(octets);
  };
  let piece = new Uint8Array(PIECE);
  let isEmpty = true;
  let failure = MISSING;
  try {
    for (;;) {
      failure = MISSING;
      const { done, value } = await reader.read(piece);
      signal?.throwIfAborted();
      if (done && isEmpty) break;
      isEmpty = false;
      failure = UNMASKABLE;
      if (done) {
        await pass(masker.finish());
        break;
      }
      for (let at = 0; at < value.length;) {
        const octets = masker.feed(value.subarray(at));
        at += masker.taken();
        await pass(octets);
      }
      piece = nextPiece(value);
    }
    tell(PASSES);
    await writer.close();
  } catch (error) {
    // The module may have crashed. This tells `entry.js`.
    if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) reportError(error);
    tell(failure);
    stop(error);
  }
  try {
    masker.clear();
  } catch {
    // The masker is that of a module that has been replaced since.
  }
}

/** A promise of `response`, or of the refusal that its begin demands. */
export async function chosen({ first }, response, refusal, request, route) {
  const what = await first;
  if (what === PASSES) return response;
  response.body?.cancel().catch(() => {});
  try {
    return refusal(what === UNMASKABLE, request, route);
  } catch (error) {
    // The module may have crashed since. This tells `entry.js`.
    reportError(error);
    return new Response(null, { status: 502 });
  }
}
